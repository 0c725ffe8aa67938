"""The reference cache: keyed by content, bounded, safe from several threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.evidence import Observations
from engine.optimizations import reference_cache
from engine.options import Options
from engine.reference import Voice
from tests.unit.parts import parts

ON = Options(reference_cache=True)
RATE = 16_000


SIZE = 1000


class Made:
    """Stands in for a conditioned clip of `SIZE` bytes."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.mel = np.zeros(SIZE, np.uint8)


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> int:
    """Room for 16 clips."""
    monkeypatch.setattr(reference_cache, "CAPACITY", 16 * SIZE + SIZE // 2)
    return 16


class Preparing:
    """Stands in for conditioning: counts its calls and hands out what it read."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, voice: Voice) -> Any:
        self.calls += 1
        return Made(voice.digest())


@pytest.fixture
def preparing() -> Preparing:
    """A fresh counter."""
    return Preparing()


def samples(value: float) -> Any:
    """A clip that no other value shares."""
    return np.full(RATE, value, np.float32)


def cached(preparing: Preparing, observed: Observations | None = None) -> Any:
    """The counter behind a cache."""
    return reference_cache.apply(parts(prepare=preparing), ON, observed or Observations()).prepare


def test_off_hands_back_the_function_itself(preparing: Preparing) -> None:
    """Off means untouched."""
    observed = Observations()
    whole = parts(prepare=preparing)
    assert reference_cache.apply(whole, Options(), observed) is whole
    assert not observed.counts


def test_the_same_content_under_another_identity_hits(preparing: Preparing) -> None:
    """A copy of the samples in another array, and another Voice, are the same clip."""
    lookup = cached(preparing)
    first = lookup(Voice(samples(0.1), "words", RATE))
    assert lookup(Voice(samples(0.1).copy(), "words", RATE)) is first
    assert preparing.calls == 1


@pytest.mark.parametrize("other", [("words", 0.2, RATE), ("other", 0.1, RATE), ("words", 0.1, 24_000)])
def test_other_content_words_or_rate_miss(preparing: Preparing, other: tuple[str, float, int]) -> None:
    """Anything that changes the conditioning is part of the key."""
    lookup = cached(preparing)
    first = lookup(Voice(samples(0.1), "words", RATE))
    assert lookup(Voice(samples(other[1]), other[0], other[2])) is not first
    assert preparing.calls == 2


def test_samples_changed_in_place_miss(preparing: Preparing) -> None:
    """The array has the same address and another voice in it."""
    lookup, clip = cached(preparing), samples(0.1)
    first = lookup(Voice(clip, "words", RATE))
    clip[:] = 0.2
    assert lookup(Voice(clip, "words", RATE)) is not first


def test_a_path_overwritten_with_another_clip_misses(preparing: Preparing, tmp_path: Path) -> None:
    """The stale cache: same path, same length, other content."""
    path = tmp_path / "clip.wav"
    lookup, voice = cached(preparing), Voice(path, "words")
    path.write_bytes(b"one")
    first = lookup(voice)
    path.write_bytes(b"two")
    second = lookup(voice)
    assert second.digest == voice.digest() != first.digest
    path.write_bytes(b"one")
    assert lookup(voice) is first


def test_a_clip_replaced_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    """Key and conditioning would belong to different files, and the wrong voice would stay."""
    path = tmp_path / "clip.wav"
    path.write_bytes(b"one")
    voice = Voice(path, "words")

    replaced: list[int] = []

    def racing(asked: Voice) -> Any:
        if not replaced:
            replaced.append(path.write_bytes(b"two"))
        return Made(asked.digest())

    lookup = reference_cache.Cached(racing, Observations())
    lookup(voice)
    path.write_bytes(b"one")
    assert lookup(voice).digest == voice.digest()


def test_the_least_recently_used_goes_first(preparing: Preparing, sixteen: int) -> None:
    """Full, the cache drops what nobody asked for longest, and holds no more bytes than its bound."""
    observed = Observations()
    lookup = cached(preparing, observed)
    voices = [Voice(samples(0.1 + i / 100), "words", RATE) for i in range(sixteen + 1)]
    for voice in voices[:-1]:
        lookup(voice)
    lookup(voices[0])  # used again: voices[1] is now the oldest
    lookup(voices[-1])
    calls = preparing.calls
    lookup(voices[0])
    assert preparing.calls == calls
    lookup(voices[1])
    assert preparing.calls == calls + 1
    assert (observed.counts["cache clips"], observed.counts["cache bytes"]) == (sixteen, sixteen * SIZE)


def test_a_clip_larger_than_the_cache_is_used_and_not_kept(
    preparing: Preparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would push everything out and still not fit."""
    monkeypatch.setattr(reference_cache, "CAPACITY", SIZE - 1)
    observed = Observations()
    lookup = cached(preparing, observed)
    assert lookup(Voice(samples(0.1), "words", RATE)).mel.nbytes == SIZE
    assert (observed.counts["cache clips"], observed.counts["cache bytes"]) == (0, 0)


def test_threads_get_their_own_voices(sixteen: int) -> None:
    """Many voices asked for at once, more than fit: each caller gets its own."""
    prepare: Any = lambda voice: Made(voice.digest())  # noqa: E731
    lookup = reference_cache.Cached(prepare, Observations())
    voices = [Voice(samples(0.1 + i / 100), "words", RATE) for i in range(sixteen + 8)]
    barrier = threading.Barrier(8)

    def work(start: int) -> bool:
        barrier.wait()
        order = voices[start:] + voices[:start]
        return all(lookup(voice).digest == voice.digest() for voice in order * 3)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_the_proof_needs_a_hit_and_no_request_that_went_past() -> None:
    """Nothing asked: unknown. Misses alone: unknown. A hit: proven. A request that never came by:
    disproven."""
    observed = Observations()
    verdicts = [reference_cache.evidence(ON, observed).proven]
    lookup = reference_cache.Cached(Preparing(), observed)
    for _ in range(2):
        lookup(Voice(samples(0.1), "words", RATE))
        observed.add("requests")
        verdicts.append(reference_cache.evidence(ON, observed).proven)
    observed.add("requests")
    verdicts.append(reference_cache.evidence(ON, observed).proven)
    assert verdicts == [None, None, True, False]


def test_a_clip_that_could_not_be_prepared_does_not_spoil_the_proof(preparing: Preparing) -> None:
    """A bad request is no request that went past the cache."""
    observed = Observations()

    def fails(voice: Voice) -> Any:
        if voice.text == "bad":
            raise ValueError(voice.text)
        return preparing(voice)

    lookup = reference_cache.Cached(fails, observed)
    with pytest.raises(ValueError, match="bad"):
        lookup(Voice(samples(0.1), "bad", RATE))
    for _ in range(2):
        lookup(Voice(samples(0.1), "words", RATE))
        observed.add("requests")
    assert reference_cache.evidence(ON, observed).proven is True


def test_off_is_disproven_by_any_lookup() -> None:
    """Off and yet seen at work is a fault as well."""
    observed = Observations()
    assert reference_cache.evidence(Options(), observed).proven is True
    observed.add("cache hits")
    assert reference_cache.evidence(Options(), observed).proven is False


def test_a_key_that_two_clips_share_is_seen_and_gives_nobody_the_wrong_voice(
    preparing: Preparing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault that left the proof true: a constant key hits always."""
    monkeypatch.setattr(Voice, "digest", lambda self: "the same")
    observed = Observations()
    lookup = cached(preparing, observed)
    voices = [Voice(samples(0.1), "words", RATE), Voice(samples(0.2), "words", RATE)]
    first = lookup(voices[0])
    assert lookup(voices[0]) is first
    assert lookup(voices[1]) is not first
    observed.add("requests", 3)
    assert reference_cache.evidence(ON, observed).proven is False
