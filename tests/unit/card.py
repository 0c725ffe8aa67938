"""A made-up card on a CPU: it records what torch does and replays it on the same tensors, as CUDA would."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.optimizations import graphs

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


TOGGLES = {"graphs"}
"""Options that ask for a card."""


def insert(patch: pytest.MonkeyPatch) -> list[TapeRecorder]:
    """Let a CPU pass for a card, in which this made-up one works; gives the recorders as they are made."""
    made: list[TapeRecorder] = []

    def recorder(device: str) -> TapeRecorder:
        made.append(TapeRecorder(device))
        return made[-1]

    patch.setattr(graphs, "CudaRecorder", recorder)
    patch.setattr(graphs, "check_device", lambda *_: None)
    return made
