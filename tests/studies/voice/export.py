"""Writes the voice folder: weights in upstream's formats, tables, reference clips, manifest, model card."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tests.studies.voice import fit_durations, sentences
from tests.studies.voice.train import ARCH
from tests.studies.voice.vocoder import CONFIG

MEL_SPEC = {
    "target_sample_rate": 24_000, "n_mel_channels": 100, "hop_length": 256, "win_length": 1024, "n_fft": 1024,
    "mel_spec_type": "vocos",
}  # fmt: skip
LICENCE = "MIT"
PARTS = ("config.yaml", "model.safetensors", "vocos/config.yaml", "vocos/pytorch_model.bin", "durations.json")


def export(work: Path, folder: Path) -> None:
    """Write everything but the scores from the checkpoints in `work`."""
    import torch
    import yaml
    from safetensors.torch import save_file

    (folder / "vocos").mkdir(parents=True, exist_ok=True)
    average = torch.load(work / "train.pt", map_location="cpu", weights_only=False)["average"]
    # The rotary frequencies stay fp32: rounded, they are wrong angles late in a sequence.
    tensors = {
        f"ema_model.transformer.{name}": (value if "inv_freq" in name else value.half()).contiguous().clone()
        for name, value in average.items()
    }
    save_file(tensors, folder / "model.safetensors")
    vocos = torch.load(work / "vocos.pt", map_location="cpu", weights_only=False)["vocos"]
    half = {name: value if "feature_extractor" in name else value.half() for name, value in vocos.items()}
    torch.save(half, folder / "vocos" / "pytorch_model.bin")
    (folder / "vocos" / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model_config()}, sort_keys=False))
    if not (work / "durations.json").is_file():
        fit_durations.fit(work / "data", work / "durations.json")
    shutil.copy(work / "durations.json", folder / "durations.json")
    write_manifest(work, folder, sum(value.numel() for value in [*average.values(), *vocos.values()]))


def model_config() -> dict[str, Any]:
    """The model part of the configuration, in the shape of upstream's configs."""
    arch = ARCH | {"text_embedding_average_upsampling": True}
    return {
        "name": "box",
        "tokenizer": "custom",
        "tokenizer_path": None,
        "backbone": "DiT",
        "arch": arch,
        "mel_spec": MEL_SPEC,
    }


def write_manifest(work: Path, folder: Path, params: int) -> None:
    """Copy the reference clips and write voice.json."""
    references = {}
    for entry in json.loads((work / "references" / "index.json").read_text()):
        name = f"references/{entry['voice']}.wav"
        (folder / "references").mkdir(exist_ok=True)
        shutil.copy(work / "references" / entry["file"], folder / name)
        references[entry["voice"]] = {"file": name, "text": entry["text"]}
    names = [*PARTS, *(entry["file"] for entry in references.values())]
    manifest = {
        "name": "box",
        "title": "The voice in the box: a small English demonstration voice",
        "languages": ["en"],
        "reading": "chat",
        "max_seconds": 14,  # the longest window of the training is 1,344 frames
        "sample_rate": 24_000,
        "trained": True,
        "params": params,
        "licence": LICENCE,
        "durations": "durations.json",
        "references": references,
        "default_reference": sentences.VOICES[0],
        "files": {name: fingerprint(folder / name) for name in names},
    }
    (folder / "voice.json").write_text(json.dumps(manifest, indent=1) + "\n")


def fingerprint(path: Path) -> dict[str, str | int]:
    """SHA-256 and size of a file."""
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
