"""The page in a real browser: what people see, and what hostile models and sites cannot do."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Hotseat
from web.conftest import engine

pytestmark = pytest.mark.system("chromium")

ADMIN, CLIENT = "sk-admin-" + "a" * 32, "sk-client-" + "c" * 32
KEYS = {"ADMIN_API_KEY": ADMIN, "VLLM_API_KEY": CLIENT}
VIEWS = ["seats", "timeline", "requests", "logs", "playground", "connect", "health"]
NPM = Path(__file__).parent / "npm"

Launch = Callable[..., Hotseat]
Visit = Callable[..., Any]


def address(hotseat: Hotseat, view: str = "") -> str:
    return f"http://127.0.0.1:{hotseat.port}/" + (f"#/{view}" if view else "")


def card(page: Any, model: str) -> Any:
    return page.get_by_role("article", name=model, exact=True)


def sign_in(page: Any, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect as wait_for

    wait_for.set_options(timeout=20_000)
    return wait_for(locator)


# What people see


def test_a_cold_start_is_watched_from_click_to_first_token(launch: Launch, visit: Visit) -> None:
    page = visit(address(launch({"chat": engine(1.5, 12)})))
    expect(card(page, "chat").get_by_text("stopped")).to_be_visible()
    card(page, "chat").get_by_role("link", name="Chat").click()
    page.get_by_label("Message").fill("hello")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".wait .pill")).to_have_text("starting")
    expect(page.locator(".turn .markdown")).not_to_be_empty()
    expect(page.locator(".speed")).to_contain_text("12 tokens")
    expect(page.locator(".speed")).to_contain_text("first token after")
    page.get_by_role("link", name="Seats").click()
    expect(card(page, "chat").get_by_text("ready")).to_be_visible()


def test_a_swap_shows_who_waits_and_why(launch: Launch, visit: Visit) -> None:
    hotseat = launch(
        {
            "chat": {"options": engine(0.1, 400, 0.02), "footprint": 0.6},
            "coder": {"options": engine(0.1), "footprint": 0.6},
        }
    )
    hotseat.ask("chat", max_tokens=1)
    page = visit(address(hotseat))
    threads = [
        threading.Thread(target=hotseat.ask, args=[name], kwargs={"stream": True}, daemon=True)
        for name in ("chat", "coder")
    ]
    threads[0].start()
    expect(card(page, "chat").locator(".story")).to_contain_text("1 answer under way")
    threads[1].start()
    expect(card(page, "coder").locator(".waits")).to_contain_text(re.compile("1 request queued: .*chat"))
    expect(page.get_by_role("img", name=re.compile("chat 60 %"))).to_be_visible()
    expect(card(page, "coder").locator(".pill")).to_have_text("ready")
    for thread in threads:
        thread.join()
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator(".page-head .sub")).to_contain_text("1 swap")


def test_starting_stopping_and_holding_from_the_card(launch: Launch, visit: Visit) -> None:
    hotseat = launch({"chat": engine(0.1, 500, 0.02)})
    page = visit(address(hotseat))
    card(page, "chat").get_by_role("button", name="Start").click()
    expect(card(page, "chat").locator(".pill")).to_have_text("ready")
    card(page, "chat").get_by_role("button", name="Hold 1 h").click()
    expect(card(page, "chat").locator(".story")).to_contain_text("Held until")
    threading.Thread(target=hotseat.ask, args=["chat"], kwargs={"stream": True}, daemon=True).start()
    expect(card(page, "chat").locator(".facts dd").first).to_have_text("1")
    card(page, "chat").get_by_role("button", name="Stop").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 answer is under way")
    page.get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert hotseat.model("chat")["state"] == "ready"


def test_a_crash_is_told_in_one_sentence_with_a_way_to_the_log(launch: Launch, visit: Visit) -> None:
    hotseat = launch({"chat": [*engine(), "--start-fails"]})
    page = visit(address(hotseat))
    card(page, "chat").get_by_role("button", name="Start").click()
    expect(card(page, "chat").locator(".failure")).to_contain_text("exited with code 1")
    card(page, "chat").get_by_role("link", name="Log", exact=True).click()
    expect(page.get_by_role("heading", name="Logs")).to_be_visible()


def test_a_death_in_mid_stream_is_said_in_the_conversation(launch: Launch, visit: Visit) -> None:
    page = visit(address(launch({"chat": [*engine(0.1, 50, 0.02), "--dies-in-stream", "5"]}), "playground"))
    page.get_by_label("Message").fill("hello")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn .markdown")).not_to_be_empty()
    expect(page.locator(".turn .problem")).not_to_be_empty()


def test_requests_are_seen_while_they_run_and_can_be_cancelled(launch: Launch, visit: Visit) -> None:
    hotseat = launch({"chat": engine(0.1, 5000, 0.02)})
    page = visit(address(hotseat, "requests"))
    expect(page.get_by_text("No requests yet")).to_be_visible()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            hotseat.ask("chat", stream=True)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    expect(page.locator(".status.busy")).to_have_text("streaming")
    page.get_by_role("button", name=re.compile("Details")).click()
    page.get_by_role("button", name="Cancel this request").click()
    expect(page.locator("tbody .sub.small")).to_have_text("client left")
    thread.join(20)
    assert failures, "its client was cut off"


def test_a_restart_of_hotseat_is_survived_without_a_reload(launch: Launch, visit: Visit) -> None:
    hotseat = launch({"chat": engine()})
    page = visit(address(hotseat))
    page.evaluate("window.same = true")
    expect(card(page, "chat")).to_be_visible()
    hotseat.stop()
    expect(page.get_by_text("hotseat does not answer.")).to_be_visible()
    hotseat.start()
    expect(page.get_by_text("hotseat does not answer.")).to_have_count(0)
    hotseat.ask("chat")
    expect(card(page, "chat").locator(".pill")).to_have_text("ready")
    assert page.evaluate("window.same") is True


def test_two_hundred_models_are_drawn_and_found(launch: Launch, visit: Visit) -> None:
    page = visit(address(launch({f"model-{n:03}": engine() for n in range(200)})))
    expect(page.locator(".card")).to_have_count(200)
    page.get_by_label("Find a model").fill("model-17")
    expect(page.locator(".card")).to_have_count(10)


# Who gets in


def test_a_wrong_key_is_refused_and_the_right_one_is_not_kept(launch: Launch, visit: Visit) -> None:
    hotseat = launch({"chat": engine()}, env=KEYS)
    page = visit(address(hotseat))
    sign_in(page, "sk-wrong-" + "w" * 30)
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    sign_in(page, ADMIN)
    expect(card(page, "chat")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert ADMIN not in stored + cookie["value"] + page.content()
    assert "hotseat_session" not in stored
    page.reload()
    expect(card(page, "chat")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to hotseat")).to_be_visible()
    page.context.add_cookies([cookie])  # signed out is signed out, on the server as well
    page.reload()
    expect(page.get_by_role("heading", name="Sign in to hotseat")).to_be_visible()


def test_a_client_key_opens_the_playground_and_its_models_alone(launch: Launch, visit: Visit) -> None:
    hotseat = launch(
        {"chat": engine(), "coder": engine()},
        env={**KEYS, "ALICE": "sk-alice-" + "x" * 30},
        keys={"alice": {"key": "${ALICE}", "models": ["coder"]}},
    )
    page = visit(address(hotseat))
    sign_in(page, "sk-alice-" + "x" * 30)
    expect(page.get_by_label("Model", exact=True).locator("option")).to_have_text(["coder"])
    expect(page.get_by_role("navigation").get_by_role("listitem")).to_have_text(["Playground", "Connect"])
    statuses = page.evaluate(
        """Promise.all(["/stats", "/ui/api/live?topic=seats", "/ui/api/config", "/logs/chat"]
        .map(async (path) => (await fetch(path)).status))"""
    )
    assert statuses == [403] * 4


def test_a_rotated_key_and_the_end_of_a_session_lead_to_the_sign_in(launch: Launch, visit: Visit) -> None:
    names = {"ALICE": "sk-alice-" + "x" * 30}
    keys = {"alice": {"key": "${ALICE}", "admin": True}}
    hotseat = launch({"chat": engine()}, env={**KEYS, **names}, keys=keys)
    page = visit(address(hotseat))
    sign_in(page, names["ALICE"])
    expect(card(page, "chat")).to_be_visible()
    hotseat.write({"chat": engine()}, keys={"bob": {"key": "${ALICE}-new", "admin": True}})
    reloaded = hotseat.send("POST", "/admin/reload", {}, Authorization=f"Bearer {ADMIN}")
    assert reloaded.status == 200, reloaded.body
    expect(page.get_by_role("heading", name="Sign in to hotseat")).to_be_visible()


def logged(hotseat: Hotseat, since: int) -> list[dict[str, Any]]:
    """The access log from this byte on, up to a request that is made now."""
    mark = f"mark-{since}"
    hotseat.send("GET", "/healthz", **{"X-Request-ID": mark})
    deadline = time.monotonic() + hotseat.limit_s
    while mark not in (text := hotseat.access_log.read_bytes()[since:].decode()):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["id"] != mark]


@pytest.fixture
def other_site() -> Iterator[int]:
    """A page on another port of this machine: of the same site, and of another origin."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_sites_page_can_order_and_ask_nothing(
    launch: Launch, visit: Visit, other_site: int, tmp_path: Path
) -> None:
    hotseat = launch({"chat": engine()}, env=KEYS)
    page = visit(address(hotseat))
    sign_in(page, ADMIN)
    expect(card(page, "chat")).to_be_visible()
    stranger = page.context.new_page()
    stranger.goto(f"http://127.0.0.1:{other_site}/")
    since = hotseat.access_log.stat().st_size
    tried = stranger.evaluate(
        """async (base) => {
        const told = [];
        const ask = async (path, options) => {
          try { told.push((await fetch(base + path, {credentials: "include", ...options})).type); }
          catch { told.push("blocked"); }
        };
        for (const type of ["application/json", "text/plain"])
          for (const path of ["/admin/start", "/admin/stop", "/ui/api/hold", "/v1/chat/completions"])
            await ask(path, {method: "POST", mode: type === "text/plain" ? "no-cors" : "cors",
              headers: {"content-type": type}, body: '{"route": "chat", "model": "chat", "messages": []}'});
        await ask("/ui/session", {method: "DELETE"});
        await ask("/stats", {mode: "no-cors"});
        return told;
      }""",
        f"http://127.0.0.1:{hotseat.port}",
    )
    assert set(tried) <= {"blocked", "opaque"}
    lines = logged(hotseat, since)
    foreign = [line for line in lines if not line["path"].startswith("/ui/")]
    assert foreign
    assert all(line["status"] in (204, 401, 403) for line in foreign), foreign
    assert (
        hotseat.send("GET", "/stats", Authorization=f"Bearer {ADMIN}").json["models"]["chat"]["state"]
        == "stopped"
    )
    page.reload()
    expect(card(page, "chat")).to_be_visible()  # and it signed nobody out


# Hostile words

HOSTILE = """
<script>window.stolen = 1</script><img src=x onerror="window.stolen = 2">
<svg onload="window.stolen = 3"><a href="#">x</a></svg>
[a link](javascript:window.stolen=4) [data](data:text/html,<script>window.stolen=5</script>)
<a href="&#106;avascript:window.stolen=6" onclick="window.stolen = 7">click</a> <iframe src="/ui/"></iframe>
<form action="/admin/stop" method="post"><button>Send</button></form> <style>body { display: none }</style>
![picture](http://127.0.0.1:9/seen.png) <math><mtext><img src=x onerror="window.stolen = 8"></mtext></math>

```html
<script>window.stolen = 9</script>
```
"""


def test_a_models_hostile_answer_is_shown_and_does_nothing(launch: Launch, visit: Visit) -> None:
    page = visit(address(launch({"chat": engine()}), "playground"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    piece = json.dumps({"choices": [{"index": 0, "delta": {"content": HOSTILE}, "finish_reason": "stop"}]})
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            status=200, content_type="text/event-stream", body=f"data: {piece}\n\ndata: [DONE]\n\n"
        ),
    )
    page.get_by_label("Message").fill("hello")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn .code code")).to_contain_text("window.stolen = 9")
    for link in page.locator(".turn .markdown a").all():
        link.click(modifiers=["Alt"])
    assert page.evaluate("window.stolen") is None
    inside = page.locator(".turn .markdown")
    assert inside.locator("script, img, svg, iframe, form, style, math, [onclick], [onerror]").count() == 0
    assert "<iframe" in inside.text_content()
    links = inside.locator("a[href]").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert all(re.match("https?:|mailto:", link) for link in links), links
    assert not any("seen.png" in url for url in asked)
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in asked)


def test_hostile_log_lines_are_text(launch: Launch, visit: Visit) -> None:
    lines = [
        "<script>window.stolen = 1</script><img src=x onerror=window.stolen=2>",
        "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[H\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07 end",
        "x" * 300_000,
    ]
    says = [word for line in lines for word in ("--says", line)]
    says = [word if len(word) < 100_000 else word[:100_000] for word in says]
    hotseat = launch({"chat": [*engine(), *says]})
    hotseat.ask("chat")
    page = visit(address(hotseat, "logs/chat"))
    expect(page.locator(".log-line", has_text="<script>window.stolen")).to_be_visible()
    expect(page.locator(".log-line .c1")).to_have_text("red")
    expect(page.locator(".log-line", has_text="link end")).to_be_visible()
    expect(page.locator(".log-line", has_text="characters)")).to_have_count(1)
    assert page.evaluate("window.stolen") is None
    assert page.locator(".log-line a, .log-line img, .log-line script").count() == 0


def test_a_hundred_thousand_log_lines_take_few_elements(launch: Launch, visit: Visit) -> None:
    page = visit(address(launch({"chat": engine()})))
    body = "".join(f"line {n} \x1b[32mINFO\x1b[0m all is well\n" for n in range(100_000))
    page.route(
        "**/logs/chat?*", lambda route: route.fulfill(status=200, content_type="text/plain", body=body)
    )
    page.goto(address_of(page, "logs/chat"))
    expect(page.locator(".page-head .sub")).to_contain_text("100,000 lines")
    expect(page.locator(".log-line", has_text="line 99999")).to_be_visible()
    assert page.locator(".log-line").count() < 120
    page.get_by_label("Search in the log").fill("line 5000 ")
    expect(page.locator(".log-line mark")).to_have_text("line 5000 ")


def address_of(page: Any, view: str) -> str:
    return page.url.partition("#")[0] + f"#/{view}"


# Every view


@pytest.mark.parametrize("view", VIEWS)
def test_a_phones_width_needs_no_sideways_scrolling(launch: Launch, visit: Visit, view: str) -> None:
    hotseat = launch(
        {"chat": engine(), "a-model-with-a-rather-long-name-for-a-phone-of-this-width": engine()}
    )
    hotseat.ask("chat")
    page = visit(address(hotseat, view), viewport={"width": 360, "height": 740}, has_touch=True)
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360, width


def test_everything_is_reached_by_keyboard_alone(launch: Launch, visit: Visit) -> None:
    page = visit(address(launch({"chat": engine()})))
    expect(card(page, "chat")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "(one => [one.textContent.trim(), getComputedStyle(one).outlineStyle])(document.activeElement)"
        )
        reached.append(focus[0])
        assert focus[1] != "none" or not focus[0], focus
        if focus[0] == "Start":
            break
    assert reached[-1] == "Start", reached
    page.keyboard.press("Enter")
    expect(card(page, "chat").locator(".pill")).to_have_text("ready")


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which finds what people with other eyes and hands cannot use."""
    return (npm_folder(tmp_path_factory) / "node_modules/axe-core/axe.min.js").read_text()


def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_text((NPM / name).read_text())
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.system("npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_view(launch: Launch, visit: Visit, axe: str, scheme: str) -> None:
    hotseat = launch({"chat": engine(), "broken": [*engine(), "--start-fails"]}, env=KEYS)
    hotseat.send("POST", "/admin/start", {"route": "broken", "wait": True}, Authorization=f"Bearer {ADMIN}")
    hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True}, Authorization=f"Bearer {ADMIN}")
    page = visit(address(hotseat), color_scheme=scheme, bypass_csp=True)
    expect(page.get_by_role("heading", name="Sign in to hotseat")).to_be_visible()
    page.evaluate(axe)
    found = {"sign-in": serious(page)}
    sign_in(page, ADMIN)
    for view in VIEWS:
        page.goto(address(hotseat, view))
        expect(page.get_by_role("heading", level=1)).to_have_text(view.capitalize())
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        found[view] = serious(page)
    assert {view: problems for view, problems in found.items() if problems} == {}


def serious(page: Any) -> list[str]:
    """What axe calls serious or critical."""
    violations = page.evaluate("axe.run().then((result) => result.violations)")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in violations
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.system("npm", "node")
def test_the_types_of_the_page_are_right(tmp_path_factory: pytest.TempPathFactory) -> None:
    compiler = npm_folder(tmp_path_factory) / "node_modules/.bin/tsc"
    project = Path(__file__).parents[2] / "src/hotseat/web/page/jsconfig.json"
    done = subprocess.run([compiler, "-p", project], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
