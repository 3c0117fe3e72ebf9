"""The TLS context that the gateway's connections are served with."""

from __future__ import annotations

import ssl

from hotseat.core.spec import TlsSpec


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message is for users."""


def server_context(spec: TlsSpec) -> ssl.SSLContext:
    """Load certificate and key into a new context. Raises ``CertificateError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, spec)
    context.set_alpn_protocols(["http/1.1"])
    return context


def renew_certificate(context: ssl.SSLContext, spec: TlsSpec) -> None:
    """Load the files again; new connections get what they hold now.

    Raises ``CertificateError``; the context then keeps the certificate that it had.
    """
    server_context(spec)  # a load that fails halfway would spoil the context in use
    load_certificate(context, spec)


def load_certificate(context: ssl.SSLContext, spec: TlsSpec) -> None:
    """Load certificate and key into ``context``. Raises ``CertificateError``."""
    try:
        context.load_cert_chain(spec.cert, spec.key, password="")  # never ask on the terminal
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error.__class__.__name__
        raise CertificateError(
            f"tls: {spec.cert} and {spec.key} are not a certificate and its key: {why}"
        ) from error
