"""Many texts into a folder: one file and one line each, resumable, and a bad line harms no other."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from engine import Voice, cli
from engine.errors import EngineError, OutputError, UsageError
from engine.jobs import batch, items
from engine.jobs.results import NAME, Results
from engine.jobs.speaking import Outcome, Setup
from engine.options import Options
from engine.requests import Request

SETUP = Setup("made-up", None, None, Options(), "wav", "digest")
NOWHERE: Any = SimpleNamespace(references={"me": Voice(np.ones(24_000, np.float32), "words", 24_000)})
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


def write(path: Path, *lines: object) -> Path:
    """A file of texts: objects as JSON, strings as they are."""
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf8")
    return path


def results(out: Path) -> list[dict[str, Any]]:
    """The lines of `results.jsonl`."""
    return [json.loads(line) for line in (out / NAME).read_text(encoding="utf8").splitlines()]


class Parrot:
    """A speaker whose audio is the text's bytes; it notes what it spoke, and may stop half-way."""

    def __init__(self, until: int = 10**6) -> None:
        self.spoken: list[str] = []
        self.until = until

    def __call__(self, setup: Setup, todo: Sequence[items.Item]) -> Any:
        for item in todo:
            if len(self.spoken) == self.until:
                raise KeyboardInterrupt
            self.spoken.append(item.name)
            words = item.request.words
            if words == "unsayable":
                yield Outcome(item, error="unsayable: expected words. Write some.", worker="here")
            else:
                yield Outcome(item, f"{words} {item.request.seed}".encode(), 1.0, 0.5, worker="here")


def speak(texts: Path, out: Path, parrot: Parrot, setup: Setup = SETUP) -> batch.Summary:
    """Run a batch with a made-up speaker."""
    return batch.run(texts, out, setup, NOWHERE, Request(""), parrot)


def test_each_line_becomes_one_file_and_one_result(tmp_path: Path) -> None:
    """In the order of the lines, under the id or the number of the line, with checksum and length."""
    texts = write(tmp_path / "texts.jsonl", {"text": "one"}, "", {"text": "two", "id": "b", "seed": 7})
    out = tmp_path / "out"
    summary = speak(texts, out, Parrot())
    assert (out / "000001.wav").read_bytes() == b"one 0"
    assert (out / "b.wav").read_bytes() == b"two 7"
    assert [(line["line"], line["id"], line["file"]) for line in results(out)] == [
        (1, "000001", "000001.wav"),
        (3, "b", "b.wav"),
    ]
    assert (len(summary.spoken), summary.finished, summary.failed) == (2, 0, [])
    assert {path.name for path in out.iterdir()} == {"000001.wav", "b.wav", NAME, ".lock"}


def test_an_interrupted_batch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was finished is not spoken again, whatever the number of interruptions."""
    lines = [{"text": f"text {number}"} for number in range(7)]
    texts, out = write(tmp_path / "texts.jsonl", *lines), tmp_path / "out"
    parrots = [Parrot(until=2), Parrot(until=3), Parrot()]
    for parrot in parrots[:2]:
        with pytest.raises(KeyboardInterrupt):
            speak(texts, out, parrot)
    summary = speak(texts, out, parrots[2])
    spoken = [name for parrot in parrots for name in parrot.spoken]
    assert spoken == [f"{number:06d}" for number in range(1, 8)]
    assert (summary.finished, len(summary.spoken)) == (5, 2)
    assert len(results(out)) == 7
    again = Parrot()
    assert speak(texts, out, again).finished == 7
    assert again.spoken == []


def test_a_half_written_item_never_counts(tmp_path: Path) -> None:
    """A file cut short, one that is gone, a line cut off, a broken one: each is spoken again, and mended."""
    texts = write(tmp_path / "texts.jsonl", *({"text": name, "id": name} for name in "abcde"))
    out = tmp_path / "out"
    speak(texts, out, Parrot())
    (out / "a.wav").write_bytes(b"a")
    (out / "b.wav").unlink()
    (out / ".e.wav.abcd1234").write_bytes(b"what a killed process left")
    whole = (out / NAME).read_text().splitlines()
    (out / NAME).write_text("\n".join([*whole[:3], "{", whole[4][:30]]))
    parrot = Parrot()
    assert speak(texts, out, parrot).finished == 1
    assert parrot.spoken == ["a", "b", "d", "e"]
    assert [line["id"] for line in results(out)] == list("abcde")
    assert not (out / ".e.wav.abcd1234").exists()


def test_only_what_changed_is_spoken_again(tmp_path: Path) -> None:
    """Another text, seed, toggle or checkpoint changes the audio; another batch size does not."""
    texts, out = tmp_path / "texts.jsonl", tmp_path / "out"
    write(texts, {"text": "one"}, {"text": "two"})
    speak(texts, out, Parrot())
    other = Setup("made-up", None, None, Options(), "wav", "another digest")
    for setup, lines, spoken in (
        (SETUP, [{"text": "one"}, {"text": "three"}], ["000002"]),
        (SETUP, [{"text": "one", "seed": 1}, {"text": "three"}], ["000001"]),
        (SETUP, [{"text": "one", "seed": 1}, {"text": "three"}, {"text": "four"}], ["000003"]),
        (Setup("made-up", None, None, Options(batch=4), "wav", "digest"), [{"text": "one", "seed": 1}], []),
        (Setup("made-up", None, None, Options(nfe=7), "wav", "digest"), [{"text": "one"}], ["000001"]),
        (other, [{"text": "one"}], ["000001"]),
    ):
        write(texts, *lines)
        parrot = Parrot()
        speak(texts, out, parrot, setup)
        assert parrot.spoken == spoken, (setup, lines)
    assert [line["id"] for line in results(out)] == ["000001", "000002", "000003"], "others' results stay"


def test_a_bad_line_is_named_and_the_others_are_spoken(tmp_path: Path) -> None:
    """Each kind of bad line has its reason and its result; mended, it leaves no trace."""
    bad: tuple[tuple[object, str], ...] = (
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ([1], "without a text"),
        ({"seed": 1}, "without a text"),
        ({"text": 5}, "text=5"),
        ({"text": "x", "seed": True}, "seed=True"),
        ({"text": "x", "seed": -1}, "seed=-1"),
        ({"text": "x", "speed": 9}, "speed=9"),
        ({"text": "x", "sped": 1}, "key 'sped'"),
        ({"text": "x", "duration": 2, "speed": 2}, "duration=2"),
        ({"text": "x", "id": "../up"}, "id '../up'"),
        ({"text": "x", "id": ".hidden"}, "id '.hidden'"),
        ({"text": "x", "id": "GOOD"}, "again"),
        ('"a\x00"', "no JSON"),
        ('{"text": "' + "x" * items.MAX_LINE + '"}', "1 MiB"),
    )
    texts, out = tmp_path / "texts.jsonl", tmp_path / "out"
    write(
        texts, {"text": "one", "id": "good"}, *(line for line, _ in bad), {"text": "unsayable"}, {"text": "z"}
    )
    seen: list[tuple[int, int]] = []
    summary = batch.run(
        texts, out, SETUP, NOWHERE, Request(""), Parrot(), lambda done, total, _: seen.append((done, total))
    )
    assert [result.line for result in summary.failed] == list(range(2, len(bad) + 3))
    for result, (line, reason) in zip(summary.failed, bad, strict=False):
        assert reason in result.error, line
    assert [result.file for result in summary.spoken] == ["good.wav", f"{len(bad) + 3:06d}.wav"]
    assert [line["line"] for line in results(out)] == list(range(1, len(bad) + 4))
    assert seen[-1] == (len(bad) + 3, len(bad) + 3)
    assert "unsayable" in results(out)[-2]["error"]
    write(texts, {"text": "one", "id": "good"}, {"text": "mended"})
    assert speak(texts, out, Parrot()).failed == []
    assert all("error" not in line for line in results(out))


def test_bytes_that_are_no_text_are_one_bad_line(tmp_path: Path) -> None:
    """Latin-1 in a line, and a byte order mark, which is none of its business."""
    texts = tmp_path / "texts.jsonl"
    texts.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "caf\xe9"}\n{"text": "two"}')
    summary = speak(texts, tmp_path / "out", Parrot())
    assert [result.line for result in summary.failed] == [2]
    assert len(summary.spoken) == 2


def test_a_length_of_a_line_takes_the_place_of_the_usual_speed(tmp_path: Path) -> None:
    """`--speed` is for lines that say nothing of either."""
    texts = write(tmp_path / "texts.jsonl", {"text": "x", "duration": 2}, {"text": "x"})
    good, bad = items.read(texts, Request("", speed=1.5))
    assert bad == []
    assert [(item.request.duration, item.request.speed) for item in good] == [(2.0, 1.0), (None, 1.5)]


def test_what_cannot_be_read_or_written_is_one_sentence(tmp_path: Path) -> None:
    """No texts, an empty file, a folder that is a file, one that another batch holds."""
    texts, empty = write(tmp_path / "texts.jsonl", {"text": "one"}), write(tmp_path / "empty.jsonl", "", " ")
    held = tmp_path / "held"
    cases: tuple[tuple[Path, Path, type[EngineError], str], ...] = (
        (tmp_path / "gone.jsonl", tmp_path / "out", UsageError, "gone.jsonl"),
        (tmp_path, tmp_path / "out", UsageError, "directory"),
        (empty, tmp_path / "out", UsageError, "without a text"),
        (texts, texts, OutputError, "texts.jsonl"),
        (texts, held, UsageError, "in use by another batch"),
    )
    with Results(held):
        for source, out, kind, sentence in cases:
            with pytest.raises(kind, match=sentence):
                speak(source, out, Parrot())
    speak(texts, held, Parrot())


def test_batch_speaks_a_file_of_texts(run: Run, tmp_path: Path, clip: Path) -> None:
    """The command: audio that can be read, one line on stdout, failures on stderr, and the exit code."""
    texts = write(
        tmp_path / "texts.jsonl", {"text": "Hello."}, {"text": "..."}, {"text": "Bye.", "voice": "x"}
    )
    out = tmp_path / "out"
    more = ["--checkpoint", "seeded-tiny", "--device", "cpu", "--nfe", 1, "--batch", 2]
    code, printed, said = run("batch", texts, "-o", out, *more, "--format", "flac")
    assert code == 1
    assert re.fullmatch(
        rf"{re.escape(str(out))}: 1 spoken \([\d.]+ s of audio in [\d.]+ s\), 2 failed \(line 2, 3\)\n",
        printed,
    )
    assert "line 2: text '...'" in said
    assert "line 3: voice 'x'" in said
    assert "untrained" in said
    (line,) = [line for line in results(out) if "file" in line]
    assert soundfile.info(out / "000001.flac").duration == pytest.approx(line["seconds"], abs=1e-3)
    write(texts, {"text": "Hello."}, {"text": "Words."})
    code, printed, _ = run("batch", texts, "-o", out, *more, "--format", "flac", "--json")
    facts = json.loads(printed)
    assert (code, facts["spoken"], facts["finished_before"], facts["failed"]) == (0, 1, 1, [])


def test_batched_and_single_items_are_what_synthesize_gives(
    tmp_path: Path, tiny: Any, voice: Any, tiny_folder: Path
) -> None:
    """A batch of one is the engine's own call to the bit; a clip of one's own speaks too."""
    from engine.checkpoint import find

    found = find("seeded-tiny")
    setup = Setup("seeded-tiny", None, "cpu", Options(nfe=2), "wav", found.digest(), voice=voice)
    texts = write(tmp_path / "texts.jsonl", {"text": "Hello there.", "seed": 3}, {"text": "Goodbye."})
    summary = batch.run(texts, tmp_path / "out", setup, found, Request(""))
    assert len(summary.spoken) == 2
    own = tiny().synthesize("Hello there.", voice, seed=3).encode("wav")
    assert (tmp_path / "out" / "000001.wav").read_bytes() == own


def test_weights_that_differ_from_the_jobs_are_refused(tmp_path: Path, tiny_folder: Path) -> None:
    """On a cluster each machine has its own copy of the checkpoint."""
    texts = write(tmp_path / "texts.jsonl", {"text": "Hello."})
    setup = Setup("seeded-tiny", None, "cpu", Options(nfe=2), "wav", "0123")
    with pytest.raises(EngineError, match="digest 0123 that the job began with"):
        batch.run(texts, tmp_path / "out", setup, NOWHERE, Request(""))
