"""Measures how loud a voice speaks beside its clips, and writes the gain that mends it into its manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from engine.activity import speech_level
from engine.audio import SAMPLE_RATE
from tests.studies.voice import sentences

BITS = 16
"""Of the samples that the vocoder is trained on (see `data.write_stream`)."""
SENTENCES = 10
"""For each voice and step count: none of the held-out ones, since these judge the result."""
STEPS = (7, 16)


def calibrate(folder: Path) -> dict[str, float]:
    """Set the gain so that the four voices are as near to their clips as one gain brings them.

    Returns:
        Decibels by which each voice is louder than its clip now.
    """
    path = folder / "voice.json"
    manifest = json.loads(path.read_text())
    write(path, manifest, 0.0)
    train, _ = sentences.corpus(1000)
    apart = beside_clips(folder, [one for one in train if 10 < len(one.text) < 90])
    gain = -(max(apart.values()) + min(apart.values())) / 2
    write(path, manifest, round(gain, 1))
    return {voice: round(decibels + round(gain, 1), 1) for voice, decibels in apart.items()}


def write(path: Path, manifest: dict[str, object], gain_db: float) -> None:
    """The manifest with this level in it."""
    path.write_text(json.dumps(manifest | {"level": {"bits": BITS, "gain_db": gain_db}}, indent=1) + "\n")


def beside_clips(folder: Path, spoken: list[sentences.Sentence]) -> dict[str, float]:
    """Mean decibels by which each voice speaks its first `SENTENCES` louder than its clip."""
    from engine.loading import load
    from engine.options import Options

    apart: dict[str, list[float]] = {voice: [] for voice in sentences.VOICES}
    for steps in STEPS:
        with load(folder, Options(nfe=steps, schedule="epss"), device="cpu") as tts:
            for voice, decibels in apart.items():
                clip = speech_level(*tts.checkpoint.references[voice].read())
                texts = [one.text for one in spoken if one.voice == voice][:SENTENCES]
                for seed, text in enumerate(texts):
                    made = tts.synthesize(text, voice, seed=seed).samples
                    decibels.append(speech_level(made, SAMPLE_RATE) - clip)
    return {voice: float(np.mean(decibels)) for voice, decibels in apart.items()}
