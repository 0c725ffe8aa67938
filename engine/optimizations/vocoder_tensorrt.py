"""The vocoder's network as a TensorRT engine: exported as for ONNX Runtime, built once, kept by content.

The engine is strongly typed: it computes in the formats of the exported network, so that
`vocoder_precision=fp16` gives an engine in fp16. It takes any length in its profile. No range of values is
fixed beforehand, so nothing is calibrated. What it is worth for the whole, Amdahl's law says:
`nox -s study -- vocoder --backend tensorrt`.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DeviceError
from engine.evidence import Observations
from engine.files import writable_cache, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Raised when the same network would give another engine; part of its key."""

USUAL = 512
"""Frames for which the kernels are chosen: five and a half seconds of speech."""

WORKSPACE = 1 << 30
"""Bytes that the builder may try kernels with."""

_log = logging.getLogger(__name__)


class TensorrtNetwork:
    """mel [1, 100, n] float32 -> spectrum [1, n, n_fft + 2] float32, on the stream of the caller.

    Args:
        plan: a serialised engine.
        device: where it was built.
        precision: the format of its weights.
        seen: counts its runs.
    """

    def __init__(self, plan: bytes, device: str, precision: str, seen: Observations) -> None:
        trt = package()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise _failed("it cannot be read back")
        self._context = self._engine.create_execution_context()
        self._device, self._precision, self._seen = device, precision, seen
        self._turn = threading.Lock()

    def __call__(self, mel: Tensor) -> Tensor:
        """The spectrum of a mel.

        Raises:
            DeviceError: TensorRT refuses the length, or fails.
        """
        import torch

        mel = mel.float().contiguous()
        with self._turn:  # a context is of one thread at a time
            context = self._context
            ready = context.set_input_shape("mel", tuple(mel.shape))
            out = (
                torch.empty(tuple(context.get_tensor_shape("spectrum")), device=mel.device) if ready else mel
            )
            context.set_tensor_address("mel", mel.data_ptr())
            context.set_tensor_address("spectrum", out.data_ptr())
            stream = torch.cuda.current_stream(self._device).cuda_stream
            if not (ready and context.execute_async_v3(stream)):
                raise _failed(f"a mel of {mel.shape[2]} frames")
        self._seen.add(f"vocoder {self._precision}")
        self._seen.add("tensorrt runs")
        return out


def built(onnx: Path, device: str, longest: int) -> bytes:
    """The engine of an ONNX file for this card and this TensorRT: from the cache, or built, which takes a
    minute, and written whole or not at all.

    Args:
        onnx: mel [b, 100, n] -> spectrum [b, n, n_fft + 2].
        device: the card.
        longest: frames that it has to take.

    Raises:
        DeviceError: TensorRT is missing, or cannot build it.
        OutputError: the file cannot be written.
    """
    content = onnx.read_bytes()
    path = writable_cache() / f"vocos-{key(content, card(device), package().__version__, longest)}.plan"
    if path.is_file():
        return path.read_bytes()
    _log.info("Building a TensorRT engine of the vocoder: %s", path)
    plan = build(content, longest)
    write_atomically(path, plan)
    return plan


def key(onnx: bytes, card: str, version: str, longest: int) -> str:
    """Of everything that an engine depends on; it does not run on another card or under another TensorRT."""
    described = f"{FORMAT} {card} {version} {longest} {USUAL}".encode()
    return hashlib.sha256(described + b"\0" + onnx).hexdigest()[:24]


def card(device: str) -> str:
    """Name and architecture of the card."""
    import torch

    return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}"


def build(onnx: bytes, longest: int) -> bytes:
    """A serialised engine for one mel of 1 to `longest` frames.

    Raises:
        DeviceError: TensorRT is missing, or cannot build it.
    """
    trt = package()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        raise _failed("; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))[:200])
    channels = network.get_input(0).shape[1]
    profile = builder.create_optimization_profile()
    lengths = (1, min(USUAL, longest), longest)
    profile.set_shape("mel", *((1, channels, frames) for frames in lengths))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed("the builder gave nothing")
    return bytes(plan)


def _failed(what: str) -> DeviceError:
    return DeviceError(
        f"vocoder_backend='tensorrt' with an engine that fails ({what})",
        "one that TensorRT can build and run on this card",
        "Use vocoder_backend='torch'",
    )


def package() -> Any:
    """TensorRT, which no extra brings: it has to fit the card's driver.

    Raises:
        DeviceError: it is missing.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise DeviceError(
            "vocoder_backend='tensorrt' without tensorrt",
            "NVIDIA's package, 10 or newer",
            "Install it (a Jetson has it: python3-libnvinfer), or use vocoder_backend='torch'",
        ) from error


def check(device: str) -> None:
    """Refuse a machine that cannot have such an engine.

    Raises:
        DeviceError: no CUDA device, or no TensorRT.
    """
    if not device.startswith("cuda"):
        raise DeviceError(
            f"vocoder_backend='tensorrt' on {device}",
            "a CUDA device",
            "Use vocoder_backend='onnx' or 'torch', or device='cuda'",
        )
    package()
