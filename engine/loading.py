"""Assets -> Engine: find the checkpoint, build upstream's modules, apply the toggles in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine import durations, level, reference, sampler, text, upstream
from engine.errors import DeviceError
from engine.evidence import Observations
from engine.optimizations import (
    attention,
    batch,
    buckets,
    compile,
    first_piece,
    hoist,
    int8,
    kernels,
    onnx_vocoder,
    precision,
    reference_cache,
    reference_trim,
    vocoder_precision,
)
from engine.options import Options
from engine.planning import Planner
from engine.speaking import Parts
from engine.synthesis import Engine
from engine.vocoder import VocosVocoder
from engine.weights import load_weights


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
    for toggle in (compile, int8, attention):
        toggle.check_device(options, target)
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


def assemble(
    found: checkpoints.Checkpoint, model: object, vocos: object, options: Options, device: str
) -> Engine:
    """Apply every toggle to upstream's modules, in the one order there is, and hand them to an engine.

    Number formats come before compilation, which fixes them.
    """
    observed = Observations()
    # Upstream makes its per-thread store on first use; two first users would each lose the other's text.
    model.transformer.clear_cache()  # type: ignore[attr-defined]
    model = precision.apply(model, options)
    model = int8.apply(model, options, observed)
    vocos = vocoder_precision.apply(vocos, options)
    model = buckets.apply(model, options)
    model = batch.apply(model, options)
    # Exported before it is compiled: what runs elsewhere is the network as it was loaded.
    vocoder = onnx_vocoder.apply(VocosVocoder(vocos, observed), vocos, options, observed, device)
    vocoder = level.apply(vocoder, found.level, model.mel_spec, device)  # type: ignore[attr-defined]
    model = compile.apply(model, options, observed)
    vocos = compile.apply(vocos, options, observed)
    # Last: it works out, with the weights as they are by now, what no request can change.
    backbone = hoist.apply(sampler.plain(model.transformer), model.transformer, options, observed)  # type: ignore[attr-defined]
    backbone = attention.apply(backbone, options, observed)
    backbone = kernels.apply(backbone, options, observed)

    def prepare(voice: reference.Voice) -> reference.Reference:
        return reference.condition(voice, model.mel_spec, device)  # type: ignore[attr-defined]

    table = durations.load(found.durations) if found.durations else None
    split = first_piece.apply(text.split, options, observed)
    planner = Planner(model.vocab_char_map, table, device, found.max_seconds, split)  # type: ignore[attr-defined]
    prepared = reference_trim.apply(prepare, options, observed, table)
    prepared = reference_cache.apply(prepared, options, observed)
    return Engine(Parts(found, model, backbone, vocoder, prepared, planner, device), options, observed)


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
