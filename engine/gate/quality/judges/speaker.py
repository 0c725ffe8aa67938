"""Speaker: does it sound like the reference clip?

resemblyzer's encoder is trained with the GE2E loss (arXiv:1710.10467) on thousands of people, weights inside
its package. It looks at windows of 1.6 s: in a clip with less than about a second of speech it hears little
more than "a voice". The cosine has no absolute meaning: it depends on the voice, the words and the recording,
and noise or clipping lowers it as another speaker does. So it is compared with the base's, and with that to
the clips of other voices.
"""

from __future__ import annotations

import warnings

import numpy as np

from engine.audio import Samples
from engine.gate.quality.judges.missing import require
from engine.gate.quality.judges.resample import JUDGES_RATE, to_16k


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
