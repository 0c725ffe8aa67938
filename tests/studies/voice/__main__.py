"""`python -m tests.studies.voice STEP --work DIR`.

Makes the data, trains, exports and evaluates the voice in the box.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from engine.checkpoint import VOICES
from tests.studies.voice import steps

HERE = VOICES / "box"
app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Work = Annotated[
    Path, typer.Option(help="Folder for data and checkpoints; a run that stopped goes on from there.")
]
Out = Annotated[Path, typer.Option(help="Voice folder to write.")]
Minutes = Annotated[
    float, typer.Option(help="Time budget of the training; the learning rate reaches zero at its end.")
]
Init = Annotated[Path | None, typer.Option(help="model.safetensors to start from instead of noise.")]
Sentences = Annotated[int, typer.Option(help="Number of training sentences.")]


@app.callback()
def main() -> None:
    """Trains the voice in the box."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@app.command()
def data(work: Work, sentences: Sentences = 16_000) -> None:
    """Speak the sentences with flite and fit the text front end."""
    steps.data(work, sentences)


@app.command()
def train(work: Work, minutes: Minutes = 180.0, init: Init = None) -> None:
    """Train the DiT."""
    steps.dit(work, minutes, init)


@app.command()
def vocoder(work: Work, minutes: Minutes = 40.0) -> None:
    """Train the Vocos."""
    steps.vocos(work, minutes)


@app.command()
def export(work: Work, out: Out = HERE) -> None:
    """Write the voice folder from the checkpoints."""
    steps.publish(work, out)


@app.command()
def evaluate(work: Work, out: Out = HERE) -> None:
    """Score the voice on the held-out sentences and write its card."""
    steps.judge(work, out)


@app.command(name="all")
def everything(work: Work, minutes: Minutes = 240.0, out: Out = HERE, init: Init = None) -> None:
    """All of it: an eighth of the time trains the vocoder, the rest the DiT."""
    steps.data(work, 16_000)
    steps.dit(work, minutes * 7 / 8, init)
    steps.vocos(work, minutes / 8)
    steps.publish(work, out)
    steps.judge(work, out)


if __name__ == "__main__":
    app()
