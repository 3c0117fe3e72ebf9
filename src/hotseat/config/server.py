"""Resolves the launcher's own settings: listen address, TLS, state folder, limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from hotseat.config.access import KEY
from hotseat.config.document import Document
from hotseat.config.parsers.network import is_local
from hotseat.config.paths import state_dir
from hotseat.config.schema.root import RootConfig
from hotseat.config.schema.tls import TlsConfig
from hotseat.core.access_spec import AuthSpec
from hotseat.core.spec import ListenSpec, ServeSpec, TlsSpec


class ServerResolver:
    """Makes the ``ServeSpec``; problems go into the document."""

    def __init__(
        self, document: Document, root: RootConfig, env: Mapping[str, str], file: Callable[[str], str]
    ) -> None:
        """``file`` resolves a path that the configuration names."""
        self._document, self._root, self._env, self._file = document, root, env, file

    def spec(self, default_route: str | None, auth: AuthSpec) -> ServeSpec:
        """The spec; ``default_route`` is the name of the route for requests that name no model."""
        root = self._root
        if root.lease is not None and root.on_exit != "leave":
            self._document.problem(
                ("lease",),
                "a launcher that stops the models when it ends leaves none to the one that takes over",
                "write on_exit: leave",
            )
        return ServeSpec(
            listen=root.listen,
            open=self._open_to_all(root.listen, auth),
            state_dir=self._file(root.state_dir)
            if root.state_dir
            else state_dir(self._env, root=os.geteuid() == 0),
            default_route=default_route,
            strict_models=root.strict_models,
            access_log=root.access_log,
            hold_headers_s=root.hold_headers_s,
            comment_every_s=root.keepalive_comments,
            body_limit_bytes=root.body_limit,
            body_memory_bytes=max(root.body_memory, root.body_limit),
            slow_client_s=root.slow_client_timeout,
            max_connections=root.max_connections,
            leave_running=root.on_exit == "leave",
            drain_timeout_s=root.drain_timeout,
            watch_config=root.watch_config,
            rate_store=root.rate_store,
            tracing=root.tracing,
            lease=root.lease,
            tls=self._tls(root.tls) if root.tls else None,
        )

    def _open_to_all(self, listen: Sequence[ListenSpec], auth: AuthSpec) -> bool:
        """Whether requests need no key since none is configured; allowed on a loopback address only."""
        open_to_all = auth.required and not auth.configured
        if open_to_all and not all(map(is_local, listen)) and not self._document.tainted(("keys",)):
            self._document.problem(
                ("listen",),
                "without a key, hotseat may listen on this machine only (127.0.0.1, ::1, localhost or a "
                "Unix socket)",
                f"set {KEY} in the environment, or listen on 127.0.0.1",
            )
        return open_to_all

    def _tls(self, tls: TlsConfig) -> TlsSpec:
        for key, name in (("cert", tls.cert), ("key", tls.key)):
            if self._document.tainted(("tls", key)):
                continue
            if not name:
                self._document.problem(("tls",), "needs both cert and key", f"add {key}: FILE.pem")
            elif not os.path.isfile(self._file(name)):
                self._document.problem(("tls", key), "the file does not exist")
        return TlsSpec(cert=self._file(tls.cert or ""), key=self._file(tls.key or ""))
