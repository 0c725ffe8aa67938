"""A trimmed reference clip: shorter sequences, the same voice's beginning, and proof of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine import Engine, Voice, upstream
from engine.checkpoint import EXAMPLE_CLIP
from engine.errors import ReferenceClipError
from engine.optimizations import reference_seconds

WORDS = "Hello there, chat!"


@pytest.fixture(scope="module")
def example() -> Voice:
    """The whole clip that ships with f5-tts: five seconds, a comma and a pause in the middle."""
    return Voice(upstream.shipped(EXAMPLE_CLIP[0]), EXAMPLE_CLIP[1])


def test_a_long_clip_is_conditioned_on_up_to_its_pause(tiny: Callable[..., Engine], example: Voice) -> None:
    """Fewer frames to sample, as long a text as by hand, and the proof says what was cut; cached as well."""
    one = tiny(reference_seconds=3.0, reference_cache=True)
    trimmed = [one.synthesize(WORDS, example) for _ in range(2)][1]
    samples, rate = example.read()
    by_hand = Voice(samples[: int(2.4 * rate)], "Some call me nature", rate)
    expected = tiny().synthesize(WORDS, by_hand)
    assert trimmed.seconds == pytest.approx(expected.seconds, rel=0.1)
    assert max(batch.longest for batch in one._seen.batches) < 600
    assert {proof.proven for proof in one.evidence().values()} == {True}
    assert one.evidence()["reference_seconds"].observed.startswith("1 clips cut")


def test_a_clip_that_fits_gives_the_same_bytes(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice
) -> None:
    """On, and nothing to do."""
    one = tiny(reference_seconds=3.0)
    assert one.synthesize(WORDS, voice).samples.tobytes() == engine.synthesize(WORDS, voice).samples.tobytes()
    assert one.evidence()["reference_seconds"].proven is None


def test_without_its_work_it_is_disproven(
    tiny: Callable[..., Engine], example: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole clip was conditioned on: an observation, whatever the options say."""
    monkeypatch.setattr(reference_seconds, "apply", lambda parts, *_: parts)
    one = tiny(reference_seconds=3.0)
    one.synthesize(WORDS, example)
    assert one.evidence()["reference_seconds"].proven is False


def test_a_clip_that_cannot_be_cut_is_refused(tiny: Callable[..., Engine], example: Voice) -> None:
    """By the request, in words that name the option."""
    with pytest.raises(ReferenceClipError, match="reference_seconds"):
        tiny(reference_seconds=1.5).synthesize(WORDS, example)
