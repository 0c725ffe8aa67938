"""Assets -> Engine: find the checkpoint, build upstream's modules, apply the toggles in order."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine import durations, proofs, reference, sampler, upstream
from engine.errors import CheckpointError, DeviceError
from engine.evidence import Observations, Proof
from engine.optimizations import (
    Parts,
    attention,
    batch,
    buckets,
    compile,
    first_piece,
    hoist,
    int8,
    precision,
    reference_cache,
    reference_seconds,
    vocoder_backend,
    vocoder_precision,
)  # fmt: skip
from engine.options import Options
from engine.pieces import ROOM_SECONDS
from engine.synthesis import Engine
from engine.vocoder import VocosVocoder

STEPS = (
    precision,
    int8,
    vocoder_precision,
    buckets,
    batch,
    vocoder_backend,  # what runs elsewhere is the network as it was loaded, not as it is compiled
    compile,  # fixes the number formats
    hoist,  # works out, with the weights as they are by now, what no request can change
    attention,
    reference_seconds,
    reference_cache,
    first_piece,
)
"""The optimisations, in the order in which they are applied."""

PROOFS: Mapping[str, Proof] = {
    **{step.__name__.rpartition(".")[2]: step.evidence for step in STEPS},
    **proofs.PROOFS,
}
"""The evidence of each option, by its name."""


def load(
    checkpoint: str | Path = checkpoints.DEFAULT_CHECKPOINT,
    options: Options | None = None,
    *,
    device: str | None = None,
    vocoder: str | Path | None = None,
) -> Engine:
    """Load a model and apply the toggles.

    Args:
        checkpoint: a name (`engine.checkpoint.known()`), a folder, or a weight file beside its `config.yaml`.
        options: the toggles; the default is upstream's own behaviour.
        device: `cpu`, `cuda` or `cuda:1`; by default CUDA where torch sees it.
        vocoder: a folder with a Vocos, where it does not come with the checkpoint.

    Raises:
        CheckpointError: weights, vocabulary, configuration or vocoder are missing, corrupt or foreign.
        OfflineError: a published model has to be fetched and the hub cannot be reached.
        DeviceError: no such device, or it cannot do what an option asks.
        OptionsError: an option that this device cannot serve.
        UpstreamError: f5-tts or vocos is missing.
    """
    options = options if options is not None else Options()
    target = _device(device)
    for step in STEPS:
        if hasattr(step, "check_device"):
            step.check_device(options, target)
    found = checkpoints.find(checkpoint, vocoder=vocoder)
    model, vocos = build(found)
    return assemble(found, model.to(target), vocos.to(target), options, target)


def build(found: checkpoints.Checkpoint) -> tuple[Any, Any]:
    """Upstream's model and vocoder with the weights of a checkpoint, on the CPU and as yet untouched.

    Raises:
        CheckpointError: weights that are corrupt or of another architecture.
        UpstreamError: f5-tts or vocos is missing.
    """
    model = upstream.build_model(found.arch, found.backbone, found.vocabulary)
    load_weights(model, found.weights)
    vocos = upstream.build_vocoder(found.vocoder / "config.yaml")
    load_weights(vocos, found.vocoder / "pytorch_model.bin")
    return model.eval(), vocos.eval()


def assemble(found: checkpoints.Checkpoint, model: Any, vocos: Any, options: Options, device: str) -> Engine:
    """Apply every toggle to upstream's modules, in the one order there is, and hand them to an engine."""
    seen = Observations()
    # Upstream makes its per-thread store on first use; two first users would each lose the other's text.
    model.transformer.clear_cache()
    table = durations.load(found.durations) if found.durations else None
    longest = found.max_seconds - ROOM_SECONDS
    parts = Parts(
        checkpoint=found,
        device=device,
        model=model,
        vocos=vocos,
        backbone=sampler.plain(model.transformer),
        vocoder=VocosVocoder(vocos, seen),
        prepare=functools.partial(
            condition, mel_spec=model.mel_spec, device=device, longest=longest, table=table
        ),
        durations=table,
    )
    for step in STEPS:
        parts = step.apply(parts, options, seen)
    return Engine(parts, options, seen, PROOFS)


def condition(
    voice: reference.Voice, *, mel_spec: Any, device: str, longest: float, table: durations.Durations | None
) -> reference.Reference:
    """A conditioned clip; one that would leave no room to speak is cut at a silence, with its words.

    Raises:
        ReferenceClipError: the clip cannot be used, or is longer than `longest` seconds and has no such
            silence.
    """
    whole = reference.condition(voice, mel_spec, device)
    if whole.seconds <= longest + reference.TAIL_SECONDS:
        return whole
    return reference.condition(reference_seconds.shorten(voice, longest, table), mel_spec, device)


def _device(name: str | None) -> str:
    """A device that torch can use here.

    Raises:
        DeviceError: unknown or absent.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("neither cpu nor cuda")
        torch.empty(1, device=name)
    except (TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(
            f"device={name!r} ({str(error).splitlines()[0][:100]})",
            "a device that torch sees here",
            "Use device='cpu'",
        ) from error
    return name


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
