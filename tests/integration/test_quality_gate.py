"""Faster but wrong fails, for real: live pairs of the tiny model, and a fault in the candidate's code.

The tiny model is untrained, so words, speaker and MOS are left to `test_quality_faults.py`; what is held here
is what holds for any wave: bytes, length, signal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

import engine
from engine.gate.data.samples import Arm
from engine.gate.data.verdict import Judgement
from engine.gate.measure import blocks, process
from engine.gate.measure.design import Design, Settings
from engine.gate.measure.process import Material, Reference, Target
from engine.gate.quality import quality_pass
from engine.gate.stats.looks import Plan
from engine.gate.verdict import sound
from tests.unit.gate import builders, speakers
from tests.unit.gate.test_sound import Accepted

PACKAGE = Path(engine.__file__).resolve().parent
WRAPPED = '''
def load(*arguments, **options):
    """Loads as ever, and answers otherwise."""
    import dataclasses
    from engine.loading import load
    tts, known = load(*arguments, **options), {}
    fresh = tts.synthesize
    def synthesize(text, voice=None, **how):
        FAULT
    tts.synthesize = synthesize
    return tts
'''
TRUNCATED = """audio = fresh(text, voice, **how)
        return dataclasses.replace(audio, samples=audio.samples[: -len(audio.samples) // 5].copy())"""
"""Drops the last fifth of everything."""
STALE_VOICE = "return fresh(text, known.setdefault('voice', voice), **how)"
"""Answers in the first voice that it has heard, whoever is asked for."""
OLD_ANSWER = """if text not in known:
            known[text] = fresh(text, voice, **how)
        return known[text]"""
"""Answers a text that it knows with what it said before, whatever the seed."""
NOTHING = "return fresh(text, voice, **how)"


@pytest.fixture
def material(tiny_folder: Path, clip: Path, tmp_path: Path) -> Material:
    """The tiny model with two short clips, one from the other played backwards."""
    folder = tmp_path / "two voices"
    shutil.copytree(tiny_folder, folder)
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(folder / "one.wav", samples, rate)
    soundfile.write(folder / "two.wav", samples[::-1], rate)
    voices = {name: Reference(folder / f"{name}.wav", "Some call me nature,") for name in ("one", "two")}
    manifest = json.loads((folder / "voice.json").read_text())
    manifest["references"] = {
        name: {"file": voice.clip.name, "text": voice.text} for name, voice in voices.items()
    }
    (folder / "voice.json").write_text(json.dumps(manifest | {"languages": ["en"]}))
    return Material("tiny", str(folder), *voices["one"], voices=voices, languages=("en",), trained=False)


def checkout(folder: Path, fault: str) -> Path:
    """A copy of this checkout's engine with a fault in it."""
    package = folder / "engine"
    package.mkdir(parents=True)
    for path in PACKAGE.iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            (package / path.name).symlink_to(path)
    source = (PACKAGE / "__init__.py").read_text() + WRAPPED.replace("FAULT", fault)
    (package / "__init__.py").write_text(source)
    return folder


def judged(
    fault: str, material: Material, folder: Path, steps: tuple[int, int] = (1, 1)
) -> tuple[Judgement, ...]:
    """The verdict on sound of one block of live pairs, and of the quick cases, as the gate obtains it."""
    targets: Mapping[Arm, Target] = {
        "base": Target(PACKAGE.parent, "ba5e" * 10, False, f"nfe={steps[0]}"),
        "candidate": Target(checkout(folder / "faulty", fault), "fa17" * 10, False, f"nfe={steps[1]}"),
    }
    settings = Settings(Plan(blocks_max=1), ("short", "medium"), 600.0, rounds=2, warmup=1, twins=1)
    waves = folder / "waves"
    waves.mkdir()
    with process.opener(targets, material, outputs=waves) as open_worker:
        described: blocks.Described = {}
        layout = Design(settings.plan, twins=1, rounds=2)
        generator = np.random.default_rng(0)
        processes = blocks.run_block(settings, layout, 0, open_worker, described, generator)
    audition = quality_pass.prepare(
        material, speakers.SELECTION, settings.sentences, quick=True, seed=0, recogniser="pocketsphinx"
    )
    quality = quality_pass.hold(
        audition,
        lambda place: process.opener(targets, material, outputs=place),
        processes,
        waves,
        described,
        lambda said: None,
    )
    sides = {arm: process.side(targets[arm], material, described[arm], settings.workloads) for arm in targets}
    made = builders.run(processes, quality=quality, work={}, **sides)
    return sound.judge(made, speakers.SELECTION, Accepted())


def failed(answers: tuple[Judgement, ...]) -> dict[str, Judgement]:
    """The answers that are no pass, by question."""
    return {answer.question: answer for answer in answers if answer.code}


def test_the_same_code_elsewhere_passes_every_question(material: Material, tmp_path: Path) -> None:
    """Two processes of two checkouts give the same bytes for every timed request and every case."""
    answers = judged(NOTHING, material, tmp_path)
    assert not failed(answers), failed(answers)
    outcomes = {answer.question: answer.outcome for answer in answers}
    assert (outcomes["timed = judged"], outcomes["repeats"], outcomes["output"]) == (
        "MATCHED",
        "SAME",
        "SAME",
    )


def test_a_candidate_that_is_faster_because_it_drops_words_fails(material: Material, tmp_path: Path) -> None:
    """With other options than the base: the outputs may differ, but no clip may end early."""
    answers = failed(judged(TRUNCATED, material, tmp_path, steps=(4, 1)))
    assert (answers["duration"].outcome, answers["duration"].code) == ("FAULT", 1)
    assert (answers["output"].outcome, answers["output"].code) == ("FAULT", 1)


def test_a_candidate_that_answers_in_another_voice_fails(material: Material, tmp_path: Path) -> None:
    """The stale cache: right length, right words, right pace; only the bytes of the other voice tell."""
    answers = failed(judged(STALE_VOICE, material, tmp_path))
    assert (answers["no caching"].outcome, answers["no caching"].code) == ("FAULT", 1)
    assert "in voice two" in answers["no caching"].sentence


def test_a_candidate_that_answers_from_memory_fails(material: Material, tmp_path: Path) -> None:
    """It is told by the timed calls already: two seeds, the same bytes, and not those of the base."""
    answers = failed(judged(OLD_ANSWER, material, tmp_path))
    assert (answers["no caching"].outcome, answers["no caching"].code) == ("FAULT", 1)
    assert "short with seed 0 and short with seed 1" in answers["no caching"].sentence
    assert (answers["output"].outcome, answers["output"].code) == ("OUTPUT CHANGED", 3)
