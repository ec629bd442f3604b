"""Chromium for tests, where it can be had; without it they are skipped, and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser; skips the test where there is none."""
    path = chromium_path()
    if path is None and os.environ.get("CI"):
        pytest.fail("no Chromium; .ci/run installs it")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium (make test does, where it may)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=flags)
        try:
            yield running
        finally:
            running.close()


class Visit:
    """A page opened from disk, and all that it asked for or complained about."""

    def __init__(self, running: Any, path: Path, width: int = 1200, scheme: str = "light") -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = running.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state()

    @property
    def asked_elsewhere(self) -> list[str]:
        """Requests for anything but the page itself and what it holds."""
        return [url for url in self.requests[1:] if not url.startswith("data:")]
