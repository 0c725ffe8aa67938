"""Assets -> Engine: find the checkpoint, build upstream's modules, apply the toggles in order."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine import durations, level, proofs, reference, sampler, upstream
from engine.errors import CheckpointError, DeviceError, OptionsError
from engine.evidence import Observations, Proof
from engine.optimizations import (
    Parts,
    attention,
    batch,
    buckets,
    compile,
    first_piece,
    graphs,
    hoist,
    int8,
    linears,
    nvtx,
    precision,
    reading,
    reference_cache,
    reference_seconds,
    streams,
    vocoder_backend,
    vocoder_precision,
)  # fmt: skip
from engine.options import Options
from engine.pieces import ROOM_SECONDS
from engine.reading import READINGS
from engine.synthesis import Engine
from engine.vocoder import VocosVocoder

STEPS = (
    precision,
    int8,
    linears,
    vocoder_precision,
    buckets,
    batch,
    vocoder_backend,  # what runs elsewhere is the network as it was loaded, not as it is compiled
    compile,  # fixes the number formats
    hoist,  # works out, with the weights as they are by now, what no request can change
    attention,
    graphs,  # records what is there by now, with what stands around it
    reference_seconds,
    reference_cache,
    first_piece,
    reading,
    streams,
    nvtx,  # names whole calls, replayed ones too
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
    read: Callable[[str], str] | None = None,
) -> Engine:
    """Load a model and apply the toggles.

    Args:
        checkpoint: a name (`engine.checkpoint.known()`), a folder, or a weight file beside its `config.yaml`.
        options: the toggles; the default is upstream's own behaviour.
        device: `cpu`, `cuda` or `cuda:1`; by default CUDA where torch sees it, unless the options ask for
            kernels that are for CPUs.
        vocoder: a folder with a Vocos, where it does not come with the checkpoint.
        read: a reading of one's own, text -> the text as it is read aloud, in place of `Options.reading`; it
            may call `engine.reading.chat`.

    Raises:
        CheckpointError: weights, vocabulary, configuration or vocoder are missing, corrupt or foreign.
        OfflineError: a published model has to be fetched and the hub cannot be reached.
        DeviceError: no such device, or it cannot do what an option asks.
        OptionsError: an option that this device cannot serve.
        UpstreamError: f5-tts or vocos is missing.
    """
    options = options if options is not None else Options()
    if read is not None and (options.reading != "auto" or not callable(read)):
        raise OptionsError(
            f"read={read!r} with reading={options.reading}", "a function, and reading='auto'", "Leave one out"
        )
    target = _device(device, options)
    for step in STEPS:
        if hasattr(step, "check_device"):
            step.check_device(options, target)
    assets = checkpoints.find(checkpoint, vocoder=vocoder)
    model, vocos = build(assets)
    return assemble(assets, model.to(target), vocos.to(target), options, target, read)


def build(assets: checkpoints.Checkpoint) -> tuple[Any, Any]:
    """Upstream's model and vocoder with the weights of a checkpoint, on the CPU and as yet untouched.

    Raises:
        CheckpointError: weights that are corrupt or of another architecture.
        UpstreamError: f5-tts or vocos is missing.
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
        with undrawn():
            model = upstream.build_model(assets.arch, assets.backbone, assets.vocabulary)
        vocos = upstream.build_vocoder(assets.vocoder / "config.yaml")
    load_weights(model, assets.weights)
    load_weights(vocos, assets.vocoder / "pytorch_model.bin")
    return model.eval(), vocos.eval()


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Upstream's models built here begin with whatever the memory holds in place of random numbers.

    A checkpoint overwrites them all, and to draw 337 million takes seconds. Not for initialisers that look at
    what they drew (`trunc_normal_`, as Vocos has it): they would draw for ever.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    init = torch.nn.init
    drawing = (init.uniform_, init.normal_, init.kaiming_uniform_, init.constant_)

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function in drawing:
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    with Undrawn():
        yield


def assemble(
    assets: checkpoints.Checkpoint,
    model: Any,
    vocos: Any,
    options: Options,
    device: str,
    read: Callable[[str], str] | None = None,
) -> Engine:
    """Apply every toggle to upstream's modules, in the one order there is, and hand them to an engine."""
    seen = Observations()
    # Upstream makes its per-thread store on first use; two first users would each lose the other's text.
    model.transformer.clear_cache()
    table = durations.load(assets.durations) if assets.durations else None
    longest = assets.max_seconds - ROOM_SECONDS
    parts = Parts(
        checkpoint=assets,
        device=device,
        model=model,
        vocos=vocos,
        backbone=sampler.plain(model.transformer),
        vocoder=VocosVocoder(vocos, seen),
        prepare=functools.partial(
            condition, mel_spec=model.mel_spec, device=device, longest=longest, table=table
        ),
        durations=table,
        reading=read or READINGS[assets.reading],
    )
    for step in STEPS:
        parts = step.apply(parts, options, seen)
    vocoder = level.apply(parts.vocoder, assets.level, model.mel_spec, device)
    parts = dataclasses.replace(parts, vocoder=vocoder)
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


def _device(name: str | None, options: Options) -> str:
    """A device that torch can use here.

    Raises:
        DeviceError: unknown or absent.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() and not options.fused else "cpu"
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


PREFIXES = ("ema_model.", "module.", "_orig_mod.")
"""What averaging, parallel training and compilation put before upstream's names of parameters."""

BOOKKEEPING = ("initted", "step", "mel_spec.mel_stft.mel_scale.fb", "mel_spec.mel_stft.spectrogram.window")
"""Names in a checkpoint that are no parameters: of the averaging, and mel buffers of early checkpoints
(upstream's `load_checkpoint`)."""

EMBEDDING = "transformer.text_embed.text_embed.weight"
"""The parameter whose first size is the vocabulary's, with one more for the filler."""


def state_dict(path: Path) -> dict[str, Any]:
    """Tensors of a checkpoint by upstream's parameter names, read on the CPU.

    Both published formats: safetensors, and `.pt` read with `weights_only=True`.

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
            mapped = zipfile.is_zipfile(path)  # what `torch.save` has written since 1.6
            raw = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
            raw = raw.get("ema_model_state_dict", raw.get("model_state_dict", raw))
        return {name: value for key, value in raw.items() if (name := _plain_name(key)) not in BOOKKEEPING}
    except (SafetensorError, *stream, *content) as error:
        raise _unreadable(path, str(error)) from error


def _plain_name(key: str) -> str:
    """Upstream's name of a parameter."""
    while key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key


def _unreadable(path: Path, reason: str) -> CheckpointError:
    """What is wrong with a weight file, and what to do about it."""
    foreign = re.search(r"GLOBAL (\w+(?:\.\w+)*)", reason)
    if foreign:
        return CheckpointError(
            f"weights {path} that hold a Python object ({foreign[1]})",
            "tensors alone: opening other objects can run code",
            "Where the file is trusted, save its tensors alone: torch.save({'ema_model_state_dict': ...})",
        )
    first = reason.strip().splitlines()[:1] or ["unreadable"]
    return CheckpointError(
        f"weights {path} ({first[0][:120]})", "a whole safetensors or .pt checkpoint", "Download it again"
    )


def load_weights(module: Any, path: Path) -> None:
    """Copy the tensors of a checkpoint into `module`: every parameter, none left over, all of them finite.

    Raises:
        CheckpointError: the file cannot be read, names or shapes differ, so that it belongs to another
            architecture or vocabulary, or it holds NaN.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if path.suffix == ".safetensors":
        _compare(_header(path), expected, module, path)  # before gigabytes of it are read
    tensors = state_dict(path)
    _compare({name: getattr(value, "shape", None) for name, value in tensors.items()}, expected, module, path)
    module.load_state_dict(tensors)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and value.numel() and not _finite(value):
            raise CheckpointError(
                f"weights {path} with NaN or infinite numbers in {name}",
                "finite numbers",
                "Take an earlier checkpoint of that training, or download it again",
            )


def _finite(value: Any) -> bool:
    """Whether a tensor holds neither NaN nor infinity: in one pass, and without a copy of it."""
    import torch

    return all(math.isfinite(float(end)) for end in torch.aminmax(value))


def _header(path: Path) -> dict[str, Any]:
    """The shapes of the tensors in a safetensors file, by upstream's parameter names.

    Raises:
        CheckpointError: it is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            shapes = {_plain_name(key): tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    return {name: shape for name, shape in shapes.items() if name not in BOOKKEEPING}


def _compare(shapes: dict[str, Any], expected: dict[str, Any], module: Any, path: Path) -> None:
    """Refuse tensors that are not those of the module.

    Raises:
        CheckpointError: one is missing, strange or misshapen, and the first of them is named.
    """
    embedding = shapes.get(EMBEDDING)
    if embedding and EMBEDDING in expected and embedding[0] != expected[EMBEDDING][0]:
        raise CheckpointError(
            f"weights {path} for {embedding[0] - 1} tokens with a vocabulary of {expected[EMBEDDING][0] - 1}",
            "the vocabulary that the weights were trained with",
            "Put its vocab.txt beside the weights",
        )
    missing, strange = expected.keys() - shapes.keys(), shapes.keys() - expected.keys()
    misshapen = [name for name in expected.keys() & shapes.keys() if shapes[name] != expected[name]]
    faults = [f"without {name}" for name in sorted(missing)]
    faults += [f"with {name}" for name in sorted(strange)]
    faults += [f"with {name} of shape {shapes[name]}, not {expected[name]}" for name in sorted(misshapen)]
    if faults:
        raise CheckpointError(
            f"weights {path} for another architecture ({'; '.join(faults[:3])[:300]})",
            f"the parameters of {type(module).__name__} as configured",
            "Use the configuration that came with these weights",
        )
