"""The voice in the box as it is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint, durations, upstream
from engine.files import sha256
from tests.studies.voice import card

BOX = Path(checkpoint.__file__).parent / "voices" / "box"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """voice.json of the box."""
    return dict(json.loads((BOX / "voice.json").read_text()))


def test_every_file_is_the_one_the_manifest_names(manifest: dict[str, Any]) -> None:
    """Checksums and sizes of all parts hold, and weights and vocoder together stay under 20 MB."""
    for name, entry in manifest["files"].items():
        assert sha256(BOX / name) == entry["sha256"], name
        assert (BOX / name).stat().st_size == entry["bytes"], name
    weights = [
        entry["bytes"] for name, entry in manifest["files"].items() if name.endswith((".safetensors", ".bin"))
    ]
    assert len(weights) == 2
    assert sum(weights) < 20e6
    assert (BOX / "durations.json").stat().st_size < 500_000


def test_reference_clips_fit_their_transcripts(manifest: dict[str, Any]) -> None:
    """Each clip is 24 kHz mono of 1.5 to 2.5 seconds, as long as the tables expect, within a quarter."""
    import soundfile

    table = durations.load(BOX / manifest["durations"])
    for entry in manifest["references"].values():
        samples, rate = soundfile.read(BOX / entry["file"])
        assert (rate, samples.ndim) == (24_000, 1)
        assert 1.5 <= len(samples) / rate <= 2.5
        assert len(samples) / 256 == pytest.approx(len(table.expand(list(entry["text"]))), rel=0.25)


def test_upstream_opens_the_weights_as_they_are(manifest: dict[str, Any]) -> None:
    """Every parameter of upstream's classes is in the files, under its own name and nothing else is."""
    import torch
    import yaml
    from safetensors.torch import load_file

    model = yaml.safe_load((BOX / "config.yaml").read_text())["model"]
    vocabulary = upstream.shipped("infer/examples/vocab.txt")
    cfm = upstream.build_model(model["arch"], model["backbone"], vocabulary)
    weights = load_file(BOX / "model.safetensors")
    assert all(name.startswith("ema_model.") for name in weights)
    cfm.load_state_dict({name.removeprefix("ema_model."): value for name, value in weights.items()})
    vocos = upstream.build_vocoder(BOX / "vocos" / "config.yaml")
    vocos.load_state_dict(torch.load(BOX / "vocos" / "pytorch_model.bin", weights_only=True))
    total = sum(param.numel() for part in (cfm, vocos) for param in part.parameters())
    assert total <= manifest["params"] < 1.02 * total


def test_every_phone_of_the_tables_is_in_the_vocabulary(manifest: dict[str, Any]) -> None:
    """No token that the text front end can give is unknown to the model."""
    table = durations.load(BOX / manifest["durations"])
    vocabulary = set(upstream.shipped("infer/examples/vocab.txt").read_text(encoding="utf-8").split("\n"))
    said = set("".join((*table.words.values(), *table.letters.values(), *table.names.values())))
    assert said <= vocabulary
    assert "" in table.frames  # the last resort for any phone


def test_chat_is_pronounced(manifest: dict[str, Any]) -> None:
    """Typical messages come out of the shipped tables as they are spoken."""
    for text, said in (
        ("Thanks for watching!", ".θæŋksfɔɹwɑčɪŋ."),
        ("GG everyone.", ".JiJiɛvɹiwʌn."),
        ("See you, next time", ".siju,nɛksttIm."),
    ):
        assert durations.load(BOX / manifest["durations"]).phones(list(text)) == said


def test_the_card_states_the_scores() -> None:
    """The table and the verdicts of the card are the ones that the scores give."""
    scores = json.loads((BOX / "scores.json").read_text())
    text = (BOX / "CARD.md").read_text(encoding="utf-8")
    assert card.verdict(scores) in text
    assert card.table(scores) in text
