"""A real browser for tests: headless Chromium on the pages of a real MLflow server."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as TooSlowError

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
"""MLflow's assistant opens itself over a third of the first page that one sees on this machine."""
IS_SHOWN = "texts => texts.every(text => document.body.innerText.includes(text))"


def chromium() -> str:
    """The path of a Chromium; empty where there is none."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), "")


@contextmanager
def headless_browser() -> Iterator[Browser]:
    """Chromium without a window; the test is skipped where there is none."""
    if not chromium():
        pytest.skip(f"needs a Chromium: none of {', '.join(CHROMIUMS)} is on the path")
    sandbox = os.geteuid() != 0  # Chromium's own needs a user who is not root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=sandbox)
        yield browser
        browser.close()


def new_page(browser: Browser) -> Page:
    """A window of somebody who has never been here: no cookies, no settings, nothing cached."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.add_init_script(NO_ASSISTANT)
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


def wait_for_texts(page: Page, *texts: str) -> str:
    """Until all of them can be read on the page; all that can be read on it."""
    try:
        page.wait_for_function(IS_SHOWN, arg=list(texts))
    except TooSlowError:
        shown = page.inner_text("body")
        missing = [text for text in texts if text not in shown]
        raise AssertionError(f"{page.url} must show {missing}, but shows:\n{shown}") from None
    return page.inner_text("body")


def shoot(page: Page, folder: Path, name: str) -> None:
    """A screenshot, to be looked at."""
    page.screenshot(path=folder / f"{name}.png")


def drawn(chart: Locator) -> list[tuple[float, float]]:
    """The points of the first line of a chart, as they are drawn."""
    chart.locator(".js-plotly-plot").wait_for()
    points = "card => { const line = card.querySelector('.js-plotly-plot').data[0]; return [[...line.x], [...line.y]]; }"
    x, y = chart.evaluate(points)
    return list(zip(x, y, strict=True))
