"""The command line: flags from the options, one sentence for every error."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer
from typer.testing import CliRunner

from engine import cli, commands
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
        *speak(
            tmp_path / "out.wav",
            "--json",
            "--preset",
            "fast_cpu",
            "--schedule",
            "sway",
            "--guidance",
            "packed",
        )
    )
    facts = json.loads(printed)
    assert code == 0
    assert facts["options"] == dataclasses.asdict(
        dataclasses.replace(Options.fast_cpu(), schedule="sway", guidance="packed", nfe=1)
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
        if field.name in commands.IDLE:
            assert f"--{field.name.replace('_', '-')}" not in shown
            continue
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
        (["--checkpoint", ""], "--checkpoint ''"),
        (["--format", "aac"], "format 'aac'"),
        (["--threads", 0], "--threads 0"),
        (["--threads", 99999], "--threads 99999"),
        (["--file", "words.txt"], "TEXT and --file"),
        (["--ref", "/dev/zero", "--ref-text", "words"], "not a regular file"),
        (["--ref", "a.wav", "--ref-text", "......"], "reference text '......'"),
        (["--voice", "", "--ref", "a.wav", "--ref-text", "words"], "--voice and --ref"),
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
    [
        ["--precision", "fp8"],
        ["--turbo"],
        ["--nfe", "many"],
        ["extra"],
        ["--batch", 2],
        ["--first-piece", 5],
    ],
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


@pytest.mark.parametrize("name", ["gone/out.wav", "folder", "", "out.txt", "out", "readonly.wav"])
def test_an_unwritable_output_is_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed for a result that has no place."""
    monkeypatch.setattr("engine.checkpoint.find", None)
    (tmp_path / "folder").mkdir()
    (tmp_path / "readonly.wav").touch(0o444)
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


def whole(printed: str) -> str:
    """What was printed, unwrapped."""
    return " ".join(printed.split())


@pytest.mark.parametrize("source", ["-", "--file", "argument"])
def test_words_come_from_the_argument_stdin_or_a_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """The same words give the same bytes, with the mark that some editors put before UTF-8 and without."""
    words = "Café, chat!"
    run(*speak(tmp_path / "expected.wav", text=words))
    file = tmp_path / "words.txt"
    file.write_bytes(b"\xef\xbb\xbf" + words.encode() + b"\n")
    arguments = speak(tmp_path / "out.wav", text="TEXT")
    if source == "argument":
        arguments[1] = words
    elif source == "-":
        arguments[1] = "-"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file.open("rb")))
    else:
        arguments[1:2] = ["--file", file]
    assert run(*arguments)[0] == 0
    assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "expected.wav").read_bytes()
    assert commands._words(None, file) == words + "\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"caf\xe9", "byte 0xe9 at 3"),
        (b"", "no letter or digit"),
        (b"\x00\x00", "no letter or digit"),
        (b"a " * 10_000, "at most 5000"),
        (None, "No such file"),
    ],
)
def test_a_file_of_no_words_is_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, sentence: str
) -> None:
    """Missing, empty, foreign or too long: one sentence."""
    monkeypatch.setattr("engine.checkpoint.find", None)
    file = tmp_path / "words.txt"
    if content is not None:
        file.write_bytes(content)
    code, _, said = run("speak", "--file", file, "-o", tmp_path / "out.wav")
    assert code == 2
    assert sentence in said
    assert said.count("ishowtts: ") == 1


def test_bytes_that_are_no_utf8_are_refused_as_an_argument(run: Run, tmp_path: Path) -> None:
    """Their letters are not dropped; UTF-8 that an ASCII locale could not decode is read all the same."""
    code, _, said = run("speak", "caf\udce9", "-o", tmp_path / "out.wav")
    assert (code, "byte 0xe9" in said) == (2, True)
    assert commands._words("caf\udcc3\udca9", None) == "café"


@pytest.mark.parametrize("arguments", [[], ["-o", "out.wav"], ["Hello."]])
def test_without_words_or_output_the_sentence_says_how(run: Run, arguments: list[str]) -> None:
    """No text, no place for the audio, or neither."""
    code, printed, said = run("speak", *arguments)
    assert (code, printed) == (2, "")
    assert re.search("no text|no output", said)
    assert "--" in said


@pytest.mark.parametrize("text", ["-5 degrees", "-x", "-.5", "--five degrees"])
def test_a_text_that_begins_with_a_dash_is_told_of_the_two_dashes(
    run: Run, tmp_path: Path, text: str
) -> None:
    """It looks like a flag, and is refused as one; behind -- it is spoken."""
    code, _, said = run(*speak(tmp_path / "out.wav", text=text))
    assert code == 2
    assert "goes behind --" in said
    arguments = speak(tmp_path / "out.wav")
    assert run(arguments[0], *arguments[2:], "--", text + " one")[0] == 0


def test_audio_goes_to_stdout_and_nothing_else_does(tmp_path: Path) -> None:
    """A program that reads it gets the very bytes of the file; what there is to say is on stderr."""
    arguments = [str(one) for one in speak(tmp_path / "out.wav")]
    command = [sys.executable, "-m", "engine.cli"]
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    arguments[arguments.index("-o") + 1] = "-"
    piped = subprocess.run([*command, *arguments], check=True, capture_output=True)
    assert piped.stdout == (tmp_path / "out.wav").read_bytes()
    assert b"s of audio" in piped.stderr
    raw = subprocess.run([*command, *arguments, "--format", "pcm"], check=True, capture_output=True)
    assert raw.stdout == piped.stdout[44:]


def test_json_and_audio_do_not_share_stdout(run: Run) -> None:
    """One of them would be unreadable."""
    code, _, said = run(*speak(Path("-")), "--json")
    assert (code, "--json and -o - together" in said) == (2, True)


def test_a_format_is_written_whatever_the_file_is_called(run: Run, tmp_path: Path) -> None:
    """`--format` wins over the suffix."""
    assert run(*speak(tmp_path / "out.bin", "--format", "flac"))[0] == 0
    assert soundfile.info(tmp_path / "out.bin").format == "FLAC"


def fake_player(folder: Path, code: int) -> Path:
    """A folder with a player that keeps a copy of what it plays."""
    folder.mkdir()
    player = folder / "aplay"
    player.write_text(
        f'#!/bin/sh\n[ "$1" = -q ] && cp "$2" {folder}/heard.wav; echo no card >&2; exit {code}\n'
    )
    player.chmod(0o755)
    return folder


@pytest.mark.parametrize("code", [0, 1])
def test_play_hands_the_audio_to_a_player(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """No file is asked for; a player that fails is an error with its own words."""
    bin = fake_player(tmp_path / "bin", code)
    monkeypatch.setenv("PATH", f"{bin}:/bin:/usr/bin")
    arguments = [one for one in speak(tmp_path / "x", "--play") if one not in ("-o", tmp_path / "x")]
    exit, printed, said = run(*arguments)
    assert soundfile.info(bin / "heard.wav").samplerate == 24_000
    assert exit == (2 if code else 0)
    assert "played: " in printed
    assert ("no card" in said) == bool(code)


def test_play_without_a_player_is_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names those that would do."""
    monkeypatch.setattr("engine.checkpoint.find", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, said = run("speak", "Hello.", "--play")
    assert code == 2
    assert "one of aplay, paplay, ffplay, afplay" in said


def test_voices_lists_who_speaks_and_what(run: Run) -> None:
    """Every name that `--checkpoint` knows, with its languages and clips; as JSON too."""
    from engine.checkpoint import known

    code, printed, _ = run("voices")
    assert code == 0
    lines = {line.split()[0]: line for line in printed.splitlines() if line}
    assert set(known()) <= set(lines)
    assert re.search(r"box \(default\) +en +slt, rms, awb, kal16", lines["box"])
    code, printed, _ = run("voices", "--json")
    entries = {entry["name"]: entry for entry in json.loads(printed)}
    assert entries.keys() == set(known())
    assert entries["F5TTS_v1_Base"]["languages"] == ["en", "zh"]
    assert entries["box"]["voices"][0] == "slt"


@pytest.mark.parametrize("argument", ["voices", "--help", "--version"])
def test_a_first_look_does_not_import_torch(argument: str) -> None:
    """Nor anything else that takes long: an answer comes at once."""
    heavy = ["torch", "torchaudio", "scipy", "f5_tts", "vocos", "librosa", "transformers", "soundfile"]
    script = (
        f"import sys; sys.argv = ['ishowtts', {argument!r}]\n"
        "from engine import cli\n"
        "try: cli.main()\n"
        f"finally: assert not set({heavy}) & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_the_version_is_the_installed_one(run: Run) -> None:
    """For the command line and for programs."""
    from importlib import metadata

    import engine

    assert run("--version")[1] == f"ishowtts {metadata.version('ishowtts-engine')}\n"
    assert engine.__version__ == metadata.version("ishowtts-engine")


def test_help_says_what_to_type_first(run: Run) -> None:
    """A newcomer can copy the line."""
    assert 'ishowtts speak "Hello, chat!" -o hello.wav\n' in run("--help")[1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["speak", "--help"], ["gate", "--help"], ["doctor"], ["voices"], ["--version"]]
)
def test_a_closed_pipe_is_no_regression(arguments: list[str]) -> None:
    """Where nobody reads, the exit code is that of a broken pipe, never 1; and nothing is said about it."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_interrupt_is_no_regression(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the model is loaded exits as shells expect, 130."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.checkpoint.find", interrupted)
    assert run(*speak(tmp_path / "out.wav"))[0] == 130
    aborted = SystemExit(1)  # how a parser of another release ends
    aborted.__context__ = typer.Abort()
    assert cli._code(aborted) == 130
    assert cli._code(SystemExit(1)) == 1


def test_what_was_done_to_a_clip_is_said(run: Run, tmp_path: Path, clip: Path) -> None:
    """Warnings of the audio are on stderr, and in the JSON."""
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(tmp_path / "quiet.wav", samples * 0.03, rate, subtype="FLOAT")
    more = ["--ref", tmp_path / "quiet.wav", "--ref-text", "Some call me nature,", "--json"]
    code, printed, said = run(*speak(tmp_path / "out.wav", *more))
    assert code == 0
    assert "was raised" in whole(said)
    assert any("was raised" in sentence for sentence in json.loads(printed)["warnings"])
