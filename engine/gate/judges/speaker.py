"""Speaker: does it sound like the reference clip?

resemblyzer's encoder is trained with the GE2E loss (arXiv:1710.10467) on recordings of about 1,000 to 8,000
people, weights inside the package. It looks at windows of 1.6 s: from a clip with less than about a second of
speech it hears little more than "a voice", and similarities between different people then reach 0.8. Two
clips of one speaker give about 0.8 to 0.95; noise and clipping lower it as a different speaker does.
"""

from __future__ import annotations

import warnings

import numpy as np

from engine.audio import Samples
from engine.gate.judges.missing import require
from engine.gate.judges.resample import JUDGES_RATE, to_16k

SHORTEST_SECONDS = 1.0
"""Speech below this length tells voices apart badly."""


class Speaker:
    """resemblyzer's voice encoder (GE2E, arXiv:1710.10467), on the CPU, which any machine has to itself.

    Raises:
        MissingJudge: resemblyzer, or `pkg_resources` that its webrtcvad needs, is not installed.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():  # of its own deprecated imports
            warnings.simplefilter("ignore")
            self._package = require("speaker", "resemblyzer")
        self._encoder = self._package.VoiceEncoder("cpu", verbose=False)

    def embed(self, samples: Samples) -> Samples:
        """Unit vector float32 [256] of samples [n] at 24 kHz; long pauses are cut, and soft speech raised."""
        low = to_16k(samples)
        speech = self._package.preprocess_wav(low, JUDGES_RATE) if low.any() else low
        return np.asarray(self._encoder.embed_utterance(speech if len(speech) else low), np.float32)

    def similarity(self, one: Samples, other: Samples) -> float:
        """Cosine of the embeddings of two waves [n] at 24 kHz: 1 is the same voice."""
        return cosine(self.embed(one), self.embed(other))


def cosine(one: Samples, other: Samples) -> float:
    """Cosine of two unit vectors [d]."""
    return float(np.clip(np.dot(one, other), -1.0, 1.0))
