"""The command line: flags from the options, one sentence for every error."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner

from engine import cli
from engine.options import Options

Run = Any


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `ishowtts` in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ishowtts", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return (int(exit_.value.code or 0), *capfd.readouterr())

    return call


def speak(out: Path, *more: object, text: str = "Hello, chat!") -> list[object]:
    """Arguments of a cheap `speak`."""
    return ["speak", text, "-o", out, "--checkpoint", "seeded-tiny", "--device", "cpu", "--nfe", 1, *more]


def test_speak_writes_a_wav_and_one_line(run: Run, tmp_path: Path, clip: Path) -> None:
    """Seconds of audio, RTF and every stage on stdout; the warning about untrained weights unbroken on
    stderr."""
    out = tmp_path / "out.wav"
    code, printed, said = run(*speak(out, "--ref", clip, "--ref-text", "Some call me nature,"))
    assert code == 0
    assert re.fullmatch(
        rf"{re.escape(str(out))}: [\d.]+ s of audio, RTF [\d.]+ "
        r"\(reference \d+ ms  text \d+ ms  sampling \d+ ms  vocoder \d+ ms  other \d+ ms\)\n",
        printed,
    )
    assert "The checkpoint seeded-tiny is untrained: what you will hear is noise, not speech.\n" in said
    assert soundfile.info(out).samplerate == 24_000


def test_speak_prints_json(run: Run, tmp_path: Path) -> None:
    """Options, evidence and stages, for a program to read."""
    code, printed, _ = run(
        *speak(tmp_path / "out.wav", "--json", "--preset", "fast_cpu", "--schedule", "sway")
    )
    facts = json.loads(printed)
    assert code == 0
    assert facts["options"] == dataclasses.asdict(
        dataclasses.replace(Options.fast_cpu(), schedule="sway", nfe=1)
    )
    assert facts["evidence"].keys() == facts["options"].keys() - {"guidance_until"}
    assert facts["trained"] is False
    assert sum(facts["stages"].values()) == pytest.approx(facts["rtf"] * facts["seconds"])


def test_a_toggle_that_did_nothing_is_said_aloud(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only in the table of proofs, which nobody asked for."""
    from engine.optimizations import hoist

    quiet = speak(tmp_path / "out.wav", "--hoist")
    assert "was not seen to work" not in run(*quiet)[2]
    monkeypatch.setattr(hoist, "apply", lambda parts, *_: parts)
    code, _, said = run(*quiet)
    assert code == 0
    assert "hoist=True was not seen to work" in said


def test_every_option_has_a_flag_with_its_help() -> None:
    """Declared once in `Options`, never again."""
    shown = CliRunner().invoke(cli.app, ["speak", "--help"], env={"COLUMNS": "200"}).output
    unbroken = "".join(shown.split())
    for field in dataclasses.fields(Options):
        assert f"--{field.name.replace('_', '-')}" in shown
        assert "".join(field.metadata["help"].split(":")[0][:40].split()) in unbroken


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--nfe", 0], "nfe=0"),
        (["--nfe", 8, "--schedule", "epss"], "epss"),
        (["--cfg-strength", 11], "cfg_strength=11"),
        (["--preset", "turbo"], "preset 'turbo'"),
        (["--speed", 9], "speed=9"),
        (["--seed", -1], "seed=-1"),
        (["--device", "cuda:99"], "device='cuda:99'"),
        (["--checkpoint", "gone"], "checkpoint 'gone'"),
        (["--checkpoint", ""], "checkpoint ''"),
        (["--vocoder", "gone"], "vocoder folder gone"),
        (["--voice", "gone"], "voice 'gone'"),
        (["--ref", "gone.wav", "--ref-text", "words"], "gone.wav"),
        (["--ref", "gone.wav"], "--ref-text"),
        (["--ref-text", "words"], "--ref"),
        (["--ref", "a.wav", "--ref-text", ""], "reference text"),
        (["--ref", "a.wav", "--ref-text", "words", "--voice", "x"], "--voice and --ref"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_exit_2(
    run: Run, tmp_path: Path, more: list[Any], sentence: str
) -> None:
    """On stderr, with a cure, without a traceback, and nothing written."""
    arguments = [a for a in speak(tmp_path / "out.wav") if a not in ("--nfe", 1)]
    if "--vocoder" in more:
        arguments += ["--checkpoint", tmp_path_with_weights(tmp_path)]
    code, printed, said = run(*arguments, *more)
    assert (code, printed) == (2, "")
    assert said.count("ishowtts: ") == 1
    assert sentence in said
    assert ": expected " in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.wav").exists()


def tmp_path_with_weights(folder: Path) -> Path:
    """A folder with weights and no vocoder of its own."""
    import shutil

    from engine.voices import seeded

    copy = Path(shutil.copytree(seeded.ensure("seeded-tiny"), folder / "copy"))
    shutil.rmtree(copy / "vocos")
    (copy / "voice.json").unlink()
    return copy


@pytest.mark.parametrize(
    "more",
    [["--precision", "fp8"], ["--turbo"], ["--nfe", "many"], ["extra"], ["--compile", "reduce-overhead"]],
)
def test_an_unknown_flag_or_value_is_a_usage_error(run: Run, tmp_path: Path, more: list[str]) -> None:
    """The parser's own message and exit code."""
    code, _, said = run(*speak(tmp_path / "out.wav", *more))
    assert code == 2
    assert "Usage" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "ref"), [("", None), ("😀", None), ("a" * 20_000, None), ("Hello.", "text.wav")]
)
def test_bad_text_and_clips_are_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, text: str, ref: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user does not wait for a model to hear about a typing error."""
    monkeypatch.setattr("engine.checkpoint.find", None)
    more: list[object] = []
    if ref:
        (tmp_path / ref).write_text("no audio")
        more = ["--ref", tmp_path / ref, "--ref-text", "words"]
    code, _, said = run(*speak(tmp_path / "out.wav", *more, text=text))
    assert code == 2
    assert said.startswith("ishowtts: ")


@pytest.mark.parametrize("name", ["gone/out.wav", "folder", ""])
def test_an_unwritable_output_is_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed for a result that has no place."""
    monkeypatch.setattr("engine.checkpoint.find", None)
    (tmp_path / "folder").mkdir()
    code, _, said = run(*speak(tmp_path / name))
    assert code == 2
    assert "output" in said


def test_without_a_verb_the_help_is_shown(run: Run) -> None:
    """And a newcomer sees what there is."""
    _, printed, said = run()
    assert "speak" in printed + said


def test_a_sentence_with_brackets_is_printed_as_it_is(run: Run, tmp_path: Path) -> None:
    """rich would take [red] for markup."""
    _, _, said = run(*speak(tmp_path / "out.wav", "--preset", "[red]"))
    assert "[red]" in said


def test_profile_shows_one_screen_and_writes_the_record(run: Run, tmp_path: Path) -> None:
    """Without trials: where the time goes, and 0 or 1 for the target, by the same rule as the record."""
    from engine.advisor.recommendation import load

    file = tmp_path / "report.json"
    tiny = ["profile", "--checkpoint", "seeded-tiny", "--nfe", 1, "--no-trials", "--json", file]
    for target, expected in ((1000, 0), (1e-6, 1)):
        code, printed, _ = run(*tiny, "--target", target)
        report = load(file)
        assert code == expected == report.exit_code
        assert report.target == target
        assert report.findings.options == "nfe=1"
        assert sum(report.profile.stages.values()) == pytest.approx(report.profile.seconds)
        assert "seeded-tiny, nfe=1" in printed
        assert all(stage in printed for stage in report.profile.stages)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [(["--target", 0], "target 0"), (["--budget", -1], "budget -1"), (["--text", ""], "text")],
)
def test_profile_refuses_what_cannot_be_meant_before_the_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, more: list[object], sentence: str
) -> None:
    """One sentence and exit code 2."""
    monkeypatch.setattr("engine.checkpoint.find", None)
    code, printed, said = run("profile", *more)
    assert (code, printed) == (2, "")
    assert f"ishowtts: {sentence}" in said
