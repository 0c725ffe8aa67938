"""An engine that needs no model: what it says follows from the words, and it can be held and broken."""

from __future__ import annotations

import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.audio import Audio, Timings
from engine.errors import TextError
from engine.evidence import Evidence
from engine.options import Options
from engine.reference import Voice
from engine.requests import pick

TONE = np.sin(np.arange(24_000) / 10).astype(np.float32)
VOICES = {
    "ann": Voice(TONE, "Ann says this.", 24_000),
    "bob": Voice(TONE[::-1].copy(), "Bob says this.", 24_000),
}


def audio(words: str, voice: Any, warnings: tuple[str, ...] = ()) -> Audio:
    """Samples that tell which words in which voice they are."""
    name = next((known for known, one in VOICES.items() if one is voice), voice) or "ann"
    numbers = np.frombuffer(f"{name}:{words}".encode(), np.uint8)
    samples = np.repeat(numbers.astype(np.float32) / 512, 100)
    return Audio(
        samples, 24_000, Timings(0.0, 0.0, 0.01, 0.0, 0.01), np.zeros((1, 100), np.float32), warnings
    )


class FakeEngine:
    """Speaks at once, unless `hold` is taken; texts without letters are refused, `boom` is a bug."""

    def __init__(self) -> None:
        self.options = Options(hoist=True)
        self.device = "cpu"
        self.checkpoint = types.SimpleNamespace(name="fake", languages=("en",), references=VOICES)
        self.batches: list[list[str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.entered = threading.Semaphore(0)
        self.memory: int | None = None
        self.closed = False

    def synthesize(
        self, words: str, voice: Any, *, progress: Callable[[Any], None] | None = None, **_: Any
    ) -> Audio:
        """Say the words."""
        self._enter([words])
        if progress is not None:
            progress(None)
        return self._say(words, voice)

    def synthesize_batch(self, requests: list[Any]) -> list[Audio]:
        """Say several."""
        self._enter([request.words for request in requests])
        warnings = ()
        if self.memory is not None and len(requests) > self.memory:
            warnings = (f"out of memory for a batch of {len(requests)}: sampled in halves",)
        spoken = [self._say(request.words, request.voice) for request in requests]
        return [Audio(one.samples, 24_000, one.timings, one.mel, warnings) for one in spoken]

    def stream(
        self, words: str, voice: Any, *, progress: Callable[[Any], None] | None = None, **_: Any
    ) -> Iterator[Audio]:
        """Say the words one by one."""
        self._say(words, voice)

        def pieces() -> Iterator[Audio]:
            for word in words.split():
                self._enter([word])
                if progress is not None:
                    progress(None)
                yield self._say(word, voice)

        return pieces()

    def evidence(self) -> dict[str, Evidence]:
        """Of one toggle."""
        return {"hoist": Evidence(True, "seen")}

    def counts(self) -> Counter[str]:
        """Nothing was counted but two hits."""
        return Counter({"cache hits": 2})

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _enter(self, words: list[str]) -> None:
        self.batches.append(words)
        self.entered.release()
        assert self.hold.wait(30)

    def _say(self, words: str, voice: Any) -> Audio:
        if "boom" in words:
            raise RuntimeError("/secret/path is broken")
        pick(VOICES, voice)
        if not any(map(str.isalnum, words)):
            raise TextError(f"text {words!r} with no letter", "words", "Send some")
        return audio(words, voice)
