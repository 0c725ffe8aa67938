"""The quality pass: who judges is settled before anything is measured, and every output is judged once."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.errors import BaselineError, UsageError
from engine.gate.data import texts
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure.process import Material, Reference
from engine.gate.quality import quality_pass
from engine.gate.quality.judges import ALL, MissingJudge, Panel
from engine.gate.quality.quality_pass import Audition
from tests.unit.gate import builders, speakers
from tests.unit.gate.speakers import Arms, held, wave


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """A checkpoint with two voices."""
    voices = {}
    for name in ("one", "two"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, wave("Words that are spoken in the clip.", name, 0), 16_000)
        voices[name] = Reference(path, "Words that are spoken in the clip.")
    return Material("made-up", "made-up", *voices["one"], voices=voices, languages=("en",))


def prepared(material: Material, missing: Any = lambda panel: {}, **changes: Any) -> Audition:
    """What `prepare` finds."""
    selection = changes.pop("selection", speakers.SELECTION)
    asked = {"quick": True, "seed": 3, "recogniser": "pocketsphinx", **changes}
    return quality_pass.prepare(material, selection, SENTENCES[:1], missing=missing, **asked)


def test_the_cases_are_those_that_the_checkpoint_speaks_in_all_its_voices(material: Material) -> None:
    """What it does not speak is named; the quick set is smaller."""
    quick, whole = prepared(material), prepared(material, quick=False)
    assert {line.voice for line in quick.lines} == {"one", "two"}
    names = {line.sentence.name for line in quick.lines if line.kind == "case"}
    assert names == set(texts.QUICK)
    assert len(whole.lines) > len(quick.lines)
    assert quick.skipped == ()
    assert any("zh hello" in said for said in whole.skipped)


def test_the_clips_reach_the_judges_at_their_rate(material: Material) -> None:
    """A clip at 16 kHz is half as long again at 24 kHz."""
    clip = wave("Words that are spoken in the clip.", "one", 0)
    assert abs(len(prepared(material).panel.references["one"]) - 1.5 * len(clip)) < 10


def test_required_judges_are_those_of_the_baseline(material: Material) -> None:
    """One that is missing stops the gate before anything is measured; another one is told."""
    relative = speakers.RELATIVE.model_copy(update={"required_judges": ("words",)})
    baseline = builders.portable().model_copy(update={"relative": relative})
    asked: list[Panel] = []

    def missing(panel: Panel) -> Mapping[str, str]:
        asked.append(panel)
        return {"mos": "not installed"}

    found = prepared(material, missing, selection=builders.selection(baseline))
    assert (asked[0].names, asked[0].required) == (ALL, ("words",))
    assert found.missing == {"mos": "not installed"}


def test_an_untrained_checkpoint_needs_no_judges(material: Material) -> None:
    """Its speech is noise; nobody is opened, and the reason is told."""

    def missing(panel: Panel) -> Mapping[str, str]:
        raise AssertionError("nobody should be opened")

    found = prepared(dataclasses.replace(material, trained=False), missing)
    assert (found.panel.names, found.panel.required) == ((), ())
    assert set(found.missing.values()) == {quality_pass.UNTRAINED}


def test_a_baseline_without_limits_of_quality_is_refused_before_measuring(material: Material) -> None:
    """The cure names the way to judge speed alone."""
    with pytest.raises(BaselineError, match="--no-quality"):
        prepared(material, selection=builders.selection())


def test_judges_are_tried_in_a_process_of_their_own() -> None:
    """Who is not there is named by the panel itself; what is wrong arrives as the error it is."""
    assert set(quality_pass.missing_judges(Panel({}, ()))) == set(ALL)
    with pytest.raises(UsageError, match="recogniser 'nobody'"):
        quality_pass.missing_judges(Panel({}, ("words",), recogniser="nobody"))


def test_a_missing_judge_travels_between_processes() -> None:
    """The gate exits 2 with its sentence."""
    error = MissingJudge("mos", "no onnxruntime")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_each_first_answer_is_judged_and_nothing_else(tmp_path: Path) -> None:
    """The second pass is compared by its bytes."""
    heard: list[str] = []

    def judge(items: Any, *others: Any) -> Any:
        heard.extend(item.text for item in items)
        return speakers.heard(items, *others)

    run = held(tmp_path, judge=judge)
    assert run.quality is not None
    assert len(heard) == 2 * len(run.quality.candidate.first)
    assert run.quality.candidate.scores.keys() == run.quality.candidate.first.keys()
    assert run.quality.distances == {}
    assert run.quality.candidate.strays == ()


def test_distances_are_taken_where_bytes_differ_and_waves_are_sound(tmp_path: Path) -> None:
    """A NaN cannot be compared; the signal says what it is."""

    def broken(text: str, voice: str, seed: int) -> Samples:
        samples = 0.9 * wave(text, voice, seed)
        if "kitchen" in text:
            samples[5] = np.nan
        return samples

    run = held(tmp_path, Arms(candidate=broken))
    assert run.quality is not None
    assert run.quality.distances.keys() == run.quality.base.first.keys() - {"kitchen"}


def test_a_stray_of_another_length_has_no_distance(tmp_path: Path) -> None:
    """It is another answer, not another rounding."""
    run = held(tmp_path, timed={"base": wave, "candidate": lambda *asked: wave(*asked)[:-5000]})
    assert run.quality is not None
    strays = run.quality.candidate.strays
    assert [(one.name, one.kind, one.mel_l2) for one in strays] == [
        ("medium", "timed", None),
        ("short", "timed", None),
    ]
    assert run.quality.base.strays == ()


def test_what_was_not_kept_is_no_stray(tmp_path: Path) -> None:
    """Nothing can be said of a wave that is not there; the verdict misses it by its hash."""
    found = quality_pass.hold(
        speakers.prepared(),
        speakers.opening(Arms()),
        builders.processes(blocks=1, calls=2),
        tmp_path,
        {},
        lambda said: None,
        speakers.heard,
    )
    assert found.candidate.strays == ()


def test_why_nobody_judged_stands_in_every_score(tmp_path: Path) -> None:
    """The reason of `prepare`, not just that nobody was asked."""
    prepared = speakers.prepared()
    reasons = dict.fromkeys(ALL, quality_pass.UNTRAINED)
    untrained = dataclasses.replace(prepared, panel=Panel({}, ()), missing=reasons)
    said: list[str] = []
    found = quality_pass.hold(untrained, speakers.opening(Arms()), (), tmp_path, {}, said.append)
    assert all(one.not_judged == reasons for one in found.candidate.scores.values())
    assert any("speaks" in sentence for sentence in said)
    assert any("judged" in sentence for sentence in said)
