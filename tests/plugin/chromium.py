"""The browser that the tests drive: Debian's Chromium, without network traffic of its own."""

import os
import shutil

import pytest

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


def chromium() -> str:
    """Where Chromium is; without it the test is skipped, or fails in continuous integration."""
    found = shutil.which("chromium")
    if found is None:
        report = pytest.fail if os.environ.get("CI") else pytest.skip
        report("Chromium is missing; install Debian's package chromium")
    return str(found)
