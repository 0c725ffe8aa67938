"""Render the README's picture of the listening page: two toggle sets, the first pair voted on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from engine.gate.listening import page as listen
from engine.gate.listening import takes
from engine.options import Options

TEXTS = ("kitchen", "hello")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HALF_WAY = """
    for (const { audio } of players.slice(0, 2)) { audio.pause(); audio.currentTime = 0.45 * audio.duration; }
"""


def draw(path: Path) -> None:
    """Write the PNG: the bar and the first pair, voted."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        raise RuntimeError(
            "No browser: expected Chromium with its driver. Install chromium and chromium-driver."
        )
    found = takes.spoken(Options.fast_cpu(), Options.reference(), TEXTS)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "headless=new",
        "no-sandbox",
        "mute-audio",
        "hide-scrollbars",
        "force-prefers-reduced-motion",
    ):
        options.add_argument(f"--{argument}")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(listen.render(found.pairs, "fast_cpu", "reference"), encoding="utf-8")
        with webdriver.Chrome(options=options, service=Service(driver)) as browser:
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": 1080, "height": 1165, "deviceScaleFactor": 1, "mobile": False},
            )
            browser.get(page.as_uri())
            _vote(browser)
            path.write_bytes(browser.get_screenshot_as_png())


def _vote(browser: object) -> None:
    """Play and answer the first pair, and scroll to it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    card = browser.find_element(By.TAG_NAME, "article")
    for button in card.find_elements(By.CLASS_NAME, "play"):
        button.click()
    WebDriverWait(browser, 20).until(lambda _: len(card.find_elements(By.CLASS_NAME, "heard")) == 2)
    for name, value in {"comparison": "0", "first": "3", "second": "3", "words": "both"}.items():
        card.find_element(By.CSS_SELECTOR, f'input[name="{name}"][value="{value}"]').click()
    card.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    browser.execute_script(HALF_WAY)
    browser.execute_script(
        "document.activeElement.blur(); scrollBy(0, arguments[0].getBoundingClientRect().top - 90)", card
    )
    drawn = "return [...document.querySelectorAll('.begun')].length === 2"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(drawn))


if __name__ == "__main__":
    draw(Path(__file__).parent / "pictures" / "listen.png")
