"""What the dispatcher really ran: one call of the transformer, watched for the toggles that choose kernels.

Not the first call: compilation traces the kernels it will use, and that is no proof that they ran.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine.evidence import Observations
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from engine.optimizations.guidance import Evaluate, Half
    from engine.sampler import Backbone

PREFIXES = ("aten::_scaled_dot_product_", "onednn::qlinear_pointwise")
"""Kernels worth counting."""


def apply(backbone: Backbone, options: Options, observed: Observations) -> Backbone:
    """Watch one call where a toggle needs it for its proof; otherwise the backbone itself."""
    if options.int8 == "off" and options.attention == "auto":
        return backbone
    due = _second_call()

    @contextlib.contextmanager
    def begin(cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None) -> Iterator[Evaluate]:
        with backbone(cond, tokens, times, mask) as evaluate:

            def watched(x: Tensor, evaluation: int, half: Half) -> Tensor:
                if not due():
                    return evaluate(x, evaluation, half)
                with recorded() as ran:
                    out = evaluate(x, evaluation, half)
                observed.add("watched calls")
                for kernel, runs in ran.items():
                    observed.add(f"kernel {kernel}", runs)
                return out

            yield watched

    return begin


def _second_call() -> Callable[[], bool]:
    """A function that is true once: at its second call, or at the next one that nobody else is profiling."""
    from torch._C._autograd import _profiler_enabled as profiler_enabled

    lock, left = threading.Lock(), [2]

    def due() -> bool:
        if left[0] == 0:
            return False
        with lock:
            if left[0] == 1 and profiler_enabled():
                return False
            left[0] = max(0, left[0] - 1)
            return left[0] == 0

    return due


@contextlib.contextmanager
def recorded() -> Iterator[Counter[str]]:
    """Count the kernels of `PREFIXES` that this thread runs, inside compiled graphs too; the counter fills on
    leaving.

    Torch's older profiler: the newer one is one for the whole process and must start in the main thread, and
    a dispatch mode would make Dynamo give up on the functions it meets.
    """
    from torch.autograd.profiler_legacy import profile

    ran: Counter[str] = Counter()
    with profile() as profiler:  # type: ignore[no-untyped-call]
        yield ran
    events: Any = profiler.function_events
    ran.update(event.name for event in events if event.name.startswith(PREFIXES))
