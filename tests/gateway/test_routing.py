"""No spelling of a path reaches what the allow-list does not name."""

from __future__ import annotations

import gc
import posixpath
import tracemalloc
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from fakes.gateway import model, settings
from hotseat.core.spec import RouteSpec
from hotseat.gateway.http.errors import RequestRefused
from hotseat.gateway.policy.rate_limit import MemoryLimiter
from hotseat.gateway.routing import DATA_PATHS, RoutingTable, TargetKind

TABLES = RoutingTable(
    settings(
        model("chat"),
        model("coder", allow_paths=("/invocations",)),
        routes=(RouteSpec(name="deep", model="chat", path="/team/a/deep"),),
    ),
    MemoryLimiter(lambda: 0.0),
)
PREFIXES = ("", "/chat", "/coder", "/team/a/deep")
FORBIDDEN = (
    "/sleep",
    "/wake_up",
    "/collective_rpc",
    "/pause",
    "/resume",
    "/reset_prefix_cache",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/Load_LoRA_Adapter",
    "/v1/internal/model/load",
    "/slots",
    "/props",
    "/metrics",
    "/server_info",
    "/v2/x",
)


def data_path(raw: bytes) -> str | None:
    """The path at a model's server that a raw path leads to, if it leads to one."""
    try:
        target = TABLES.resolve(raw)
    except RequestRefused:
        return None
    return target.path.decode("latin-1") if target.kind is TargetKind.DATA else None


def as_servers_might_read(path: str) -> set[str]:
    """What some server may take a path for: decoded once or twice, cleaned, parameters cut, in lower case."""
    readings = {path, unquote(path), unquote(unquote(path))}
    readings |= {reading.replace("\\", "/") for reading in readings}
    readings |= {reading.split(";")[0] for reading in readings}
    readings |= {reading.split("\0")[0] for reading in readings}
    readings |= {posixpath.normpath(reading) for reading in readings}
    readings |= {"/" + reading.lstrip("/") for reading in readings}
    return {reading.lower().rstrip("/") for reading in readings}


def is_allowed(path: str) -> bool:
    """The allow-list, written a second time."""
    if path == "/invocations" or path.encode() in DATA_PATHS:
        return True
    return path.startswith("/v1/") and path.split("/")[2] not in (
        "load_lora_adapter",
        "unload_lora_adapter",
        "lora",
        "model",
        "internal",
        "admin",
        "",
    )


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/audio/speech", "/v1/a", "/tokenize"]
)
def test_what_is_allowed_gets_there(prefix: str, path: str) -> None:
    assert data_path((prefix + path).encode()) == path


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", FORBIDDEN)
def test_what_is_not_allowed_does_not(prefix: str, path: str) -> None:
    for tail in ("", "/", "/x"):
        assert data_path((prefix + path + tail).encode()) is None


def test_a_models_own_paths_are_its_own() -> None:
    assert data_path(b"/coder/invocations") == "/invocations"
    assert data_path(b"/chat/invocations") is None
    assert TABLES.resolve(b"/invocations").special


def test_the_longest_prefix_wins() -> None:
    tables = RoutingTable(
        settings(
            model("chat"),
            model("coder"),
            routes=(RouteSpec(name="under", model="coder", path="/chat/under"),),
        ),
        MemoryLimiter(lambda: 0.0),
    )
    inner = tables.resolve(b"/chat/under/v1/x")
    assert inner.route is not None
    assert (inner.route.model, inner.path) == ("coder", b"/v1/x")
    outer = tables.resolve(b"/chat/v1/x")
    assert outer.route is not None
    assert outer.route.model == "chat"


SLASHES = ["//", "/./", "/x/../", "\\", "/;a/", "%2f", "/v1/../", "/%2e/"]
PIECES = st.sampled_from(
    [
        "/",
        "//",
        "/.",
        "/..",
        "/./",
        "/../",
        "\\",
        "..\\",
        "%2f",
        "%2F",
        "%5c",
        "%2e",
        "%2e%2e",
        "%252f",
        "%00",
        "\0",
        ";",
        ";x=1",
        "%3b",
        "v1",
        "V1",
        "v%31",
        "chat",
        "coder",
        "team/a/deep",
        "sleep",
        "SLEEP",
        "sl%65ep",
        "tokenize",
        "load_lora_adapter",
        "Load_Lora_Adapter",
        "load%5FlorA_adapter",
        "models",
        "internal",
        "invocations",
        "x",
        " ",
        "%20",
        "\t",
        "é",
        "ı",
        "?",
        "#",
        "admin",
        "healthz",
        "@host",
        ":80",
        "http:",
        "+",
        "~",
        "%",
        "%zz",
        "%c0%af",
    ]
)


@effort(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join))
def test_no_spelling_gets_past_the_list(text: str) -> None:
    reached = data_path(("/" + text).encode())
    if reached is not None:
        for reading in as_servers_might_read(reached):
            assert is_allowed(reading), f"{text!r} reaches {reached!r}, which may be read as {reading!r}"


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A forbidden path in some disguise."""
    path = draw(st.sampled_from(FORBIDDEN))
    letters = []
    for letter in path:
        how = draw(st.integers(0, 9))
        if how == 0:
            letters.append(f"%{ord(letter):02x}")
        elif how == 1:
            letters.append(f"%25{ord(letter):02X}")
        elif how == 2:
            letters.append(letter.upper())
        elif letter == "/" and how < 6:
            letters.append(draw(st.sampled_from(SLASHES)))
        else:
            letters.append(letter)
    tail = draw(st.sampled_from(["", "/", ";x", "%00", "/.", "?a", "#", "/..;/", "%20"]))
    return (
        draw(st.sampled_from(("", "/chat", "/team/a/deep", "/v1", "/v1/..", "/chat/v1/..")))
        + "".join(letters)
        + tail
    )


@effort(max_examples=400, deadline=None)
@given(disguised())
def test_no_disguise_of_a_forbidden_path_gets_through(text: str) -> None:
    reached = data_path(text.encode())
    if reached is not None:
        for reading in as_servers_might_read(reached):
            assert is_allowed(reading), f"{text!r} reaches {reached!r}"


def test_the_memory_of_paths_is_bounded() -> None:
    table = RoutingTable(settings(model("chat")), MemoryLimiter(lambda: 0.0))
    tracemalloc.start()
    try:
        for number in range(20_000):
            table.resolve(b"/v1/%d" % number)
        for number in range(1_000):
            table.resolve(b"/v1/%d" % number + b"x" * 5000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
    finally:
        tracemalloc.stop()
