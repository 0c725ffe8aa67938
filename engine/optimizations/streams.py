"""The vocoder and the copies to the host on a queue of their own, beside the sampling of the next piece.

Events order the two: the vocoder begins once its mel is whole, and the host reads once its copies are. The
copies go to page-locked memory, without which a card makes the host wait for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from engine.audio import Samples
from engine.errors import DeviceError
from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor


class Queue(Protocol):
    """A second queue of a device's work, beside the one that this thread is at."""

    def reached(self) -> Any:
        """A mark behind what was asked for so far at the present queue: `synchronize()` waits for it."""

    def beside(self) -> contextlib.AbstractContextManager[None]:
        """What is asked for in here goes to the second queue."""

    def wait(self, mark: Any) -> None:
        """Nothing that is asked of the second queue from now on begins before the mark."""

    def keep(self, tensor: Tensor) -> None:
        """The second queue uses the tensor: its memory is not given away before that is done."""

    def to_host(self, tensor: Tensor) -> Tensor:
        """A copy in the host's memory that is whole once a later mark is reached."""


class CudaQueue:
    """`Queue` of a CUDA device."""

    def __init__(self, device: str) -> None:
        import torch

        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def reached(self) -> Any:
        """See `Queue`."""
        import torch

        return torch.cuda.current_stream(self._stream.device).record_event()

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """See `Queue`."""
        import torch

        with torch.cuda.stream(self._stream):
            yield

    def wait(self, mark: Any) -> None:
        """See `Queue`."""
        self._stream.wait_event(mark)

    def keep(self, tensor: Tensor) -> None:
        """See `Queue`."""
        tensor.record_stream(self._stream)

    def to_host(self, tensor: Tensor) -> Tensor:
        """See `Queue`."""
        import torch

        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)


class Beside:
    """Decodes on a second queue; stands for `engine.vocoder.at_once`."""

    def __init__(self, queue: Queue, seen: Observations) -> None:
        self._queue, self._seen = queue, seen

    def __call__(
        self, mel: Tensor, decode: Callable[[Tensor], Tensor]
    ) -> Callable[[], tuple[Samples, Samples]]:
        """Ask for the wave of `mel` [b, n, d] and for copies of both; what is returned waits for them."""
        whole = self._queue.reached()
        with self._queue.beside():
            self._queue.wait(whole)
            self._queue.keep(mel)
            wave = decode(mel)
            copies = self._queue.to_host(wave), self._queue.to_host(mel)
            done = self._queue.reached()
        self._seen.add("decoded beside")

        def arrive() -> tuple[Samples, Samples]:
            done.synchronize()
            of_wave, of_mel = (copy.numpy().copy() for copy in copies)
            return of_wave, of_mel

        return arrive


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Decode beside the sampling of what comes next."""
    if not options.streams:
        return parts
    return dataclasses.replace(parts, decoding=Beside(CudaQueue(parts.device), seen))


def check_device(options: Options, device: str) -> None:
    """Refuse what this device cannot do, before anything is loaded.

    Raises:
        DeviceError: it is no CUDA device.
    """
    if options.streams and not device.startswith("cuda"):
        raise DeviceError(
            f"streams=True on {device}",
            "a CUDA device: elsewhere there is one queue of work",
            "Use streams=False, or device='cuda'",
        )


def evidence(options: Options, seen: Observations) -> Evidence:
    """Pieces that were decoded on the second queue, of all that were sampled."""
    pieces, beside = seen.counts["pieces"], seen.counts["decoded beside"]
    if not pieces:
        return Evidence(None, "no evaluation yet")
    return Evidence(
        beside == (pieces if options.streams else 0), f"{beside} of {pieces} pieces decoded beside"
    )
