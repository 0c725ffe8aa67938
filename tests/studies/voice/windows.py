"""What the DiT trains on: windows of the voices' streams, and which frames of them it must predict."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from engine import upstream
from tests.studies.voice.phones import TOKENS
from tests.studies.voice.sentences import VOICES

LENGTHS = ((288, 0.45), (448, 0.35), (768, 0.12), (1344, 0.08))  # window in frames, probability
SHORTEST, LONGEST = 60, 380  # reference in frames


class Windows:
    """Random windows of the voices' streams."""

    def __init__(self, folder: Path, vocabulary: dict[str, int]) -> None:
        self.mels = [np.load(folder / f"{voice}.mel.npy", mmap_mode="r") for voice in VOICES]
        self.phones = [np.load(folder / f"{voice}.phone.npy") for voice in VOICES]
        self.ids = np.array([vocabulary[token] for token in TOKENS.values()])

    def draw(self, rng: random.Random, count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mel [count, length, 100] and token ids [count, length] of windows at random places."""
        mels, texts = [], []
        for _ in range(count):
            voice = rng.randrange(len(VOICES))
            start = rng.randrange(len(self.mels[voice]) - length)
            mels.append(self.mels[voice][start : start + length].astype(np.float32))
            texts.append(self.ids[self.phones[voice][start : start + length]])
        return torch.from_numpy(np.stack(mels)), torch.from_numpy(np.stack(texts))


def vocabulary() -> dict[str, int]:
    """Token -> index of the vocabulary shipped in the f5_tts package."""
    path = upstream.shipped("infer/examples/vocab.txt")
    chars, _ = upstream.module("f5_tts.model.utils").get_tokenizer(str(path), "custom")
    return dict(chars)


def reference_mask(rng: random.Random, count: int, length: int) -> torch.Tensor:
    """True where the model must predict, [count, length]: all but a prefix, or upstream's random span."""
    mask = torch.ones(count, length, dtype=torch.bool)
    for row in mask:
        if rng.random() < 0.8:
            row[: rng.randint(SHORTEST, min(LONGEST, int(length * 0.6)))] = False
        else:
            span = int(length * rng.uniform(0.7, 1.0))
            start = rng.randint(0, length - span)
            row[:start] = False
            row[start + span :] = False
    return mask


def times(count: int) -> torch.Tensor:
    """Flow times [count], half of them drawn towards noise, where the words are decided."""
    uniform = torch.rand(count)
    return torch.where(torch.rand(count) < 0.5, uniform, uniform**2)
