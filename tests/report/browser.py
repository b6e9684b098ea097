"""The browser that pages are opened in: an installed Chromium or Chrome, driven without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def started_browser() -> Iterator[Any]:
    """A browser; the test skips, saying so, where there is none or nothing to drive it."""
    driving = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no page is opened")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(NAMES)}): no page is opened")
    with driving.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, **settings: Any) -> Iterator[tuple[Any, list[str]]]:
    """The page of a file, and what it complained about so far: messages of the console, errors, requests that failed.

    Args:
        browser: see started_browser.
        file: the page.
        settings: of the browser's context, such as `viewport` or `color_scheme`.
    """
    complaints: list[str] = []
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(file.absolute().as_uri())
    yield page, complaints
    context.close()


def unfold(page: Any) -> None:
    """Open all that is folded away."""
    page.locator("details").evaluate_all("all => all.forEach(details => { details.open = true })")
