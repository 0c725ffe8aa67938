"""Open weight files: read them, fit them into a module, tell them apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError


def state_dict(path: Path) -> dict[str, Any]:
    """Tensors of a checkpoint by upstream's parameter names, read on the CPU.

    Both published formats: safetensors, and `.pt` read with `weights_only=True`. The `ema_model.` prefix and
    the bookkeeping of the averaging are removed, and so are mel buffers of early checkpoints (upstream's
    `load_checkpoint`).

    Raises:
        CheckpointError: truncated, not a checkpoint, or a file that would run code.
    """
    import pickle
    import struct

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    # Besides its own error the unpickler raises whatever a damaged stream leads it to.
    stream = (pickle.UnpicklingError, struct.error, EOFError, OSError, RuntimeError, AssertionError)
    content = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    try:
        if path.suffix == ".safetensors":
            raw = load_file(str(path))
        else:
            raw = torch.load(path, map_location="cpu", weights_only=True)
            raw = raw.get("ema_model_state_dict", raw.get("model_state_dict", raw))
        tensors = {name.removeprefix("ema_model."): value for name, value in raw.items()}
    except (SafetensorError, *stream, *content) as error:
        raise CheckpointError(
            f"weights {path} ({str(error)[:120].splitlines()[:1]})",
            "a whole safetensors or .pt checkpoint",
            "Download it again",
        ) from error
    skipped = ("initted", "step", "mel_spec.mel_stft.mel_scale.fb", "mel_spec.mel_stft.spectrogram.window")
    return {name: value for name, value in tensors.items() if name not in skipped}


def load_weights(module: Any, path: Path) -> None:
    """Copy the tensors of a checkpoint into `module`: every parameter, none left over.

    Raises:
        CheckpointError: the file cannot be read, or names or shapes differ, so that it belongs to another
            architecture.
    """
    tensors = state_dict(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise CheckpointError(
            f"weights {path} for another architecture ({' '.join(lines)[:300]})",
            f"the parameters of {type(module).__name__} as configured",
            "Use the configuration that came with these weights",
        ) from error


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
