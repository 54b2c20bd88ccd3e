"""Pages of a real Chromium that fail their test for any console error, exception, or request to another machine."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugin.chromium import FLAGS, chromium


@pytest.fixture(scope="module")
def context(browser) -> Iterator[Any]:
    """What the pages share, TensorBoard's own large script above all."""
    shared = browser.new_context(viewport={"width": 1440, "height": 900})
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(context) -> Iterator[Any]:
    """A page that fails the test for any console error, uncaught exception, or request to another machine."""
    faults: list[str] = []
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.allowed_errors = []

    def on_console(message):
        # Not ours: the icon of a frame opened alone, and TensorBoard's fonts, which it misses under a prefix.
        ours = not message.location["url"].endswith((".woff2", "/favicon.ico"))
        if message.type == "error" and ours and not any(text in message.text for text in opened.allowed_errors):
            faults.append(f"console: {message.text} {message.location}")

    opened.on("console", on_console)
    opened.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    opened.on("request", lambda request: faults.extend(_outside(request.url)))
    yield opened
    opened.close()
    assert not faults


def _outside(url: str) -> list[str]:
    return [] if re.match(r"https?://127\.0\.0\.1[:/]|data:|blob:|about:", url) else [f"request: {url}"]
