"""The quality pass: who judges is settled before anything is measured, and every output is judged once."""

from __future__ import annotations

import collections
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
from engine.gate.quality.judges import ALL, Item, MissingJudge, Panel
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


def test_the_cases_are_those_that_the_checkpoint_speaks(material: Material) -> None:
    """What it does not speak is named; the quick set is smaller, and so is its second pass."""
    quick, whole = prepared(material), prepared(material, quick=False)
    assert {case.name for case in quick.cases} == set(texts.QUICK)
    assert len(whole.cases) > len(quick.cases)
    assert whole.probes > quick.probes
    assert quick.skipped == ()
    assert any("zh hello" in said for said in whole.skipped)
    assert list(quick.voices) == ["one", "two"]


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


def test_what_nobody_will_hear_is_told_before_anything_is_measured(material: Material) -> None:
    """A missing judge, and Chinese where the recogniser hears English alone; a Whisper hears both."""
    both = dataclasses.replace(material, languages=("en", "zh"))
    missing = {"mos": "not installed"}
    found = prepared(both, lambda panel: missing, quick=False)
    assert found.warnings == ["not judged: mos (not installed)", "pocketsphinx hears no words in zh"]
    assert prepared(both, quick=False, recogniser="whisper:base").warnings == []
    assert prepared(material, quick=False).warnings == []


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


def test_the_judges_hear_the_cases_and_the_very_waves_that_were_timed(tmp_path: Path) -> None:
    """Of each workload the first and the last, by their hash; the second pass is compared by its bytes."""
    heard: list[Item] = []

    def judge(items: Any, *others: Any) -> Any:
        heard.extend(items)
        return speakers.heard(items, *others)

    run = held(tmp_path, judge=judge)
    assert run.quality is not None
    candidate = run.quality.candidate
    assert len(heard) == 2 * len(candidate.judged)
    assert candidate.scores.keys() == candidate.judged.keys()
    first, last = (series.calls[at] for at in (0, -1) for _, series in run.series("candidate", "short")[:1])
    named = {name: answer.output for name, answer in candidate.judged.items() if name.startswith("short")}
    assert named == {f"short seed {first.seed}": first.output, f"short seed {last.seed}": last.output}
    assert {first.output, last.output} <= {item.output for item in heard}
    assert run.quality.distances == {}
    assert run.quality.timed == ()
    assert candidate.strays == ()


def test_a_wave_that_is_timed_otherwise_than_it_is_spoken_is_the_one_that_is_judged(tmp_path: Path) -> None:
    """An arm that drops work only while it is timed cannot hand in a better wave afterwards."""
    run = held(tmp_path, timed={"base": wave, "candidate": speakers.truncated})
    assert run.quality is not None
    judged = {arm: getattr(run.quality, arm).judged["short seed 0"] for arm in ("base", "candidate")}
    assert judged["candidate"].audio_seconds < judged["base"].audio_seconds


def test_distances_are_taken_where_bytes_differ_and_waves_are_sound(tmp_path: Path) -> None:
    """A NaN cannot be compared; the signal says what it is."""

    def broken(text: str, voice: str, seed: int) -> Samples:
        samples = 0.9 * wave(text, voice, seed)
        if "kitchen" in text or seed == 2:
            samples[5] = np.nan
        return samples

    run = held(tmp_path, Arms(candidate=broken))
    assert run.quality is not None
    assert run.quality.distances.keys() == run.quality.base.judged.keys() - {"kitchen"}
    troubles = {(one.workload, one.seed): one.trouble for one in run.quality.timed}
    requests = [(name, seed + at) for name, seed in (("short", 0), ("medium", 1)) for at in range(4)]
    assert troubles == {one: "candidate not finite" if one[1] == 2 else None for one in requests}


def test_processes_that_answer_differently_are_strays_of_their_request(tmp_path: Path) -> None:
    """The first answer is what the others are held to; one of another length has no distance."""
    count = iter(range(1000))

    def sometimes(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        return samples[:-5000] if next(count) == 15 else samples  # the second process, medium, seed 4

    run = held(tmp_path, timed={"base": wave, "candidate": sometimes})
    assert run.quality is not None
    strays = [(one.name, one.kind, one.seed, one.mel_l2) for one in run.quality.candidate.strays]
    assert strays == [("medium", "timed", 4, None)]
    assert run.quality.base.strays == ()


def test_a_repeat_with_other_bytes_is_a_stray_however_late_it_comes(tmp_path: Path) -> None:
    """An arm that answers rightly twice and then drops work."""
    asked: collections.Counter[Any] = collections.Counter()

    def tired(*request: Any) -> Samples:
        asked[request] += 1
        return wave(*request)[: -5000 if asked[request] > 2 else None]

    run = held(tmp_path, Arms(candidate=tired), timed={"base": wave, "candidate": wave})
    assert run.quality is not None
    assert {(one.kind, one.name) for one in run.quality.candidate.strays} == {("again", "short seed 0")}


def test_what_was_not_kept_is_neither_judged_nor_a_stray(tmp_path: Path) -> None:
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
    assert not found.candidate.of("timed")


def test_what_does_not_fit_into_the_time_is_left_out_by_name(tmp_path: Path) -> None:
    """The quick set is spoken whatever it takes, and both facts are told."""
    everything = dataclasses.replace(speakers.prepared(), cases=texts.choose(("en",)).cases)
    told: list[str] = []

    def spoken(seconds: float) -> tuple[set[str], tuple[str, ...]]:
        processes = speakers.processes(tmp_path, blocks=1)
        found = quality_pass.hold(
            everything, speakers.opening(Arms()), processes, tmp_path, {}, told.append, speakers.heard,
            seconds=seconds,
        )  # fmt: skip
        return {answer.name for answer in found.base.of("case")}, found.skipped

    whole, skipped = spoken(1e6)
    assert whole == {case.name for case in everything.cases}
    assert skipped == everything.skipped
    assert not any("left" in sentence for sentence in told)
    least, skipped = spoken(0.0)
    assert least == set(texts.QUICK)
    assert len(skipped) == len(everything.skipped) + len(whole - least)
    assert any("cases fit into the time that is left" in sentence for sentence in told)
    assert any("it is spoken nevertheless" in sentence for sentence in told)


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
