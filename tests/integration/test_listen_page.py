"""The listening page in a real browser: heard, voted on, kept, downloaded, and read by the gate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine import cli
from engine.gate.listening import votes

pytest.importorskip("selenium", reason="needs selenium, which drives the browser")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

NAMES = ("hello", "the kitchen", "points", "émoji 🎉")
TEXTS = {name: f"Text of <{name}>." for name in NAMES}
CANDIDATE_SECONDS, BASE_SECONDS = 0.7, 0.4
LISTENER = "Zoë 🎧 \x7f"

Page = Any


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page made by the command from two folders. The candidate is longer and has the better score."""
    home = tmp_path_factory.mktemp("listen")
    for folder, seconds, score in (("fast", CANDIDATE_SECONDS, 4.25), ("reference", BASE_SECONDS, 2.5)):
        (home / folder).mkdir()
        index = {}
        for number, (name, text) in enumerate(TEXTS.items()):
            time = np.arange(int(24_000 * seconds)) / 24_000
            wave = 0.2 * np.sin(2 * np.pi * (200 + 100 * number) * time)
            soundfile.write(home / folder / f"{name}.wav", wave, 24_000)
            index[f"{name}.wav"] = {"text": text, "voice": "slt", "scores": {"DNSMOS": score}}
        (home / folder / "index.json").write_text(json.dumps(index))
    out = home / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        command = ["listen", str(home / "fast"), str(home / "reference"), "-o", str(out)]
        patch.setattr(sys, "argv", ["ishowtts", *command])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
    return out


@pytest.fixture(scope="module")
def shared(launch: Callable[..., Any]) -> Any:
    """One browser for the tests that need no settings of their own."""
    return launch()


@pytest.fixture
def browser(shared: Any, page: Path) -> Page:
    """The page as a new listener finds it."""
    return fresh(shared, page)


def fresh(browser: Any, page: Path) -> Page:
    """Open the page with nothing kept."""
    browser.get(page.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    return browser


def until(browser: Page, condition: Callable[[Any], Any]) -> Any:
    """What `condition` answers, once it is true."""
    return WebDriverWait(browser, 20, poll_frequency=0.05).until(condition)


def cards(browser: Page) -> list[Any]:
    """The pairs in the order of the page."""
    return list(browser.find_elements(By.TAG_NAME, "article"))


def play_both(browser: Page, card: Any) -> None:
    """By the buttons; done when the page has seen both begin."""
    for button in card.find_elements(By.CLASS_NAME, "play"):
        button.click()
    until(browser, lambda _: len(card.find_elements(By.CLASS_NAME, "heard")) == 2)


def choose(card: Any, name: str, value: object) -> None:
    """Click what covers the radio button, as a person does."""
    card.find_element(By.CSS_SELECTOR, f'input[name="{name}"][value="{value}"]').click()


def candidate_is_second(card: Any) -> bool:
    """What a listener can tell here: the candidate is the longer one."""
    lengths = [float(clock.text.split()[2]) for clock in card.find_elements(By.CLASS_NAME, "clock")]
    assert sorted(lengths) == [BASE_SECONDS, CANDIDATE_SECONDS]
    return lengths[1] == CANDIDATE_SECONDS


def vote(browser: Page, card: Any, preference: int = 2, comment: str = "") -> None:
    """Rate the candidate 5 and the base 2, prefer the candidate by so much, and hear its words alone."""
    play_both(browser, card)
    second = candidate_is_second(card)
    choose(card, "comparison", preference if second else -preference)
    choose(card, "first", 2 if second else 5)
    choose(card, "second", 5 if second else 2)
    choose(card, "words", "second" if second else "first")
    card.find_element(By.TAG_NAME, "textarea").send_keys(comment)
    card.find_element(By.CSS_SELECTOR, "button[type=submit]").click()


def counted(browser: Page) -> str:
    """The progress, in words."""
    return str(browser.find_element(By.ID, "count").text)


def download(browser: Page, folder: Path) -> Path:
    """Press the button; the file that comes."""
    folder.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    browser.find_element(By.ID, "download").click()
    return until(browser, lambda _: next(folder.glob("votes-*.json"), None))  # type: ignore[no-any-return]


def test_votes_come_back_unblinded(browser: Page, tmp_path: Path) -> None:
    """Every pair is voted on by ear, the file downloaded, and the gate reads the candidate's votes from it.

    The page's checksum is the reader's own, whatever characters people type.
    """
    browser.find_element(By.ID, "listener").send_keys("Zoë ")
    browser.execute_script(
        "const name = arguments[0]; name.value = arguments[1]; name.dispatchEvent(new Event('input'))",
        browser.find_element(By.ID, "listener"), LISTENER,
    )  # fmt: skip
    for number, card in enumerate(cards(browser)):
        assert counted(browser) == f"{number} of 4 voted"
        vote(browser, card, 1 + number % 3, 'well "said" \\ — ü\n<b>')
    found = votes.read(download(browser, tmp_path / "downloads"))
    assert found.ballots[0].listener == LISTENER
    assert {opinion.pair for opinion in found.opinions} == set(NAMES)
    assert sorted(opinion.preference for opinion in found.opinions) == [1, 1, 2, 3]
    assert {(opinion.candidate, opinion.base) for opinion in found.opinions} == {(5, 2)}
    assert {opinion.words for opinion in found.opinions} == {"candidate"}
    assert {vote.comment for vote in found.ballots[0].votes} == {'well "said" \\ — ü\n<b>'}
    assert votes.judge(found).value == -3


def test_the_end_says_which_was_which(browser: Page) -> None:
    """Not before the last vote; then the means of this listener and each pair's sides."""
    results = browser.find_element(By.ID, "results")
    for card in cards(browser):
        assert not results.is_displayed()
        vote(browser, card)
    assert "The candidate is “fast”, the base “reference”." in results.text
    assert "at +2.00 on average; it was rated 5.00 and the base 2.00." in results.text
    rows = results.find_elements(By.CSS_SELECTOR, "tbody tr")
    sides = ["second" if candidate_is_second(card) else "first" for card in cards(browser)]
    assert [row.text for row in rows] == [f"{i + 1} {side} +2 5 2" for i, side in enumerate(sides)]
    assert len(set(sides)) == 2


def test_scores_wait_for_the_vote(browser: Page) -> None:
    """Hidden before, beside the right sample after, and for this pair alone."""
    first, second, *_ = cards(browser)
    assert "DNSMOS" not in browser.find_element(By.TAG_NAME, "body").text
    vote(browser, first)
    figures = "2.5 4.25" if candidate_is_second(first) else "4.25 2.5"
    assert f"DNSMOS {figures}" in first.text
    assert "DNSMOS" not in second.text
    assert not first.find_element(By.CSS_SELECTOR, "button[type=submit]").is_displayed()
    assert not any(radio.is_enabled() for radio in first.find_elements(By.CSS_SELECTOR, "input[type=radio]"))


def test_votes_and_what_is_half_filled_in_survive_a_reload(browser: Page) -> None:
    """With the listener's name; what was voted stays final."""
    browser.find_element(By.ID, "listener").send_keys("Ann")
    first, second, *_ = cards(browser)
    vote(browser, first)
    choose(second, "first", 4)
    second.find_element(By.TAG_NAME, "textarea").send_keys("hm")
    browser.refresh()
    first, second, *_ = cards(browser)
    assert counted(browser) == "1 of 4 voted"
    assert browser.find_element(By.ID, "listener").get_property("value") == "Ann"
    assert "DNSMOS" in first.text
    assert second.find_element(By.CSS_SELECTOR, 'input[name="first"][value="4"]').is_selected()
    assert second.find_element(By.TAG_NAME, "textarea").get_property("value") == "hm"


def test_a_vote_needs_both_samples(browser: Page) -> None:
    """Every answer does not help: what was not played is said, and the focus goes there."""
    card = cards(browser)[0]
    for name, value in {"comparison": 0, "first": 3, "second": 3, "words": "unsure"}.items():
        choose(card, name, value)
    submit = card.find_element(By.CSS_SELECTOR, "button[type=submit]")
    submit.click()
    assert "Play the first and the second sample before you vote." in card.text
    card.find_elements(By.CLASS_NAME, "play")[0].click()
    until(browser, lambda _: card.find_elements(By.CLASS_NAME, "heard"))
    submit.click()
    assert "Play the second sample before you vote." in card.text
    assert browser.switch_to.active_element.accessible_name == "Play the second sample of pair 1"
    assert counted(browser) == "0 of 4 voted"
    assert not browser.find_element(By.ID, "download").is_enabled()


def test_a_vote_needs_every_answer(browser: Page) -> None:
    """What is missing is said, and the focus goes there."""
    card = cards(browser)[0]
    play_both(browser, card)
    choose(card, "comparison", 0)
    choose(card, "second", 3)
    card.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    assert "Not answered yet: The first sounds … Who says exactly this text?" in card.text
    assert browser.switch_to.active_element.get_attribute("name") == "first"
    assert counted(browser) == "0 of 4 voted"


def test_the_page_can_be_used_with_the_keyboard_alone(browser: Page) -> None:
    """Keys play, arrows choose, Enter votes, and n goes on to the next pair."""
    keys = webdriver.ActionChains(browser)
    browser.find_element(By.ID, "next").send_keys(Keys.ENTER)
    card = cards(browser)[0]
    assert browser.switch_to.active_element == card
    keys.send_keys("1").perform()
    until(browser, lambda _: len(card.find_elements(By.CLASS_NAME, "heard")) == 1)
    keys.send_keys("2").perform()
    until(browser, lambda _: len(card.find_elements(By.CLASS_NAME, "heard")) == 2)
    keys.send_keys(Keys.TAB * 5)  # two players with a button and a position each, then the first question
    keys.send_keys(
        Keys.ARROW_RIGHT * 2, Keys.TAB, Keys.ARROW_RIGHT, Keys.TAB, Keys.SPACE, Keys.TAB, Keys.SPACE
    )
    keys.send_keys(Keys.TAB, "1, 2 and n are letters here.", Keys.TAB, Keys.ENTER).perform()
    assert counted(browser) == "1 of 4 voted"
    chosen = card.find_elements(By.CSS_SELECTOR, "input:checked")
    assert [radio.get_attribute("value") for radio in chosen] == ["-1", "2", "1", "both"]
    keys.send_keys("n").perform()
    assert browser.switch_to.active_element == cards(browser)[1]


def test_one_sample_plays_at_a_time_and_can_be_sought(browser: Page) -> None:
    """The second pauses the first; the slider moves the clock."""
    card = cards(browser)[0]
    play_both(browser, card)
    at_once = """
        for (const { audio } of players) audio.pause();
        for (const button of arguments[0]) button.click();
        return players.map(({ audio }) => audio.paused);
    """  # in one go: a sample here is too short to be caught playing
    paused = browser.execute_script(at_once, card.find_elements(By.CLASS_NAME, "play"))
    assert paused == [True, False, *[True] * 6]
    slider = card.find_elements(By.CSS_SELECTOR, "input[type=range]")[0]
    slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT * 10)
    until(browser, lambda _: slider.get_attribute("aria-valuetext").startswith("0.1 of "))


def test_everything_that_can_be_used_has_a_name(browser: Page) -> None:
    """For those who hear the page read aloud: controls, pictures, groups."""
    used = "button, input, textarea, progress, img, fieldset, article"
    script = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility())"
    shown = browser.execute_script(script, used)
    assert len(shown) > 100
    assert [one.get_attribute("outerHTML") for one in shown if not one.accessible_name.strip()] == []


def test_nothing_is_fetched_and_nothing_is_complained_about(browser: Page) -> None:
    """No request but for its own parts, an empty console, and every sample as long as it was made."""
    vote(browser, cards(browser)[0])
    used = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name[:60] for name in used if not name.startswith(("blob:", "data:"))] == []
    assert browser.get_log("browser") == []
    script = "return players.map((player) => player.audio.duration)"
    assert sorted(browser.execute_script(script)) == pytest.approx(
        [BASE_SECONDS] * 4 + [CANDIDATE_SECONDS] * 4
    )


def test_another_listener_begins_with_nothing(browser: Page, tmp_path: Path) -> None:
    """On the same device, with an id of their own, so that both files count."""
    paths = []
    for number in range(2):
        vote(browser, cards(browser)[0])
        paths.append(download(browser, tmp_path / str(number)))
        browser.find_element(By.ID, "again").click()
        browser.switch_to.alert.accept()
        assert counted(browser) == "0 of 4 voted"
        assert "DNSMOS" not in cards(browser)[0].text
    assert len(votes.read(paths).ballots) == 2


@pytest.mark.parametrize("width", [320, 1200])
def test_nothing_sticks_out_at_the_side(browser: Page, width: int) -> None:
    """From a small phone to a wide screen."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    vote(browser, cards(browser)[0])
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_browser_that_keeps_nothing_says_so(launch: Callable[..., Any], page: Path, tmp_path: Path) -> None:
    """Where storage is blocked the page still works, and asks to download before leaving."""
    browser = launch(**{"profile.default_content_setting_values.cookies": 2})
    browser.get(page.as_uri())
    assert "This browser keeps nothing over a reload." in browser.find_element(By.ID, "unkept").text
    vote(browser, cards(browser)[0])
    assert len(votes.read(download(browser, tmp_path / "downloads")).opinions) == 1
