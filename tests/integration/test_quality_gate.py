"""Faster but wrong fails, for real: worker processes of the tiny model, and a fault in the candidate's code.

The tiny model is untrained, so words, speaker and MOS are left to `test_quality_faults.py`; what is held here
is what holds for any wave: bytes, length, signal.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import soundfile

import engine
from engine.gate import run
from engine.gate.data import texts
from engine.gate.data.machine_state import AfterBlock, Preflight
from engine.gate.data.samples import Arm, Judgement
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure import process
from engine.gate.measure.process import Material, Target
from engine.gate.quality import quality_pass, script
from engine.gate.verdict import sound
from tests.unit.gate import builders, speakers

PACKAGE = Path(engine.__file__).resolve().parent
TRUNCATED = '''
def load(*arguments, **options):
    """Drops the last fifth of everything."""
    import dataclasses
    from engine.loading import load
    tts = load(*arguments, **options)
    whole = tts.synthesize
    def synthesize(*asked, **how):
        audio = whole(*asked, **how)
        return dataclasses.replace(audio, samples=audio.samples[: -len(audio.samples) // 5].copy())
    tts.synthesize = synthesize
    return tts
'''
STALE = '''
def load(*arguments, **options):
    """Answers in the first voice that it has heard, whoever is asked for."""
    from engine.loading import load
    tts, first = load(*arguments, **options), []
    fresh = tts.synthesize
    def synthesize(text, voice=None, **how):
        first.append(voice)
        return fresh(text, first[0], **how)
    tts.synthesize = synthesize
    return tts
'''


@pytest.fixture
def checkpoint(tiny_folder: Path, clip: Path, tmp_path: Path) -> Path:
    """The tiny model with two short clips, one from the other played backwards."""
    folder = tmp_path / "two voices"
    shutil.copytree(tiny_folder, folder)
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(folder / "one.wav", samples, rate)
    soundfile.write(folder / "two.wav", samples[::-1], rate)
    manifest = json.loads((folder / "voice.json").read_text())
    manifest["references"] = {
        name: {"file": f"{name}.wav", "text": "Some call me nature,"} for name in ("one", "two")
    }
    (folder / "voice.json").write_text(json.dumps(manifest | {"languages": ["en"]}))
    return folder


def checkout(folder: Path, fault: str) -> Path:
    """A copy of this checkout's engine with a fault in it."""
    package = folder / "engine"
    package.mkdir(parents=True)
    for path in PACKAGE.iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            (package / path.name).symlink_to(path)
    (package / "__init__.py").write_text((PACKAGE / "__init__.py").read_text() + fault)
    return folder


def arms(folder: Path, fault: str, nfe: tuple[int, int]) -> dict[Arm, Target]:
    """This checkout against the one with the fault."""
    here = PACKAGE.parent
    return {
        "base": Target(here, "ba5e" * 10, False, f"nfe={nfe[0]}"),
        "candidate": Target(checkout(folder, fault), "fa17" * 10, False, f"nfe={nfe[1]}"),
    }


def test_a_candidate_that_is_faster_because_it_drops_words_exits_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured, spoken, judged and recorded as the gate does it."""
    targets = arms(tmp_path / "faulty", TRUNCATED, (4, 1))
    material = run.find_material(str(checkpoint))
    scene = run.Scene(builders.MACHINE, Preflight(findings=()), speakers.SELECTION, material)

    @contextlib.contextmanager
    def both(*_: Any) -> Iterator[Mapping[Arm, Target]]:
        yield targets

    monkeypatch.setattr(run, "look", lambda request, report: scene)
    monkeypatch.setattr(run, "targets", both)
    monkeypatch.setattr(run.check, "after_block", lambda block, machine: AfterBlock(block=block, findings=()))
    request = run.Request(
        against_options="reference", quick=True, blocks=1, seed=1, records=tmp_path / "records"
    )
    found = run.gate(request, lambda said: None).run
    assert found.verdict is not None
    pace = {
        arm: min(call.seconds for _, one in found.series(arm, "short") for call in one.calls)
        for arm in targets
    }
    assert pace["candidate"] < pace["base"]
    said = {one.question: one for one in found.verdict.quality}
    assert (said["duration"].outcome, said["duration"].code) == ("FAULT", 1)
    assert said["timed = judged"].outcome == "MATCHED"
    assert said["repeats"].outcome == "SAME"
    assert said["WER"].outcome == "NOT JUDGED"
    assert found.verdict.code == 1


def test_a_candidate_that_answers_in_another_voice_exits_one(checkpoint: Path, tmp_path: Path) -> None:
    """The stale cache: right length, right words, right pace; only the bytes of the other voice tell."""
    material = run.find_material(str(checkpoint))
    found = {one.question: one for one in heard(arms(tmp_path / "faulty", STALE, (1, 1)), material, tmp_path)}
    assert (found["no caching"].outcome, found["no caching"].code) == ("FAULT", 1)
    assert "in voice two" in found["no caching"].sentence
    assert found["repeats"].outcome == "SAME"


def heard(targets: Mapping[Arm, Target], material: Material, folder: Path) -> tuple[Judgement, ...]:
    """The verdict on quality of two cases, one in each voice; nothing was timed."""
    cases = texts.choose(("en",), ["hello", "gift"]).cases
    lines = script.script(cases, SENTENCES[:1], list(material.voices), 0, probes=2)
    nobody = dict.fromkeys(quality_pass.judges.ALL, quality_pass.UNTRAINED)
    asked = quality_pass.Audition(lines, material.voices, quality_pass.Panel({}, ()), nobody, (), 0)
    opening = functools.partial(process.opener, targets, material)
    quality = quality_pass.hold(
        asked, lambda place: opening(outputs=place), (), folder, {}, lambda said: None
    )
    return sound.judge(builders.run(quality=quality), speakers.SELECTION)
