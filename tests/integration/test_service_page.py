"""The service's page in a real browser: a text typed, heard and seen, and how the service does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, which drives the browser")
pytest.importorskip("uvicorn", reason="needs the extra [serve]")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.studies.load.service import Service, started

KEY = "a key of the tests alone"
TEXT = "Good game, well played."
STAGES = ["reference", "text", "sampling", "vocoder", "other"]

Page = Any


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The service as it is started by default, with the voice in the box."""
    with started() as one:
        yield one


@pytest.fixture(scope="module")
def shared(launch: Callable[..., Any]) -> Any:
    """One browser for all tests here."""
    return launch()


@pytest.fixture
def page(shared: Any, service: Service) -> Page:
    """The page as a visitor finds it, its voices listed."""
    shared.get(service.url)
    shared.execute_script("sessionStorage.clear()")
    until(shared, lambda _: Select(field(shared, "voice")).options)
    return shared


def until(browser: Page, condition: Callable[[Any], Any]) -> Any:
    """What `condition` answers, once it is true."""
    return WebDriverWait(browser, 60, poll_frequency=0.05).until(condition)


def field(page: Page, name: str) -> Any:
    """An element by its id."""
    return page.find_element(By.ID, name)


def speak(page: Page, text: str = TEXT) -> None:
    """Type a text and press the button; done when there is an answer, speech or not."""
    field(page, "text").clear()
    field(page, "text").send_keys(text)
    field(page, "speak").click()
    until(page, lambda _: field(page, "speak").is_enabled())


def tile(page: Page, name: str) -> str:
    """What a tile of the live view says."""
    return str(page.find_element(By.CSS_SELECTOR, f'[data-tile="{name}"]').text)


def saved(page: Page, folder: Path) -> bytes:
    """The audio, by the link that saves it."""
    folder.mkdir()
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    field(page, "save").click()
    path = until(page, lambda _: next(folder.glob("speech*.wav"), None))
    return path.read_bytes()  # type: ignore[no-any-return]


def test_a_text_is_heard_in_the_chosen_voice(page: Page, service: Service, tmp_path: Path) -> None:
    """It plays, with its waveform, its RTF and its stages; the bytes are those that the service gives."""
    Select(field(page, "voice")).select_by_value("rms")
    field(page, "seed").clear()
    field(page, "seed").send_keys("7")
    speak(page)
    assert field(page, "said").text == TEXT
    until(page, lambda _: page.execute_script("return audio.ended || audio.currentTime > 0"))
    facts = dict(zip(*[iter(field(page, "facts").text.splitlines())] * 2, strict=True))
    assert 0.5 < float(facts["audio"].split()[0]) < 4
    assert float(facts["RTF"]) > 0
    assert [line.text.split()[0] for line in field(page, "stages").find_elements(By.TAG_NAME, "li")] == STAGES
    drawn = page.find_element(By.CSS_SELECTOR, ".wave .rest").get_attribute("d")
    assert len(set(drawn.split("L"))) > 100
    asked = {"text": TEXT, "voice": "rms", "seed": 7}
    content = saved(page, tmp_path / "saved")
    assert content == service.ask(asked).content
    assert content != service.ask({**asked, "voice": "slt"}).content


def test_the_keyboard_is_enough(page: Page) -> None:
    """Ctrl and Enter speak; the player's button and position answer to keys, and have names."""
    field(page, "text").send_keys(Keys.CONTROL, Keys.ENTER)
    until(page, lambda _: field(page, "result").is_displayed())
    until(page, lambda _: page.execute_script("return audio.ended"))
    assert field(page, "play").accessible_name == "Play"
    field(page, "seek").send_keys(Keys.HOME)
    until(page, lambda _: field(page, "seek").get_attribute("aria-valuetext").startswith("0.0 of "))
    used = page.find_elements(By.CSS_SELECTOR, "button, input, select, textarea")
    assert [one.get_attribute("id") for one in used if one.is_displayed() and not one.accessible_name] == []


def test_what_cannot_be_spoken_is_said_and_the_page_goes_on(page: Page) -> None:
    """In the service's own words, beside the button."""
    speak(page, " ")
    assert "text" in field(page, "problem").text
    assert not field(page, "result").is_displayed()
    speak(page)
    assert field(page, "problem").text == ""
    assert field(page, "result").is_displayed()


def test_the_live_view_follows_the_service(page: Page, service: Service) -> None:
    """RTF, latency, queue and errors, of other clients too, from the moment the page was opened."""
    assert field(page, "state").text == "ready"
    until(page, lambda _: "0 refused" in tile(page, "Queue"))
    assert service.ask({"text": TEXT}).status_code == 200
    until(page, lambda _: "1 spoken" in tile(page, "RTF"))
    assert float(tile(page, "RTF").split()[1]) > 0
    assert "95 % within" in tile(page, "Latency")
    assert service.ask({"text": TEXT, "voice": "nobody"}).status_code == 422
    until(page, lambda _: "1 the client's, 0 the service's" in tile(page, "Errors"))


def test_nothing_comes_from_elsewhere_and_nothing_is_complained_about(page: Page, service: Service) -> None:
    """No other host, no error on the console: the page holds its own security policy."""
    page.get_log("browser")
    speak(page)
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    used = page.execute_script(script)
    assert len(used) >= 4
    assert [name for name in used if not name.startswith((service.url, "blob:", "data:"))] == []
    assert page.get_log("browser") == []


def test_nothing_sticks_out_at_the_side_in_light_and_dark(page: Page) -> None:
    """From a small phone to a wide screen; the two look different."""
    speak(page, "Supercalifragilisticexpialidocious")
    papers = set()
    for width in (320, 1200):
        for scheme in ("light", "dark"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
            papers.add(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_service_with_a_key_asks_for_it(shared: Any) -> None:
    """The field appears; a wrong key is refused in words, the right one speaks and is kept for the tab.
    When the service ends, the page says that nobody answers."""
    with started(key=KEY) as one:
        shared.get(one.url)
        until(shared, lambda _: field(shared, "key-field").is_displayed())
        assert "key" in field(shared, "state").text
        field(shared, "key").send_keys("wrong")
        speak(shared)
        assert "key" in field(shared, "problem").text
        field(shared, "key").clear()
        field(shared, "key").send_keys(KEY)
        until(shared, lambda _: Select(field(shared, "voice")).options)
        speak(shared)
        assert field(shared, "said").text == TEXT
        shared.refresh()
        until(shared, lambda _: Select(field(shared, "voice")).options)
        assert not field(shared, "key-field").is_displayed()
    until(shared, lambda _: field(shared, "state").text == "not answering")
    speak(shared)
    assert "does not answer" in field(shared, "problem").text
