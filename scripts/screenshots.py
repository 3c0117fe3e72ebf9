"""Makes the pictures of the page in docs/ui from a scripted scene, with Debian's Chromium: make screenshots.

The scene: fake engines, an hour of history that never was, and a conversation that was written for it.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from fakes.hotseat import Hotseat  # noqa: E402
from hotseat.telemetry.history import (  # noqa: E402
    History,
    Minute,
    RecordedFailure,
    RecordedMove,
    RecordedStart,
    RecordedSwap,
    StartKind,
)
from web.conftest import FLAGS, engine  # noqa: E402

OUT = ROOT / "docs/ui"
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}

ANSWER = """Two servers share one GPU by **taking turns**. In short:

1. The first request for a model starts its server.
2. A model that is in use keeps its seat for a *turn*.
3. Then the next one in line gets the memory.

```python
from openai import OpenAI

client = OpenAI(base_url="http://gpu-box:8000/v1")
for word in client.chat.completions.create(model="coder", stream=True, messages=[...]):
    print(word.choices[0].delta.content, end="")
```

| model | ready in | memory |
|---|---|---|
| chat | 12 s | 45 % |
| coder | 31 s | 80 % |
"""

CONFIG = """# The models of this box
models:
  chat:
    command: vllm serve microsoft/Phi-3.5-mini-instruct --port {port}
    footprint: 0.45
    idle: 30m
  coder:
    command: vllm serve Qwen/Qwen2.5-Coder-14B-Instruct-AWQ --port {port}
    footprint: 0.80
  embed:
    command: vllm serve BAAI/bge-m3 --port {port}
    footprint: 0.10
default_model: chat
keys:
  alice:
    key: ${ALICE_KEY}
    models: [chat, coder]
"""

CHECKS = [
    ("config", "ok", "hotseat.yaml: chat, coder, embed, vision", ""),
    ("gpu", "ok", "NVIDIA GeForce RTX 4090: 24 GiB, driver 580", ""),
    (
        "memory of vision",
        "error",
        "needs 26 GiB, and the GPU has 24 GiB",
        "lower --max-model-len, or quantize it",
    ),
    ("disk", "warning", "18 GiB are left for models below /srv/models", "hotseat seed --prune"),
    ("keys", "ok", "2 keys, the oldest is 41 days old", ""),
    ("port", "ok", "127.0.0.1:8000 is hotseat's", ""),
]


def write_history(state: Path) -> None:
    """An hour of turns between two models, with a failure and a little of everything."""
    state.mkdir(parents=True)
    history = History(state / "history.sqlite3", print)
    now = time.time()
    ago = now - 3600
    history.record_move(RecordedMove(at=ago - 600, model="", state="started", cause=""))

    def move(at: float, model: str, *states: tuple[float, str, str]) -> None:
        for after, name, cause in states:
            history.record_move(RecordedMove(at=ago + at + after, model=model, state=name, cause=cause))

    plan = [
        (60, "embed", [(0, "starting", "demand"), (25, "ready", "probe_passed")]),
        (
            120,
            "chat",
            [
                (0, "starting", "demand"),
                (40, "ready", "probe_passed"),
                (800, "draining", "evicted"),
                (830, "stopping", "drained"),
                (845, "stopped", "exited"),
            ],
        ),
        (
            965,
            "coder",
            [
                (0, "starting", "demand"),
                (95, "ready", "probe_passed"),
                (760, "draining", "evicted"),
                (780, "stopping", "drained"),
                (795, "stopped", "exited"),
            ],
        ),
        (
            1760,
            "chat",
            [
                (0, "starting", "demand"),
                (40, "ready", "probe_passed"),
                (620, "draining", "evicted"),
                (640, "stopping", "drained"),
                (652, "stopped", "exited"),
            ],
        ),
        (
            2300,
            "vision",
            [(0, "starting", "demand"), (30, "backoff", "start_failed"), (150, "stopped", "cooled_down")],
        ),
        (
            2415,
            "coder",
            [
                (0, "starting", "demand"),
                (92, "ready", "probe_passed"),
                (900, "draining", "idle"),
                (905, "stopping", "drained"),
                (915, "stopped", "exited"),
            ],
        ),
    ]
    events = [(at + after, model, state, cause) for at, model, steps in plan for after, state, cause in steps]
    for at, model, state_name, cause in sorted(events):
        move(at, model, (0, state_name, cause))
    for at, old, new in ((965, "chat", "coder"), (1760, "coder", "chat"), (2415, "chat", "coder")):
        history.record_swap(RecordedSwap(at=ago + at, old=old, new=new))
    history.record_failure(
        RecordedFailure(
            at=ago + 2330,
            model="vision",
            run=1,
            cause="start_failed",
            summary="CUDA out of memory while the KV cache was made",
            hint="Lower --max-model-len or --gpu-memory-utilization.",
        )
    )
    ready = {"chat": [(160, 920), (1800, 2380)], "coder": [(1060, 1725), (2507, 3315)], "embed": [(85, 3600)]}
    for n in range(60):
        rows = []
        for at, (model, spans) in enumerate(ready.items()):
            if any(begin <= n * 60 + 30 <= end for begin, end in spans):
                requests = 1 + (n * 7 + at * 5) % (9 if model != "embed" else 4)
                rows.append(
                    Minute(
                        minute=int(ago // 60) + n,
                        model=model,
                        requests=requests,
                        errors=1 if n == 22 and model == "coder" else 0,
                        tokens_in=requests * 820,
                        tokens_out=0 if model == "embed" else requests * (190 + (n * 37) % 120),
                    )
                )
        history.record_minutes(rows)
    for model, seconds in (("chat", 12.0), ("coder", 31.0), ("embed", 6.0)):
        history.record_start(
            RecordedStart(model=model, fingerprint="x", kind=StartKind.COLD, seconds=seconds, at=ago)
        )
    history.close()


def answer(route: Route) -> None:
    """The conversation's other half."""
    pieces = [ANSWER[at : at + 6] for at in range(0, len(ANSWER), 6)]
    chunks = [{"choices": [{"index": 0, "delta": {"content": one}, "finish_reason": None}]} for one in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({"choices": [], "usage": {"completion_tokens": 218}})
    lines = [f"data: {json.dumps(one)}\n\n" for one in chunks]
    route.fulfill(status=200, content_type="text/event-stream", body="".join(lines) + "data: [DONE]\n\n")


def ask(page: Page) -> None:
    """Ask the question of the scene."""
    page.get_by_label("Message").fill("How can two models share one GPU?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".speed")).to_be_visible()
    page.mouse.move(0, 0)


def picture(browser: Browser, url: str, name: str, view: str, size: dict[str, int], scheme: Any) -> None:
    """One picture of one view."""
    context = browser.new_context(
        viewport=size,
        color_scheme=scheme,
        device_scale_factor=1 if size is DESK else 2,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.route("**/v1/chat/completions", answer)
    checks = [dict(zip(("name", "state", "message", "fix"), one, strict=True)) for one in CHECKS]
    page.route("**/ui/api/doctor", lambda route: route.fulfill(json={"checks": checks}))
    shown = {"file": "/etc/hotseat/hotseat.yaml", "text": CONFIG, "problem": None}
    page.route("**/ui/api/config", lambda route: route.fulfill(json=shown))
    page.goto(f"{url}/#/{view}")
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    if view.startswith("playground"):
        ask(page)
    page.wait_for_timeout(1500 if view == "timeline" else 800)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.save(OUT / f"{name}.webp", quality=82, method=6)
    context.close()


def main() -> None:
    """Play the scene and take all pictures."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_history(Path(folder) / "state")
        models = {
            "chat": {"options": engine(0.5, 900, 0.04), "footprint": 0.45, "drain_timeout": "120s"},
            "coder": {"options": engine(30, 300, 0.04), "footprint": 0.8, "residency": "20s"},
            "embed": {"options": engine(0.3, 10, 0.02), "footprint": 0.1},
            "vision": {"options": [*engine(), "--start-fails", "--says", OUT_OF_MEMORY], "footprint": 0.3},
        }
        hotseat = Hotseat(Path(folder), models).start()
        try:
            for name in ("chat", "embed", "vision"):
                hotseat.send("POST", "/admin/start", {"route": name, "wait": True})
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                watcher = browser.new_page()
                watcher.goto(f"http://127.0.0.1:{hotseat.port}/#/requests")
                for _ in range(6):
                    hotseat.ask("embed")
                for name in ("chat", "chat", "coder"):
                    threading.Thread(
                        target=hotseat.ask, args=[name], kwargs={"stream": True}, daemon=True
                    ).start()
                    time.sleep(0.3)
                url = f"http://127.0.0.1:{hotseat.port}"
                for name, view in (
                    ("seats", "seats"),
                    ("playground", "playground/chat"),
                    ("requests", "requests"),
                    ("logs", "logs/chat"),
                ):
                    picture(browser, url, f"{name}-light", view, DESK, "light")
                    if name in ("seats", "playground"):
                        picture(browser, url, f"{name}-dark", view, DESK, "dark")
                picture(browser, url, "seats-phone", "seats", PHONE, "light")
                for name, scheme in (
                    ("timeline", "light"),
                    ("timeline", "dark"),
                    ("health", "light"),
                    ("connect", "dark"),
                ):
                    picture(browser, url, f"{name}-{scheme}", name, DESK, scheme)
                picture(browser, url, "playground-phone", "playground/chat", PHONE, "dark")
                browser.close()
        finally:
            hotseat.stop()


OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 1.20 GiB free"
)

if __name__ == "__main__":
    main()
