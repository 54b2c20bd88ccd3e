"""Chromium as tests drive it: one generous time limit on every wait, and pages whose faults fail their test."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage

#: Limit on every action and expectation; only what never happens takes so long.
TIMEOUT_MS = 120_000
#: Debian's Chromium, without network traffic of its own.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium; without it the test is skipped, or fails in continuous integration."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium")
    if executable is None:
        report = pytest.fail if os.environ.get("CI") else pytest.skip
        report("Chromium is missing; install Debian's package chromium")
    sync_api.expect.set_options(timeout=TIMEOUT_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS, timeout=TIMEOUT_MS)
        yield browser
        browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A context whose pages share TensorBoard's large script, with the time limit."""
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    return context


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a file."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One context for the tests of a file."""
    shared = new_context(browser, viewport={"width": 1440, "height": 900})
    yield shared
    shared.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Any]:
    """A page that fails the test for any console error, uncaught exception, or request to another machine.

    Console errors that contain one of the page's `allowed_errors` are no faults.
    """
    faults: list[str] = []
    opened: Any = context.new_page()
    opened.allowed_errors = []

    def note_error(message: ConsoleMessage) -> None:
        # Not ours: the icon of a frame opened alone, and TensorBoard's fonts, which it misses under a prefix.
        ours = not message.location["url"].endswith((".woff2", "/favicon.ico"))
        if message.type == "error" and ours and not any(text in message.text for text in opened.allowed_errors):
            faults.append(f"console: {message.text} {message.location}")

    opened.on("console", note_error)
    opened.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    opened.on("request", lambda request: faults.extend(_requests_elsewhere(request.url)))
    yield opened
    opened.close()
    assert not faults


def _requests_elsewhere(url: str) -> list[str]:
    return [] if re.match(r"https?://127\.0\.0\.1[:/]|data:|blob:|about:", url) else [f"request: {url}"]
