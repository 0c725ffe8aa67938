"""The vocoder's network in ONNX Runtime or TensorRT. The inverse STFT, which ONNX has no operator for, stays
in torch."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import importlib
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CheckpointError, DeviceError
from engine.evidence import Evidence, Observations
from engine.files import writable_cache
from engine.optimizations import Parts, vocoder_tensorrt
from engine.options import Options
from engine.pieces import FRAMES_A_SECOND
from engine.vocoder import dtype_name

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Raised when the same weights would give another file; part of its name."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""By device. Its TensorRT is none of them: it builds an engine anew for every length."""

FORMATS = {"float32": "fp32", "float16": "fp16"}
"""NumPy's number formats as the options spell them."""

_log = logging.getLogger(__name__)


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """A vocoder that runs Vocos up to its spectrum elsewhere, exported on first use and then cached.

    Raises:
        DeviceError: the runtime is missing, or the exporter where a file has to be made.
        CheckpointError: the cache folder cannot be written.
    """
    if options.vocoder_backend == "torch":
        return parts
    istft, file = parts.vocos.head.istft, exported(parts.vocos, options.vocoder_backend)
    if options.vocoder_backend == "tensorrt":
        longest = int(parts.checkpoint.max_seconds * FRAMES_A_SECOND)
        plan = vocoder_tensorrt.built(file, parts.device, longest)
        precision = dtype_name(next(parts.vocos.backbone.parameters()))
        network = vocoder_tensorrt.TensorrtNetwork(plan, parts.device, precision, seen)
        return dataclasses.replace(parts, vocoder=SpectralVocoder(network, istft))
    opened = OnnxNetwork(session(file, parts.device), seen)
    return dataclasses.replace(parts, vocoder=SpectralVocoder(opened, istft))


def check_device(options: Options, device: str) -> None:
    """Refuse a machine without the runtime before anything is loaded.

    Raises:
        DeviceError: the package is missing.
    """
    if options.vocoder_backend == "onnx":
        _package("onnxruntime")
    if options.vocoder_backend == "tensorrt":
        vocoder_tensorrt.check(device)


class OnnxNetwork:
    """mel [b, 100, n] float32 -> spectrum [b, n, n_fft + 2] on the device of the mel, by ONNX Runtime."""

    def __init__(self, session: Any, seen: Observations) -> None:
        self._session, self._seen = session, seen

    def __call__(self, mel: Tensor) -> Tensor:
        """The spectrum of a mel."""
        import torch

        (spectra,) = self._session.run(None, {"mel": mel.cpu().numpy()})
        self._seen.add(f"vocoder {FORMATS.get(spectra.dtype.name, spectra.dtype.name)}")
        self._seen.add(f"onnx {self._session.get_providers()[0]}")
        return torch.from_numpy(spectra).to(mel.device)


class SpectralVocoder:
    """`engine.vocoder.Vocoder` of a network that gives the spectrum, and of torch's inverse STFT."""

    def __init__(self, network: Callable[[Tensor], Tensor], istft: Any) -> None:
        self._network, self._istft = network, istft

    def decode(self, mel: Tensor) -> Tensor:
        """[b, 100, n] float32 -> [b, samples] float32 at 24 kHz, on the device of `mel`."""
        import torch

        spectrum = self._network(mel).transpose(1, 2)  # [b, n_fft + 2, n]
        magnitude, phase = spectrum.chunk(2, dim=1)
        # As in upstream's ISTFTHead, with its ceiling on the magnitude.
        wave: Tensor = self._istft(torch.polar(magnitude.exp().clip(max=1e2), phase))
        return wave


def session(path: Path, device: str) -> Any:
    """An open session on the device.

    Raises:
        DeviceError: onnxruntime is missing, or was asked for a GPU that it does not know.
    """
    import torch

    onnxruntime = _package("onnxruntime")
    known = onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    provider = PROVIDERS[kind]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    if provider in known:
        place = {"device_id": int(number)} if number else {}
        opened = onnxruntime.InferenceSession(str(path), settings, providers=[(provider, place)])
        if opened.get_providers()[0] == provider:  # it falls back to the CPU in silence
            return opened
    raise DeviceError(
        f"vocoder_backend='onnx' on {device} with an onnxruntime for {', '.join(sorted(known))}",
        f"{provider} at work",
        "Install onnxruntime-gpu, or use vocoder_backend='torch'",
    )


def exported(vocos: Any, backend: str = "onnx") -> Path:
    """The ONNX file of these weights in their number formats: from the cache, or written whole or not at all.

    It takes [b, 100, n] to [b, n, n_fft + 2] with b and n free.

    Raises:
        DeviceError: it has to be made and the exporter's packages are missing.
        CheckpointError: the cache folder cannot be written.
    """
    path = writable_cache() / f"vocos-v{FORMAT}-{_digest(vocos)}.onnx"
    if path.is_file():
        return path
    for name in ("onnx", "onnxscript"):
        _package(name, backend)
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    _log.info("Exporting the vocoder to %s", path)
    try:
        _export(vocos, scratch)
        scratch.rename(path)
    except OSError as error:
        raise CheckpointError(
            f"cache {path.parent} ({error})", "a writable folder with room", "Set XDG_CACHE_HOME"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _digest(vocos: Any) -> str:
    """Of the weights that are exported: names, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(_network(vocos).state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _network(vocos: Any) -> Any:
    """Backbone and the head's projection: mel in, log-magnitude and phase out."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.out = vocos.backbone, vocos.head.out

        def forward(self, mel: Tensor) -> Tensor:
            spectrum: Tensor = self.out(self.backbone(mel).float())
            return spectrum

    return Network().eval()


def _export(vocos: Any, path: Path) -> None:
    import torch

    network = copy.deepcopy(_network(vocos)).cpu()
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("frames")}
    with torch.no_grad():
        torch.onnx.export(
            network,
            (torch.zeros(2, vocos.backbone.input_channels, 64),),
            str(path),
            input_names=["mel"],
            output_names=["spectrum"],
            dynamic_shapes={"mel": free},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _package(name: str, backend: str = "onnx") -> Any:
    """One of the packages of the `onnx` extra.

    Raises:
        DeviceError: it is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DeviceError(
            f"vocoder_backend={backend!r} without {name}",
            "the packages of the onnx extra",
            "Install the extra, in the checkout: pip install -e '.[onnx]', or use vocoder_backend='torch'",
        ) from error


def evidence(options: Options, seen: Observations) -> Evidence:
    """Runs of the session by the provider that it gave the network to, or of TensorRT's engine, against what
    torch decoded."""
    runs = {name.split()[1]: n for name, n in seen.counts.items() if name.startswith("onnx ")}
    engine_runs, decodes = seen.counts["tensorrt runs"], seen.counts["decodes"]
    if options.vocoder_backend == "tensorrt" or engine_runs:
        observed = f"{engine_runs} runs of TensorRT, {decodes} by torch"
        if not engine_runs and not decodes:
            return Evidence(None, "nothing decoded yet")
        alone = bool(engine_runs) and not decodes and not runs
        return Evidence(alone if options.vocoder_backend == "tensorrt" else False, observed)
    if not runs and not decodes:
        return Evidence(None, "nothing decoded yet")
    observed = ", ".join(
        [f"{n} runs on {name}" for name, n in sorted(runs.items())] + [f"{decodes} by torch"]
    )
    return Evidence(bool(runs) and not decodes if options.vocoder_backend == "onnx" else not runs, observed)
