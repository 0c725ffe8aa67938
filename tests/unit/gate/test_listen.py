"""The listening page: what is in it, where its pairs come from, and what its pictures show."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import engine
from engine import cli
from engine.errors import UsageError
from engine.gate.data import texts
from engine.gate.listening import page as listen
from engine.gate.listening import pictures, takes
from engine.gate.listening.ballots import Sheet
from engine.gate.listening.page import Pair
from engine.gate.quality.judges import Mos, Scores, WordErrors, inspect
from engine.options import Options
from tests.unit.gate.test_votes import sheet as sheet_of

RATE = 24_000


def tone(seconds: float, hertz: float = 440.0, level: float = 0.3) -> Any:
    """A sine, float32 [n]."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def pair(name: str, **changes: Any) -> Pair:
    """A candidate of a second against a base of half of one."""
    content = {"text": f"Text of {name}.", "voice": "slt", "a": tone(1.0), "b": tone(0.5), **changes}
    return Pair(name, **content)


PAIRS = [pair(name, scores_a={"MOS": 4.25}, scores_b={"MOS": 2.5, "words": "3 of 7"}) for name in "abcdefg"]


def data_of(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    parsed: dict[str, Any] = json.loads(found[1])
    return parsed


def test_a_page_is_one_file_that_asks_no_network() -> None:
    """No address, no script or style from elsewhere, and a policy that forbids any."""
    page = listen.render(PAIRS, "nfe=7", "reference")
    assert re.search(r"https?://|@@|<link(?! rel=\"icon\" href=\"data:,\")|<script src", page) is None
    assert "default-src 'none'" in page


def test_the_same_pairs_give_the_same_page() -> None:
    """Byte for byte; another seed, another order."""
    page = listen.render(PAIRS, "nfe=7", "reference")
    assert page == listen.render(PAIRS, "nfe=7", "reference")
    other = data_of(listen.render(PAIRS, "nfe=7", "reference", seed=1))
    assert [one["name"] for one in other["pairs"]] != [one["name"] for one in data_of(page)["pairs"]]


def test_first_and_second_are_as_the_sheet_has_them() -> None:
    """By length, as the candidate is the longer one; the token's parity says the same."""
    data = data_of(listen.render(PAIRS, "nfe=7", "reference"))
    sheet = Sheet.model_validate_json(json.dumps(data["sheet"]))
    second = sheet.candidate_second()
    assert data["id"] == sheet.id
    assert [one["name"] for one in data["pairs"]] == list(sheet.order())
    for one in data["pairs"]:
        longer_second = one["second"]["seconds"] > one["first"]["seconds"]
        odd = bin(int(one["token"], 16)).count("1") % 2 == 1
        assert longer_second == odd == second[one["name"]]


def test_the_audio_is_what_was_given_to_16_bits() -> None:
    """Lossless: what people hear is what was made."""
    for one in data_of(listen.render(PAIRS, "a", "b"))["pairs"]:
        for side in ("first", "second"):
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(one[side]["audio"])), dtype="float32")
            assert rate == RATE
            assert samples == pytest.approx(tone(one[side]["seconds"]), abs=2**-15)


def test_scores_and_sides_cannot_be_read_in_the_source() -> None:
    """Neither a figure nor which sample is whose."""
    page = listen.render(PAIRS, "nfe=7", "reference")
    assert "4.25" not in page
    assert "3 of 7" not in page
    shown = data_of(page)["pairs"][0]
    assert not {"candidate", "base", "a", "b"} & {*shown, *shown["first"]}
    rows = json.loads(base64.b64decode(shown["sealed"]))
    candidate_second = shown["second"]["seconds"] > shown["first"]["seconds"]
    assert [sorted(row) for row in rows] == [sorted(["MOS", "2.5", "4.25"]), sorted(["words", "3 of 7", "–"])]
    assert rows[0][2 if candidate_second else 1] == "4.25"


def test_no_text_breaks_out_of_the_page() -> None:
    """Texts and labels are data and nothing else."""
    for text in (
        "</script><b>",
        "<!--<script>",
        "@@DATA@@",
        '"&\u2028',
        "大家好 🎉",
    ):
        page = listen.render([pair("one", text=text)], text, "reference")
        assert data_of(page)["pairs"][0]["text"] == data_of(page)["sheet"]["a"] == text
        assert page.count("</script>") == 2
        assert "<b></b>" not in page


def test_what_cannot_be_heard_is_refused() -> None:
    """No pair, a name twice, no samples, NaN, stereo."""
    for pairs in (
        [],
        [pair("one"), pair("one")],
        [pair("one", a=np.zeros(0, np.float32))],
        [pair("one", b=np.full(99, np.nan, np.float32))],
        [pair("one", b=np.zeros((9, 2), np.float32))],
    ):
        with pytest.raises(UsageError):
            listen.render(pairs, "a", "b")


def test_a_tone_is_where_the_ticks_say() -> None:
    """The brightest row of the spectrogram, read off the axis of its ticks."""
    for hertz in (
        200,
        1000,
        5000,
    ):
        from PIL import Image

        png = pictures.spectrograms([tone(0.5, hertz)])[0]
        assert struct.unpack(">II", png[16:24]) == (51, pictures.ROWS)
        shades = np.asarray(Image.open(io.BytesIO(png)))  # the palette's indices
        row = shades[:, 20:30].mean(axis=1).argmax() / (pictures.ROWS - 1)
        ticks = pictures.frequency_ticks()
        mels = [2595 * np.log10(1 + float(label) / 0.7) for label, _ in ticks]
        line = np.polyfit([place for _, place in ticks], mels, 1)
        read_off = 700 * (10 ** (np.polyval(line, row) / 2595) - 1)
        assert read_off == pytest.approx(hertz, abs=40, rel=0.05)


def test_both_samples_share_their_scales() -> None:
    """A quieter one looks quieter: 20 dB are a quarter of the shades."""
    from PIL import Image

    pngs = pictures.spectrograms([tone(0.5), tone(0.5, level=0.03)])
    loud, quiet = (int(np.asarray(Image.open(io.BytesIO(png)))[:, 25].max()) for png in pngs)
    assert loud == pictures.SHADES - 1
    assert loud - quiet == pytest.approx(pictures.SHADES * 20 / pictures.RANGE_DB, abs=1)


def test_the_outline_holds_every_sample() -> None:
    """The edge of the axis is round, and the wave stays inside it; so does one shorter than its columns."""
    for peak, edge in (
        (0.0, 0.05),
        (0.29, 0.3),
        (0.31, 0.5),
        (0.9, 1.0),
        (1.2, 2),
    ):
        wave = np.array([0, peak, -peak, 0.1 * peak], np.float32)
        assert pictures.level([wave]) == edge
        path = pictures.outline(wave, edge)
        heights = [float(y) for y in re.findall(r",([\d.-]+)", path)]
        assert min(heights) == pytest.approx(100 - 84 * peak / edge, abs=0.5)
        assert max(heights) == pytest.approx(100 + 84 * peak / edge, abs=0.5)


def test_long_audio_keeps_a_small_picture() -> None:
    """Averaged over time, never wider than said."""
    png = pictures.spectrograms([tone(15)])[0]
    assert struct.unpack(">I", png[16:20])[0] <= pictures.WIDEST


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of two WAVs, one at another rate and in stereo, with an index each."""
    for folder, seconds in (("fast", 0.4), ("slow", 0.5)):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "one.wav", tone(seconds), RATE)
        soundfile.write(tmp_path / folder / "two.wav", np.zeros((4800, 2)) + 0.1, 48_000)
        about = {"one.wav": {"text": "One.", "voice": "slt", "scores": {"MOS": 3, "said by": folder}}}
        (tmp_path / folder / "index.json").write_text(json.dumps(about))
    return tmp_path / "fast", tmp_path / "slow"


def test_folders_of_wavs_are_paired_by_name(folders: tuple[Path, Path]) -> None:
    """At 24 kHz in mono, labelled by folder, with texts and scores where the index has them."""
    found = takes.find(*map(str, folders))
    assert (found.a, found.b) == ("fast", "slow")
    one, two = found.pairs
    assert (one.name, one.text, one.voice) == ("one", "One.", "slt")
    assert (one.scores_a, one.scores_b) == ({"MOS": 3, "said by": "fast"}, {"MOS": 3, "said by": "slow"})
    assert (len(one.a), len(one.b), len(two.a)) == (9600, 12000, 2400)
    assert (two.text, two.scores_a) == ("", {})


def _remove(a: Path, b: Path) -> None:
    (b / "two.wav").unlink()


def _empty(a: Path, b: Path) -> None:
    for wav in (*a.glob("*.wav"), *b.glob("*.wav")):
        wav.unlink()


def _another_text(a: Path, b: Path) -> None:
    (b / "index.json").write_text('{"one.wav": {"text": "Two."}}')


def _bad_index(a: Path, b: Path) -> None:
    (a / "index.json").write_text('{"one.wav": {"txt": "One."}}')


def _no_audio(a: Path, b: Path) -> None:
    (a / "one.wav").write_text("no audio")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_remove, r"two\.wav in one of"),
        (_empty, "without any WAV"),
        (_another_text, "with two texts"),
        (_bad_index, r"index\.json: one\.wav\.txt"),
        (_no_audio, r"one\.wav: "),
    ],
)
def test_folders_that_do_not_belong_together_are_refused(
    folders: tuple[Path, Path], harm: Any, said: str
) -> None:
    """One error that names the file."""
    harm(*folders)
    with pytest.raises(UsageError, match=said):
        takes.from_folders(*folders)


def test_a_folder_is_not_heard_against_toggles(folders: tuple[Path, Path]) -> None:
    """Nor is a checkpoint taken that would say nothing."""
    with pytest.raises(UsageError, match=r"the folder .*fast against 'reference'"):
        takes.find(str(folders[0]), "reference")
    with pytest.raises(UsageError, match="--checkpoint"):
        takes.find(*map(str, folders), checkpoint="box")


def test_a_sheet_is_known_by_what_is_heard() -> None:
    """Other samples, another page: votes cannot be moved from one to the other."""
    plain = listen.sheet(PAIRS, "a", "b")
    changed = [*PAIRS[:-1], pair("g", a=tone(1.0, level=0.31))]
    assert plain.id == listen.sheet(PAIRS, "a", "b").id
    assert (
        len({plain.id, listen.sheet(changed, "a", "b").id, listen.sheet(PAIRS, "b", "a").id, sheet_of().id})
        == 4
    )


def test_two_toggle_sets_speak_the_same_texts_from_the_same_noise() -> None:
    """Each arm its own options; what was left out or cannot be judged is said."""
    reported: list[tuple[str, int, int]] = []
    options = Options(nfe=1), Options(nfe=2)
    found = takes.spoken(
        *options, ["hello", "points"], "seeded-tiny", "cpu", lambda *said: reported.append(said), judges=()
    )
    assert [one.name for one in found.pairs] == ["hello", "points"]
    assert found.pairs[0].text == "Hello chat, welcome back to the stream!"
    assert (found.a, found.b) == ("nfe=1", "nfe=2")
    assert ("speaking, base", 1, 2) in reported
    assert "mos not judged: not asked for" in found.notes
    assert any("untrained" in note for note in found.notes)
    for side, option in zip("ab", options, strict=True):
        with engine.load("seeded-tiny", option, device="cpu") as tts:
            case = next(case for case in texts.CASES if case.name == "points")
            voice = case.spoken_by(list(tts.checkpoint.references))
            said = tts.synthesize(case.text, voice, seed=case.seed).samples
        assert np.array_equal(getattr(found.pairs[1], side), said)
        assert getattr(found.pairs[1], f"scores_{side}")["length"] == f"{len(said) / RATE:.2f} s"


def test_a_preset_is_labelled_by_its_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener reads what was typed and what it stands for; all texts where all are asked for."""
    asked: list[Any] = []

    def spoken(a: Options, b: Options, names: Any, *_: Any) -> takes.Found:
        asked.append(names)
        return takes.Found((), str(a), str(b))

    monkeypatch.setattr(takes, "spoken", spoken)
    found = takes.find("fast_cpu", "reference")
    assert (found.a, found.b) == (f"fast_cpu ({Options.fast_cpu()})", "reference")
    takes.find("nfe=7", "reference", whole=True)
    assert asked == [texts.QUICK, None]


def test_what_was_measured_is_shown_with_its_unit() -> None:
    """Every judge that spoke has a row; one that did not has none."""
    full = Scores(
        output="0" * 64, seconds=2.5, voice="slt", signal=inspect(tone(0.5)), heard="a b",
        words=WordErrors(word_edits=1, words=4, char_edits=2, chars=20), similarities={"slt": 0.75},
        mos=Mos(ovrl=3.25, sig=3.5, bak=4.0, p808=3.0),
    )  # fmt: skip
    assert takes.measured(full) == {
        "length": "2.50 s",
        "DNSMOS overall (1 to 5)": "3.25",
        "DNSMOS speech (1 to 5)": "3.50",
        "words heard wrong": "1 of 4",
        "character error rate": "10%",
        "similarity to the voice's clip (cosine)": "0.75",
        "loudness": "−13.5 dBFS",
    }
    silent = full.model_copy(update={"words": None, "similarities": {}, "mos": None})
    assert takes.measured(silent).keys() == {"length", "loudness"}


def test_the_command_writes_a_page_or_says_what_is_wrong(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 0 and one line; exit 2 and one sentence, and no page."""
    out = folders[0].parent / "page.html"

    def command(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["ishowtts", "listen", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return int(exit_.value.code or 0)

    assert command(folders[0], "reference", "-o", out) == 2
    assert "two folders, or two toggle sets" in capfd.readouterr().err
    assert not out.exists()
    assert command(*folders, "-o", out.parent / "none" / "page.html") == 2
    capfd.readouterr()
    assert command(*folders, "-o", out, "--seed", 3) == 0
    assert re.fullmatch(
        r".*page\.html: 2 pairs, [\d.]+ MiB\. Open it in a browser\.\n", capfd.readouterr().out
    )
    assert data_of(out.read_text())["sheet"]["seed"] == 3
