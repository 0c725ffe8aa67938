"""One CUDA graph for each length and batch, around a whole evaluation of the transformer and of the vocoder.

A graph replays its kernels on the addresses that they were recorded with. So everything that differs from
call to call is copied into the same input buffers first, and what a replay gives is copied out before the
next one. Graphs of single blocks, which `torch.compile` would record, are replayed over each other's outputs
(pytorch/pytorch#152887). `Engine.warmup` records every length and batch; what it has not seen is recorded
when it comes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from engine.dit import Hoisted
from engine.errors import DeviceError
from engine.evidence import Evidence, Observations
from engine.optimizations import Around, Parts
from engine.options import Options
from engine.vocoder import dtype_name

if TYPE_CHECKING:
    from torch import Tensor

WARM_UPS = 3
"""Runs before the recording: whatever compiles, tunes or allocates has done so by then."""


class Recorder(Protocol):
    """Records work of the device."""

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record what `run` launches: a function that replays it, and the tensor that every replay fills."""


class CudaRecorder:
    """`Recorder` of one device whose graphs share their memory, so that one must be done before the next."""

    def __init__(self, device: str) -> None:
        import torch

        self._device, self._pool = device, torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """See `Recorder`. Other threads may use the device meanwhile."""
        import torch

        with torch.cuda.device(self._device):
            beside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            here = torch.cuda.current_stream()
            beside.wait_stream(here)
            with torch.cuda.stream(beside):
                for _ in range(WARM_UPS):
                    run()
            here.wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                out = run()
        return graph.replay, out


@dataclasses.dataclass(frozen=True, eq=False)
class Recorded:
    """One graph: the buffers that it reads, what replays it, and the tensor that this fills."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], None]
    out: Tensor


class Graphed:
    """A function of tensors, replayed from one graph for each set of shapes.

    All graphs read the same input buffers, which are as long as the longest that was recorded: `warmup`
    begins with that one. One thread at a time; the others wait.

    Args:
        run: reads nothing but its arguments and what never changes, and never makes the host wait.
        record: makes a graph of it.
        part: how observations call it.
        around: entered around `run` where it really runs, which is while it is recorded.
    """

    def __init__(
        self,
        run: Callable[..., Tensor],
        record: Recorder,
        seen: Observations,
        part: str,
        around: tuple[Around, ...] = (),
    ) -> None:
        self._run, self._record, self._around = run, record, around
        self._seen, self._part = seen, part
        self._turn = threading.Lock()
        self._buffers: dict[tuple[int, Any], Tensor] = {}
        self._recorded: dict[tuple[Any, ...], Recorded] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What `run(*inputs)` gives, as a tensor of the caller's own."""
        shapes = tuple((given.shape, given.dtype) for given in inputs)
        with self._turn:
            graph = self._recorded.get(shapes)
            if graph is None:
                graph = self._recorded[shapes] = self._made(inputs)
            for buffer, given in zip(graph.inputs, inputs, strict=True):
                buffer.copy_(given)
            graph.replay()
            self._seen.add(f"replays {self._part}")
            return graph.out.clone()

    def _made(self, inputs: tuple[Tensor, ...]) -> Recorded:
        """A graph for these shapes."""
        buffers = tuple(self._buffer(place, given) for place, given in enumerate(inputs))
        for buffer, given in zip(buffers, inputs, strict=True):
            buffer.copy_(given)

        def run() -> Tensor:
            self._seen.add(f"recordings {self._part}")
            with contextlib.ExitStack() as stack:
                for enter in self._around:
                    stack.enter_context(enter())
                return self._run(*buffers)

        replay, out = self._record(run)
        self._seen.add(f"recorded {self._part}")
        return Recorded(buffers, replay, out)

    def _buffer(self, place: int, given: Tensor) -> Tensor:
        """The beginning of the one buffer for that argument, in the shape of what is given."""
        import torch

        whole = self._buffers.get((place, given.dtype))
        if whole is None or whole.numel() < given.numel():  # graphs of the shorter one keep it
            whole = torch.empty(given.numel(), dtype=given.dtype, device=given.device)
            self._buffers[place, given.dtype] = whole
        return whole[: given.numel()].view(given.shape)


class GraphedVocos:
    """`engine.vocoder.Vocoder`: upstream's Vocos, its backbone replayed at a few lengths.

    What is beyond the mel's own end is set to zero before every convolution, which is what each of them pads
    with: the frames that count are those of the unpadded mel. The head works on these alone.
    """

    def __init__(
        self, vocos: Any, bucket: Callable[[int], int], record: Recorder, seen: Observations
    ) -> None:
        self._vocos, self._bucket, self._seen = vocos, bucket, seen
        self._mask: Tensor | None = None  # [1, 1, n], of the run that is under way
        self._graphed = Graphed(self._backbone, record, seen, "vocoder")
        for block in vocos.backbone.convnext:
            block.register_forward_pre_hook(lambda _block, inputs: (inputs[0] * self._mask,))

    def decode(self, mel: Tensor) -> Tensor:
        """[b, 100, n] float32 -> [b, samples] float32 at 24 kHz."""
        import torch
        from torch.nn import functional

        frames = mel.shape[2]
        length = self._bucket(frames)
        padded = functional.pad(mel, (0, length - frames))
        mask = (torch.arange(length, device=mel.device) < frames)[None, None]  # [1, 1, length]
        features = self._graphed(padded, mask)[:, :frames]  # [b, n, dim]
        self._seen.add("decodes")
        self._seen.add(f"vocoder {dtype_name(features)}")
        wave: Tensor = self._vocos.head(features.float())
        return wave

    def _backbone(self, mel: Tensor, mask: Tensor) -> Tensor:
        self._mask = mask
        features: Tensor = self._vocos.backbone(mel)
        return features


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Record the transformer's evaluations and, where torch runs it, the vocoder's backbone.

    What stood around each call of the transformer stands around its recordings: a replay runs none of the
    code that it would watch or guide.
    """
    if not options.graphs:
        return parts
    hoisted, bucket = parts.backbone, parts.bucket
    if not isinstance(hoisted, Hoisted) or bucket is None:  # a step before this one did nothing
        return parts
    graphed = Graphed(hoisted.forward, CudaRecorder(parts.device), seen, "transformer", parts.around)
    vocoder = parts.vocoder
    if options.vocoder_backend == "torch":
        vocoder = GraphedVocos(parts.vocos, bucket, CudaRecorder(parts.device), seen)
    return dataclasses.replace(parts, backbone=hoisted.through(graphed), vocoder=vocoder, around=())


def check_device(options: Options, device: str) -> None:
    """Refuse what this device cannot do, before anything is loaded.

    Raises:
        DeviceError: it is no CUDA device.
    """
    if options.graphs and not device.startswith("cuda"):
        raise DeviceError(
            f"graphs=True on {device}",
            "a CUDA device: it is CUDA that records and replays",
            "Use graphs=False, or device='cuda'",
        )


PARTS = {"transformer": "calls", "vocoder": "decodes"}
"""What is recorded, and what counts the uses of it."""


def evidence(options: Options, seen: Observations) -> Evidence:
    """Replays, against the calls of the transformer and the decodes that should have been replayed.

    A call that failed, as when memory runs out, may have replayed some more.
    """
    counts = seen.counts
    if not counts["evaluations"]:
        return Evidence(None, "no evaluation yet")
    pairs = [(counts[f"replays {part}"], counts[calls]) for part, calls in PARTS.items()]
    made = sum(counts[f"recorded {part}"] for part in PARTS)
    (replayed, calls), (decoded, decodes) = pairs
    observed = (
        f"{replayed} of {calls} calls and {decoded} of {decodes} decodes replayed, from {made} recordings"
    )
    if not options.graphs:
        return Evidence(not any((replayed, decoded, made)), observed)
    whole = replayed == calls or (replayed > calls and counts["failed batches"] > 0)
    return Evidence(whole and decoded == decodes, observed)
