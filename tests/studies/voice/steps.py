"""The steps of the recipe; each leaves alone what an earlier run has finished."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.studies.voice import card, fit_durations
from tests.studies.voice.sentences import VOICES


def data(work: Path, sentences: int) -> None:
    """Speak the sentences and fit the front end."""
    from tests.studies.voice.data import build

    if not (work / "references" / "index.json").is_file():  # written last
        build(work, sentences)
    if not (work / "durations.json").is_file():
        fit_durations.fit(work / "data", work / "durations.json")


def dit(work: Path, minutes: float, init: Path | None) -> None:
    """Train the DiT, or go on training it."""
    import torch

    from tests.studies.voice.train import Settings, train

    settings = Settings(minutes=minutes)
    if torch.cuda.is_available():  # one rank, larger batches
        settings = replace(settings, device="cuda", workers=1, batch_frames=16_000)
    train(work, settings, init)


def vocos(work: Path, minutes: float) -> None:
    """Train the Vocos, or go on training it."""
    import torch

    from tests.studies.voice.vocoder import train_vocoder

    train_vocoder(work, minutes, "cuda" if torch.cuda.is_available() else "cpu")


def publish(work: Path, out: Path) -> None:
    """Write the voice folder."""
    from tests.studies.voice import levels
    from tests.studies.voice.export import export

    export(work, out)
    levels.calibrate(out)


def judge(work: Path, out: Path) -> None:
    """Score the voice and write its card."""
    import torch

    from tests.studies.voice.evaluate import evaluate
    from tests.studies.voice.train import Settings

    evaluate(work, out)
    progress = torch.load(work / "train.pt", map_location="cpu", weights_only=False)["progress"]
    clips = sum(len(json.loads((work / "data" / f"{voice}.json").read_text())) for voice in VOICES)
    card.write_card(out, {"steps": progress["step"], "batch": Settings.batch_frames, "clips": clips})
