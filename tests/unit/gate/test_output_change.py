"""Whether outputs changed: all that was timed and all cases, by what the candidate's options claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.audio import Samples
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.quality import output_change
from engine.gate.quality.output_change import Claim
from tests.unit.gate.speakers import Arms, Request, Wave, held, wave


def asked(run: Run, claim: Claim = "same options", accepted: bool = False) -> Judgement:
    """The judgement on the outputs."""
    assert run.quality is not None
    return output_change.judge(run, run.quality, Limits(), claim, accepted)


def changed(size: float, where: Callable[[Request], bool] = lambda request: True) -> Wave:
    """Another sound by so much in some requests, the same each time."""

    def answer(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        if not where((text, voice, seed)):
            return samples
        noise = np.random.default_rng(seed).standard_normal(samples.size)
        return np.asarray(samples + size * np.abs(samples).mean() * noise, np.float32)

    return answer


def test_outputs_that_are_the_same_bit_for_bit_need_no_claim(tmp_path: Path) -> None:
    """Eight timed requests and eight cases, whatever the options are."""
    run = held(tmp_path)
    for claim in ("same options", "lossless", "lossy"):
        found = asked(run, claim)  # type: ignore[arg-type]
        assert (found.outcome, found.code, found.value) == ("SAME", 0, 0.0)
        assert found.sentence.startswith("16 of 16 outputs are the same")


def test_other_sound_with_the_same_options_is_undecided_until_it_is_accepted(tmp_path: Path) -> None:
    """A refactoring that reads a wrong entry changes what is heard; both answers are said aloud."""
    run = held(tmp_path, Arms(candidate=changed(0.01)), blocks=1)
    found = asked(run)
    assert (found.outcome, found.code) == ("OUTPUT CHANGED", 3)
    assert "--accept-changed-output" in found.sentence
    assert found.value is not None
    assert found.limit == Limits().lossless_mel < found.value
    accepted = asked(run, accepted=True)
    assert (accepted.outcome, accepted.code) == ("CHANGED, ACCEPTED", 0)
    assert "16 differ by more than rounding" in accepted.sentence


def test_a_claim_to_keep_the_result_is_broken_for_good(tmp_path: Path) -> None:
    """Accepting it would make the declaration a lie; a lossy toggle has claimed nothing."""
    run = held(tmp_path, Arms(candidate=changed(0.01)), blocks=1)
    for accepted in (False, True):
        found = asked(run, "lossless", accepted)
        assert (found.outcome, found.code) == ("NOT LOSSLESS", 1)
    lossy = asked(run, "lossy")
    assert (lossy.outcome, lossy.code, lossy.limit) == ("REPORTED", 0, None)


def test_rounding_passes_aloud(tmp_path: Path) -> None:
    """Other bytes within the lossless tolerance."""
    run = held(tmp_path, Arms(candidate=changed(1e-4)), blocks=1)
    for claim in ("same options", "lossless"):
        found = asked(run, claim)  # type: ignore[arg-type]
        assert (found.outcome, found.code) == ("ROUNDING", 0)
        assert "0 of 16 outputs are the same" in found.sentence


def test_one_timed_request_among_many_is_enough(tmp_path: Path) -> None:
    """Neither the first nor the last of its workload, so that no judge hears it; it is named."""
    found = asked(held(tmp_path, Arms(candidate=changed(0.05, lambda request: request[2] == 2)), blocks=1))
    assert (found.outcome, found.code) == ("OUTPUT CHANGED", 3)
    assert found.sentence.startswith("14 of 16 outputs are the same")
    assert "farthest: short seed 2" in found.sentence or "farthest: medium seed 2" in found.sentence


def test_a_case_that_was_never_timed_counts_too(tmp_path: Path) -> None:
    """Another voice, or another length, is reached by cases alone."""
    found = asked(
        held(tmp_path, Arms(candidate=changed(0.05, lambda request: request[1] == "two")), blocks=1)
    )
    assert found.code == 3

    def shorter(text: str, voice: str, seed: int) -> Samples:
        return wave(text, voice, seed)[: -100 if "kitchen" in text else None]

    found = asked(held(tmp_path, Arms(candidate=shorter), blocks=1))
    assert (found.outcome, found.code) == ("OUTPUT CHANGED", 3)
    assert "kitchen (another length)" in found.sentence


def test_nan_or_another_length_in_a_timed_answer_is_a_fault_whatever_is_claimed(tmp_path: Path) -> None:
    """Of the requests that no judge hears, too; nobody can accept them."""

    def nan(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        if seed == 2:
            samples[1000:1100] = np.nan
        return samples

    def longer(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        return np.tile(samples, 2)[: int(1.1 * samples.size)] if seed == 2 else samples

    for answer, said in ((nan, "NaN or infinity"), (longer, "+10.0% of the base's length")):
        for claim in ("same options", "lossy"):
            found = asked(held(tmp_path, Arms(candidate=answer), blocks=1), claim, accepted=True)  # type: ignore[arg-type]
            assert (found.outcome, found.code) == ("FAULT", 1)
            assert f"short seed 2 ({said})" in found.sentence


def test_waves_that_nobody_kept_are_not_taken_for_the_same(tmp_path: Path) -> None:
    """Other bytes and no wave: how far they are apart cannot be said, so it is no rounding."""
    run = held(tmp_path, Arms(candidate=changed(1e-4)), blocks=1)
    assert run.quality is not None
    (one, *others) = run.quality.timed
    lost = one.model_copy(update={"mel_l2": None, "trouble": "not kept"})
    quality = run.quality.model_copy(update={"timed": (lost, *others)})
    found = asked(run.model_copy(update={"quality": quality}))
    assert (found.outcome, found.code) == ("OUTPUT CHANGED", 3)
    assert "(not kept)" in found.sentence
