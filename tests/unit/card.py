"""A made-up card on a CPU: it records what torch does and replays it on the same tensors, as CUDA would."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.optimizations import graphs, nvtx, streams

if TYPE_CHECKING:
    import pytest
    from torch import Tensor

WAITS = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
)
"""Operations whose result the host has to wait for: a value, or a size that depends on one."""


class HostWaitError(AssertionError):
    """The host asked for a number that a card would still be working on."""


def _by_mask(func: Any, args: Any) -> bool:
    """Whether it picks where a mask is true: how much that is, the host has to wait for."""
    picks = func is torch.ops.aten.index.Tensor
    return picks and any(one is not None and one.dtype == torch.bool for one in args[1])


class NoWaiting(TorchDispatchMode):
    """Operations in here may not make the host wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITS or _by_mask(func, args):
            raise HostWaitError(str(func))
        return func(*args, **(kwargs or {}))


class Tape(NoWaiting):
    """Every operation in here, with its arguments and results.

    A replay runs the operations again, on the very tensors that they had, and no line of Python around them:
    what was a number then is still that number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        self.operations.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Run it all again, into the tensors of the first time."""
        self.replays += 1
        for func, args, kwargs, out in self.operations:
            for kept, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(kept, torch.Tensor) and kept.data_ptr() != new.data_ptr():  # no view
                    kept.copy_(new)


class TapeRecorder:
    """`graphs.Recorder` by tapes, which it keeps."""

    def __init__(self, device: str = "cpu") -> None:
        self.tapes: list[Tape] = []

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """See `graphs.Recorder`."""
        for _ in range(graphs.WARM_UPS):
            run()
        with Tape() as tape:
            out = run()
        self.tapes.append(tape)
        return tape.replay, out


class RaceError(AssertionError):
    """A queue used what another one may not have finished."""


class Order(TorchDispatchMode):
    """Two queues of work, and which of them knows what of the other is done: a race is an error.

    Everything is done at once, as a CPU does it. What is kept is who wrote each tensor and when, and what
    each queue has waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.here = "main"
        self.now = {"main": 0, "beside": 0}
        self.known = {"main": {"beside": 0}, "beside": {"main": 0}}
        self.written: dict[int, tuple[str, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.now[self.here] += 1
        for one in tree_leaves((args, kwargs or {})):
            if isinstance(one, torch.Tensor):
                queue, when = self.written.get(one.untyped_storage().data_ptr(), (self.here, 0))
                if queue != self.here and self.known[self.here][queue] < when:
                    raise RaceError(f"{func} at {self.here} uses what {queue} writes")
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, torch.Tensor):
                self.written[one.untyped_storage().data_ptr()] = (self.here, self.now[self.here])
        return out


class MadeUpQueue:
    """`streams.Queue` whose copies are made when somebody waits for them, and not before."""

    def __init__(self, order: Order) -> None:
        self.order, self.log = order, list[str]()
        self._copies: list[tuple[Tensor, Tensor]] = []

    def reached(self) -> Any:
        """See `streams.Queue`."""
        return Mark(self, self.order.here, self.order.now[self.order.here])

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """See `streams.Queue`."""
        self.log.append("beside")
        self.order.here = "beside"
        try:
            yield
        finally:
            self.order.here = "main"

    def wait(self, mark: Mark) -> None:
        """See `streams.Queue`."""
        self.order.known["beside"][mark.queue] = mark.when

    def keep(self, tensor: Tensor) -> None:
        """See `streams.Queue`."""
        self.log.append("kept")

    def to_host(self, tensor: Tensor) -> Tensor:
        """See `streams.Queue`."""
        host = torch.full_like(tensor, torch.nan)
        self._copies.append((host, tensor))
        return host

    def finish(self) -> None:
        """Make the copies that were asked for."""
        self.log.append("waited")
        with torch.inference_mode():
            for host, tensor in self._copies:
                host.copy_(tensor)
        self._copies.clear()


class Mark(NamedTuple):
    """A place in a queue."""

    owner: MadeUpQueue
    queue: str
    when: int

    def synchronize(self) -> None:
        """Wait for it."""
        self.owner.finish()


class Markers:
    """`torch.cuda.nvtx`, which keeps what is open."""

    def __init__(self) -> None:
        self.open, self.names = list[str](), list[str]()

    def range_push(self, name: str) -> None:
        """Begin a range."""
        self.open.append(name)
        self.names.append("/".join(self.open))

    def range_pop(self) -> None:
        """End the last one."""
        self.open.pop()

    def mark(self, name: str) -> None:
        """A point in time."""


TOGGLES = {"graphs", "streams", "nvtx"}
"""Options that ask for a card."""


def insert(patch: pytest.MonkeyPatch) -> list[TapeRecorder]:
    """Let a CPU pass for a card, in which this made-up one works; gives the recorders as they are made."""
    made: list[TapeRecorder] = []

    def recorder(device: str) -> TapeRecorder:
        made.append(TapeRecorder(device))
        return made[-1]

    patch.setattr(graphs, "CudaRecorder", recorder)
    patch.setattr(streams, "CudaQueue", lambda device: MadeUpQueue(Order()))
    patch.setattr(nvtx, "_nvtx", Markers)
    for module in (graphs, streams, nvtx):
        patch.setattr(module, "check_device", lambda *_: None)
    return made
