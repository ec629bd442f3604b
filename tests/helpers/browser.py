"""Chromium for tests, where it can be had; without it they are skipped, and say so."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator, Sequence
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


_CUES_AT = """async times => {
    const video = document.querySelector("video"), track = document.querySelector("track");
    const until = async reached => {
        for (let tries = 0; !reached(); tries++) {
            if (tries > 500 || video.error) throw new Error(video.error?.message ?? "too late");
            await new Promise(done => setTimeout(done, 20));
        }
    };
    await until(() => video.readyState >= 1 && track.readyState >= 2);  // metadata, all cues
    const shown = [];
    for (const time of times) {
        await new Promise(done => { video.onseeked = done; video.currentTime = time; });
        shown.push([...track.track.activeCues].map(cue => cue.getCueAsHTML().textContent));
    }
    return shown;
}"""


def cues_at(
    running: Any, video: Path, subtitles: Path, times_s: Sequence[float]
) -> list[list[str]]:
    """The texts that a browser shows of a WebVTT file while a video is at each of these times."""

    def address(kind: str, file: Path) -> str:  # a page may not load subtitles from disk
        return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"

    page = running.new_page()
    page.set_content(
        f'<video muted src="{address("video/mp4", video)}">'
        f'<track default src="{address("text/vtt", subtitles)}"></video>'
    )
    shown: list[list[str]] = page.evaluate(_CUES_AT, list(times_s))
    return shown
