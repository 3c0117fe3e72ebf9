"""The whole gateway with keys, limits, policies and CORS: no bytes cause an internal error."""

from __future__ import annotations

import hashlib
from typing import Any

from fakes.gateway import model, settings
from fuzz import edge
from fuzz.wires import REPEATED, Talk, packets, responses
from hotseat.core.access_spec import AuthSpec, KeySpec, LimitSpec, PolicySpec, PromptSpec
from hotseat.core.errors import Code, Refusal
from hotseat.core.spec import RouteSpec
from hotseat.core.states import State
from hotseat.gateway.gateway import Gateway
from hotseat.gateway.proxy.lease import LeaseRefused

KEY = b"sk-fuzz"
SITE = PolicySpec(
    defaults={"temperature": 0.5},
    clamp={"max_tokens": 64, "n": 1},
    drop=("logit_bias",),
    prompt=PromptSpec(text="Be kind."),
    cors=("https://example.org",),
    limits=(LimitSpec(amount=1000, per_s=1.0, per="client"),),
)


class NoLeases:
    """Refuses every request: what a model is asked does not matter here."""

    def ask(
        self, model: str, *, priority: int = 0, key: str = "", endpoint: str = "", may_evict: bool = True
    ) -> None:
        raise LeaseRefused(Refusal(code=Code.QUEUE_FULL, model=model, message="full"))

    def state(self, model: str) -> str:
        return State.STOPPED.value


async def control_app(scope: Any, receive: Any, send: Any) -> None:
    """Answers after the body was read; at ``/admin/at-once`` without reading it."""
    more = scope["path"] != "/admin/at-once"
    while more:
        more = (await receive()).get("more_body", False)
    length = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"known"})


def _gateway() -> Gateway:
    config = settings(
        model("chat", served_names=("inner",), allow_paths=("/ping", "/extra/**")),
        model("coder"),
        routes=(RouteSpec(name="site", model="chat", path="/site", policy=SITE),),
        auth=AuthSpec(keys=(KeySpec(name="me", digest=hashlib.sha256(KEY).digest(), admin=True),)),
        default_route="chat",
        body_limit_bytes=3000,
    )
    return Gateway(config, NoLeases(), control_app, local_only=False)  # type: ignore[arg-type]


TALK: list[Talk] = []


def one(data: bytes) -> None:
    """One connection's bytes (the first says how they are cut)."""
    if not data:
        return
    if not TALK:
        TALK.append(Talk(_gateway()))
    answer = TALK[0].say(packets(data))
    if b"HEAD " not in data:  # its responses cannot be split without knowing each request's fate
        responses(answer, [])


_PATHS = [
    b"/v1/chat/completions",
    b"/site/v1/chat/completions",
    b"/site/v1/messages",
    b"/v1/models",
    b"/v1/models/chat",
    b"/chat/ping",
    b"/chat/extra/x",
    b"/stats",
    b"/healthz",
    b"/admin/at-once",
    b"/%2e%2e/stats",
    b"/v1/x?api_key=k",
]
_BODIES = [
    b'{"model":"site","messages":[{"role":"system","content":"x"}],"max_tokens":1e3}',
    b'{"model":"coder","stream":true}',
    b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n--B--\r\n',
]
SEEDS = [
    b"\x00POST %b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\nOrigin: https://example.org\r\n"
    b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
    % (
        path,
        KEY,
        b"multipart/form-data; boundary=B" if body[:1] == b"-" else b"application/json",
        len(body),
        body,
    )
    for path in _PATHS
    for body in _BODIES
] + [
    b"\x00OPTIONS /site/v1/x HTTP/1.1\r\nHost: x\r\nOrigin: https://example.org\r\n"
    b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: a\r\n\r\n",
    b"\x00GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bWU6cHc=\r\nSec-Fetch-Site: none\r\n\r\n",
]
SEEDS += [bytes([REPEATED]) + seed[1:] for seed in SEEDS]
WORDS = [
    *edge.WORDS,
    *_PATHS,
    b"Authorization: Bearer sk-fuzz\r\n",
    b"x-api-key: sk-fuzz\r\n",
    b"Origin: ",
    b"Cookie: ",
    b"X-Request-ID: ",
    b"Content-Encoding: ",
    b"Content-Type: ",
    b"X-Forwarded-For: ",
    b"https://example.org",
    b'"messages":',
    b'"max_tokens":',
    b'"model":',
    b'"stream":true',
    b"multipart/form-data; boundary=B",
]
