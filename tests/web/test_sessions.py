"""Sessions of browsers: bound to a key, ended by time, sign-out and rotation, and kept over a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.hotseat import Answer, Hotseat
from hotseat.web.sessions import SESSION_S, SESSIONS_KEPT, Sessions

ADMIN, CLIENT = "sk-admin-" + "a" * 32, "sk-client-" + "c" * 32
KEYS = {"ADMIN_API_KEY": ADMIN, "VLLM_API_KEY": CLIENT}


class Clock:
    """A time of day that is set by hand."""

    now = 1e9

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_after_twelve_hours() -> None:
    clock = Clock()
    sessions = Sessions(None, clock)
    token, ends_at = sessions.create(b"credential")
    assert sessions.find(token.encode()) == (b"credential", ends_at)
    clock.now = ends_at - 1
    assert sessions.find(token.encode()) is not None
    clock.now = ends_at
    assert sessions.find(token.encode()) is None
    assert ends_at - 1e9 == SESSION_S == 12 * 3600


def test_sessions_survive_a_restart_in_a_file_that_holds_no_token(tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    token, _ = Sessions(file, Clock()).create(b"credential")
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in file.read_text()
    again = Sessions(file, Clock())
    assert again.find(token.encode()) is not None
    again.end(token.encode())
    assert Sessions(file, Clock()).find(token.encode()) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": ["zz", 1]}', '{"a": ["00", "x"]}'])
def test_a_broken_file_is_no_sessions(tmp_path: Path, content: str) -> None:
    file = tmp_path / "sessions.json"
    file.write_text(content)
    assert len(Sessions(file, Clock())) == 0


def test_many_sign_ins_end_the_oldest() -> None:
    sessions = Sessions(None, Clock())
    tokens = [sessions.create(b"c")[0] for _ in range(SESSIONS_KEPT + 1)]
    assert sessions.find(tokens[0].encode()) is None
    assert sessions.find(tokens[1].encode()) is not None
    assert len(sessions) == SESSIONS_KEPT


# In a running hotseat


def sign_in(hotseat: Hotseat, key: str = ADMIN, **headers: str) -> Answer:
    return hotseat.send("POST", "/ui/session", {}, **{"x-api-key": key, **headers})


def cookie(answer: Answer) -> str:
    return {name.lower(): value for name, value in answer.headers.items()}["set-cookie"].partition(";")[0]


def test_a_session_opens_what_its_key_opens_until_it_is_rotated(tmp_path: Path) -> None:
    keys = {"alice": {"key": "${ALICE}", "admin": True}}
    hotseat = Hotseat(
        tmp_path, {"chat": []}, env={**KEYS, "ALICE": "sk-alice-" + "x" * 30}, keys=keys
    ).start()
    try:
        alice, client = sign_in(hotseat, "sk-alice-" + "x" * 30), sign_in(hotseat, CLIENT)
        told = {name.lower(): value for name, value in alice.headers.items()}["set-cookie"].lower()
        assert "httponly" in told
        assert "samesite=strict" in told
        assert "max-age=43200" in told
        assert hotseat.send("GET", "/stats", Cookie=cookie(alice)).status == 200
        assert hotseat.send("GET", "/stats", Cookie=cookie(client)).status == 403
        assert hotseat.send("GET", "/v1/models", Cookie=f"a=b; {cookie(client)}; c=d").status == 200
        hotseat.stop()
        hotseat.start()
        assert hotseat.send("GET", "/stats", Cookie=cookie(alice)).status == 200
        hotseat.write({"chat": []}, keys={"alice": {"key": "${ALICE}-rotated", "admin": True}})
        hotseat.send("POST", "/admin/reload", {}, Authorization=f"Bearer {ADMIN}")
        assert hotseat.send("GET", "/stats", Cookie=cookie(alice)).status == 401
        assert hotseat.send("GET", "/v1/models", Cookie=cookie(client)).status == 200
    finally:
        hotseat.stop()


def test_orders_with_a_session_need_a_page_of_our_own(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": []}, env=KEYS).start()
    try:
        session = cookie(sign_in(hotseat))
        own = f"http://127.0.0.1:{hotseat.port}"
        refused: list[dict[str, str]] = [
            {},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Origin": "http://evil.example"},
            {"Sec-Fetch-Site": "same-site", "Origin": own},
            {"Sec-Fetch-Site": "cross-site", "Origin": own},
            {"Sec-Fetch-Site": "none"},
        ]
        for headers in refused:
            for path, body in (
                ("/admin/stop", {"route": "chat"}),
                ("/v1/chat/completions", {"model": "chat"}),
            ):
                answer = hotseat.send("POST", path, body, Cookie=session, **headers)
                assert answer.status in (401, 403), (path, headers, answer.body)
        for headers in ({"Origin": own}, {"Sec-Fetch-Site": "same-origin", "Origin": own}):
            answer = hotseat.send("POST", "/admin/stop", {"route": "chat"}, Cookie=session, **headers)
            assert answer.status == 200, answer.body
    finally:
        hotseat.stop()


def test_a_wrong_key_a_web_pages_key_and_a_session_sign_in_nobody(tmp_path: Path) -> None:
    page_key = {"page": {"key": "${PAGE}", "origins": ["https://example.org"]}}
    env = {**KEYS, "PAGE": "sk-page-" + "p" * 30}
    hotseat = Hotseat(tmp_path, {"chat": []}, env=env, keys=page_key).start()
    try:
        assert sign_in(hotseat, "wrong").error["code"] == "invalid_api_key"
        assert sign_in(hotseat, env["PAGE"]).status == 403
        session = cookie(sign_in(hotseat))
        own = {"Cookie": session, "Origin": f"http://127.0.0.1:{hotseat.port}"}
        assert hotseat.send("POST", "/ui/session", {}, **own).status == 403  # a session begets no other
        assert hotseat.send("DELETE", "/ui/session", {}, **own).status == 200
        assert hotseat.send("GET", "/stats", Cookie=session).status == 401
    finally:
        hotseat.stop()


def test_the_cookie_reaches_no_models_server(tmp_path: Path) -> None:
    hotseat = Hotseat(tmp_path, {"chat": ["--tells-calls"]}, env=KEYS).start()
    try:
        session = cookie(sign_in(hotseat))
        own = f"http://127.0.0.1:{hotseat.port}"
        body = {"model": "chat", "messages": []}
        assert hotseat.send("POST", "/v1/chat/completions", body, Cookie=session, Origin=own).status == 200
        lines = hotseat.send("GET", "/logs/chat", Authorization=f"Bearer {ADMIN}").json["lines"]
        assert session.partition("=")[2] not in json.dumps(lines)
    finally:
        hotseat.stop()
