"""A real browser (Debian's Chromium), and a hotseat of fake engines for it to look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Hotseat

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def engine(start_s: float = 0.1, tokens: int = 20, interval_s: float = 0.01, *more: str) -> list[str]:
    """Options of a fake engine."""
    return [
        *("--start-s", str(start_s), "--tokens", str(tokens), "--token-interval-s", str(interval_s)),
        *more,
    ]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a browser of its own; it must report no error and no violation of its policy."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def trouble(message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            troubles.append(message.text)

    def open_(url: str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", trouble)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Hotseat]]:
    """Starts a hotseat with these models."""
    running: list[Hotseat] = []

    def start(models: dict[str, Any], **config: Any) -> Hotseat:
        hotseat = Hotseat(tmp_path, models, **config)
        running.append(hotseat)
        return hotseat.start()

    yield start
    for hotseat in running:
        hotseat.stop()
