"""What an engine was seen to do. Observations are made while it works and are never read from its options."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine.audio import Timings
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from engine.optimizations import Around

TRACES = 64
"""Batches whose course through the sampler is remembered."""

LOOKED_AT = 16
"""Frames of a batch whose numbers are followed through the sampler."""

RULES = {
    "euler": ((0.0,), (1.0,)),
    "midpoint": ((0.0, 0.5), (0.0, 1.0)),
    "heun": ((0.0, 1.0), (0.5, 0.5)),
}
"""Butcher's tableau of each solver: where its stages lie in a step, and how much each counts."""

KERNELS = (
    "aten::_scaled_dot_product_",
    "onednn::qlinear_pointwise",
    "mkldnn::_linear_pointwise",
    "ishowtts_cpu::",
    "aten::_int_mm",
)
"""Beginnings of the names of kernels worth counting."""

STAGES = ("reference", "text", "sampling", "vocoder")
"""The fields of `Timings` that work is charged to."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One toggle's proof.

    Attributes:
        proven: whether what was seen agrees with the option: on and seen to work, or off and seen to leave no
            trace; None where nothing could be observed yet.
        observed: what was seen, in words.
    """

    proven: bool | None
    observed: str


@dataclasses.dataclass(frozen=True)
class Batch:
    """The shape of what the transformer gave, and of what was put into it.

    Attributes:
        size: sequences, without the copies that guidance makes.
        length: frames of each as the transformer saw them.
        longest: frames of the longest sequence before it was padded.
        masked: whether all padding in it was masked wherever frames meet; true where there was none.
    """

    size: int
    length: int
    longest: int
    masked: bool


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation of the flow, as the sampler tells of it.

    Attributes:
        time: when, from 0 (noise) to 1; a tensor until somebody asks, so that a GPU is not made to wait.
        step: index of the solver's step it belongs to.
        x: where the flow was evaluated, [b, n, d].
        outputs: what each call of the transformer gave, [b, n, d] or both halves, [2 b, n, d].
        flow: the guided flow, [b, n, d].
    """

    time: Any
    step: int
    x: Tensor
    outputs: tuple[Tensor, ...]
    flow: Tensor

    @property
    def halves(self) -> tuple[int, ...]:
        """For each call of the transformer, how many halves of the guidance went through it."""
        return tuple(len(output) // len(self.x) for output in self.outputs)


class Trace:
    """The course of one batch through the sampler, judged by its numbers at a few frames.

    Args:
        asked: the options of its request.
        row: the sequence that is looked at.
        frames: which of its frames.

    Attributes:
        times, steps, halves: of each evaluation, as `Evaluation` has them.
        strengths: how strongly each evaluation was guided: the share of the direction from the unconditional
            to the conditional half that was added; infinite where something else was. [nfe]
        errors: by how much each step differs from what the asked solver makes of its flows, 1 being what
            rounding explains. [steps]
    """

    def __init__(self, asked: Options, row: int, frames: slice) -> None:
        self.asked = asked
        self._place = (row, frames)
        self.times: Any = []
        self.steps: list[int] = []
        self.halves: list[tuple[int, ...]] = []
        self.strengths: Any = None
        self.errors: Any = None
        self._points: list[Tensor] = []
        self._flows: list[Tensor] = []
        self._conditional: list[Tensor] = []
        self._directions: list[Tensor] = []

    def add(self, evaluation: Evaluation) -> None:
        """Take down one evaluation."""
        import torch

        row, frames = self._place
        first, last = evaluation.outputs[0], evaluation.outputs[-1]
        self.times.append(evaluation.time)
        self.steps.append(evaluation.step)
        self.halves.append(evaluation.halves)
        self._points.append(self._seen(evaluation.x))
        self._flows.append(self._seen(evaluation.flow))
        self._conditional.append(self._seen(first))
        if sum(evaluation.halves) == 2:  # in one call, the other half's row is the same one from the end
            unconditional = last[row - len(evaluation.x), frames].float()
            self._directions.append(self._conditional[-1] - unconditional)
        else:  # the last one, or before the first one none
            directions = self._directions or [torch.zeros_like(self._conditional[-1])]
            self._directions.append(directions[-1])

    def finish(self, x: Tensor) -> None:
        """Judge the course by where it ended, `x` [b, n, d]; the numbers themselves are let go."""
        import torch

        self.times = torch.stack(self.times)
        flows = torch.stack(self._flows)  # [nfe, frames, d]
        self.strengths = self._strengths(flows - torch.stack(self._conditional))
        self.errors = self._errors(torch.stack([*self._points, self._seen(x)]), flows)
        self._points, self._flows, self._conditional, self._directions = [], [], [], []

    def _seen(self, x: Tensor) -> Tensor:
        return x[self._place].float().clone()

    def _strengths(self, added: Tensor) -> Tensor:
        """How much of the guiding direction, its own or the last one, each evaluation added, [nfe]."""
        import torch

        directions = torch.stack(self._directions)
        known, anything = (some.flatten(1).any(dim=1) for some in (directions, added))
        strengths = (added * directions).sum((1, 2)) / directions.square().sum((1, 2))
        return torch.where(known, strengths, torch.where(anything, torch.inf, 0.0))

    def _errors(self, points: Tensor, flows: Tensor) -> Tensor:
        """For each step the larger of two distances: of its second stage from its place, and of its end from
        its own; [steps]. `points` [nfe + 1, frames, d], the last being the end, `flows` [nfe, frames, d]."""
        import torch

        at, weights = RULES[self.asked.solver]
        stages = len(at)
        steps = len(flows) // stages
        whole = steps * stages
        begins = self.times[:whole:stages]
        lengths = torch.cat([begins, torch.ones_like(begins[:1])]).diff()[:, None, None]
        here, there = points[:whole:stages], points[stages : whole + 1 : stages]
        stage_flows = [flows[stage:whole:stages] for stage in range(stages)]
        moved = lengths * sum(weight * flow for weight, flow in zip(weights, stage_flows, strict=True))
        errors = _distance(there - here, moved, here)
        for stage in range(1, stages):
            place = points[stage:whole:stages] - here
            errors = torch.maximum(errors, _distance(place, at[stage] * lengths * stage_flows[0], here))
        return errors


def _distance(found: Tensor, expected: Tensor, size: Tensor) -> Tensor:
    """How far movements [steps, frames, d] are apart, [steps]; 1 is a thousandth of the movement and a few
    bits of the place."""
    found, expected, size = ((x * x).sum((1, 2)).sqrt() for x in (found - expected, expected, size))
    return found / (1e-3 * expected + 1e-6 * size)


class Observations:
    """Counts kept by one engine while it works; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.batches: set[Batch] = set()
        self.traces: deque[Trace] = deque(maxlen=TRACES)

    def add(self, what: str, times: int = 1) -> None:
        """Count one more of `what`."""
        with self._lock:
            self.counts[what] += times

    def note(self, what: str, value: int) -> None:
        """Set a count to what it is by now."""
        with self._lock:
            self.counts[what] = value

    def most(self, what: str, value: int) -> None:
        """Raise a count to what was seen, if that is more."""
        with self._lock:
            self.counts[what] = max(self.counts[what], value)

    def sampled(self, trace: Trace, dtypes: set[str], batch: Batch) -> None:
        """Record one sampled batch: its course, the number formats of the flow, and its shape."""
        with self._lock:
            self.batches.add(batch)
            self.traces.append(trace)
            self.counts["pieces"] += batch.size
            self.counts["evaluations"] += len(trace.halves)
            self.counts["calls"] += sum(len(halves) for halves in trace.halves)
            self.counts["rows"] += sum(sum(halves) for halves in trace.halves)
            self.counts.update(f"transformer {dtype}" for dtype in dtypes)

    def dtypes(self, part: str) -> set[str]:
        """Number formats that matrix products of `part` gave."""
        with self._lock:
            return {name.split()[1] for name in self.counts if name.startswith(f"{part} ")}

    def ran(self, calls: str, part: str) -> int:
        """How often the code of a part ran: once a call, but for what was replayed, and to be recorded."""
        return self.counts[calls] - self.counts[f"replays {part}"] + self.counts[f"recordings {part}"]

    def snapshot(self) -> Observations:
        """A copy that no request changes any more."""
        copy = Observations()
        with self._lock:
            copy.counts.update(self.counts)
            copy.batches |= self.batches
            copy.traces.extend(self.traces)
        return copy


class KernelWatch:
    """Counts the kernels of one call of the transformer, for toggles that choose kernels.

    Not of the first call: compilation traces the kernels it will use, and that is no proof that they ran.
    """

    def __init__(self, seen: Observations) -> None:
        self._seen, self._lock, self._left = seen, threading.Lock(), 2

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Around one call of the transformer."""
        if not self._due():
            yield
            return
        with kernels_run() as ran:
            yield
        self._seen.add("watched calls")
        for kernel, runs in ran.items():
            self._seen.add(f"kernel {kernel}", runs)

    def _due(self) -> bool:
        """True once: at the second call, or at the next one that nobody else is profiling."""
        from torch._C._autograd import _profiler_enabled as profiler_enabled

        if self._left == 0:
            return False
        with self._lock:
            if self._left == 0 or (self._left == 1 and profiler_enabled()):
                return False
            self._left -= 1
            return self._left == 0


def watching(around: tuple[Around, ...], seen: Observations) -> tuple[Around, ...]:
    """What stands around a call of the transformer, with one watch of its kernels."""
    watched = any(isinstance(one, KernelWatch) for one in around)
    return around if watched else (*around, KernelWatch(seen))


@contextlib.contextmanager
def kernels_run() -> Iterator[Counter[str]]:
    """Count the kernels of `KERNELS` that this thread runs, inside compiled graphs too; the counter fills on
    leaving.

    Torch's older profiler: the newer one is one for the whole process and must start in the main thread, and
    a dispatch mode would make Dynamo give up on the functions it meets.
    """
    from torch.autograd.profiler_legacy import profile

    ran: Counter[str] = Counter()
    with profile() as profiler:  # type: ignore[no-untyped-call]
        yield ran
    events: Any = profiler.function_events
    ran.update(event.name for event in events if event.name.startswith(KERNELS))


class Clock:
    """Times the stages of a request.

    It waits at every boundary for what was asked of the device's present queue, so that work is charged to
    the stage that asked for it. What runs beside it costs what has to be waited for in the end.

    Args:
        device: where the work is.
        named: entered with the name of each stage.
    """

    def __init__(
        self,
        device: str,
        named: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._device, self._named = device, named
        self._stages = dict.fromkeys(STAGES, 0.0)
        self._start = self._now()

    def lap(self) -> Timings:
        """What was timed since the last lap, or since the clock was made."""
        now = self._now()
        timings = Timings(**self._stages, total=now - self._start)
        self._stages = dict.fromkeys(STAGES, 0.0)
        self._start = now
        return timings

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge what is done inside to the named field of `Timings`."""
        start = self._now()
        with self._named(name):
            yield
        self._stages[name] += self._now() - start

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.current_stream(self._device).synchronize()
        return time.perf_counter()


Proof = Callable[[Options, Observations], Evidence]
"""How a toggle is proven: its options and a snapshot of what was seen."""
