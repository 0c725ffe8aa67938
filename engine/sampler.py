"""The hot loop: time grids, solvers of the flow, and the noise it starts from. Pure functions over tensors.

With the default options the arithmetic is that of upstream's `CFM.sample` (https://arxiv.org/abs/2410.06885),
operation by operation: for the same noise the mel is bit-identical.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from engine import grids, upstream
from engine.evidence import Evaluation
from engine.optimizations import guidance
from engine.options import Options
from engine.text_embedding import embed_text

if TYPE_CHECKING:
    from torch import Tensor

    from engine.optimizations.guidance import Evaluate, Flow, Half

SWAY = -1.0
"""Sway coefficient: upstream's `infer` default; -1 spends most steps near the noise, where words are
decided."""


@dataclasses.dataclass(frozen=True)
class Solver:
    """An explicit Runge-Kutta rule of one or two stages.

    Attributes:
        at: where each stage is evaluated, as a share of the step.
        advance: (flow, x, length of the step, index of its first evaluation) -> the next x.
    """

    at: tuple[float, ...]
    advance: Callable[[Flow, Tensor, Tensor, int], Tensor]


def _euler(flow: Flow, x: Tensor, step: Tensor, first: int) -> Tensor:
    return x + step * flow(x, first)


def _midpoint(flow: Flow, x: Tensor, step: Tensor, first: int) -> Tensor:
    return x + step * flow(x + 0.5 * step * flow(x, first), first + 1)


def _heun(flow: Flow, x: Tensor, step: Tensor, first: int) -> Tensor:
    start = flow(x, first)
    return x + 0.5 * step * (start + flow(x + step * start, first + 1))


SOLVERS = {
    "euler": Solver((0.0,), _euler),
    "midpoint": Solver((0.0, 0.5), _midpoint),
    "heun": Solver((0.0, 1.0), _heun),
}
"""Order 1, 2 and 2. A step costs one evaluation, two and two."""


def solver(options: Options) -> Solver:
    """The rule that the options ask for."""
    return SOLVERS[options.solver]


def time_grid(options: Options, device: Any) -> Tensor:
    """Where the solver's steps begin, and the end: [steps + 1] float32 from 0 to 1."""
    import torch

    steps = options.steps
    if options.schedule == "searched":
        return torch.tensor(grids.searched()[steps], device=device, dtype=torch.float32)
    if options.schedule == "epss":
        grid: Tensor = upstream.epss_grid(steps, device, torch.float32)
    else:
        grid = torch.linspace(0, 1, steps + 1, device=device, dtype=torch.float32)
    if options.schedule == "uniform":
        return grid
    return grid + SWAY * (torch.cos(torch.pi / 2 * grid) - 1 + grid)


def evaluation_times(grid: Tensor, rule: Solver) -> Tensor:
    """When the flow is evaluated along `grid`, in order: [nfe]."""
    import torch

    starts, lengths = grid[:-1], grid.diff()
    return torch.stack([starts + at * lengths for at in rule.at], dim=1).flatten()


def follows(times: list[float], schedule: str) -> bool:
    """Whether the starts of a solver's steps lie on the named schedule, judged from the times alone.

    Undoes the sway (with coefficient -1, t = 1 - cos(pi u / 2)) and looks at the spacing of what is left:
    even for `uniform` and `sway`, that of upstream's pruned grid for `epss`.
    """
    if schedule == "uniform":
        return _even(times)
    if schedule == "searched":
        grid = grids.searched().get(len(times))
        return grid is not None and all(abs(t - u) < 1e-4 for t, u in zip(times, grid, strict=False))
    unswayed = [math.acos(1.0 - min(max(t, 0.0), 1.0)) * 2.0 / math.pi for t in times]
    if schedule == "sway":
        return _even(unswayed)
    pruned = upstream.epss_grid(len(times), "cpu", None).tolist()
    return not _even(unswayed) and all(abs(u - p) < 1e-3 for u, p in zip(unswayed, pruned, strict=False))


def _even(values: list[float]) -> bool:
    """Whether `values` are the evenly spaced fractions 0, 1/n, 2/n ... of a grid that ends at 1."""
    return all(abs(value - index / len(values)) < 1e-3 for index, value in enumerate(values))


def solved_by(steps: list[list[float]], name: str) -> bool:
    """Whether the evaluation times of each step, in order, are those of the named solver."""
    at, ends = SOLVERS[name].at, [step[0] for step in steps[1:]] + [1.0]
    return all(
        len(times) == len(at)
        and all(
            abs(times[0] + share * (end - times[0]) - t) < 1e-5 for share, t in zip(at, times, strict=True)
        )
        for times, end in zip(steps, ends, strict=True)
    )


class Backbone(Protocol):
    """Opens one request: what the flow is conditioned on goes in, a function to evaluate it comes out."""

    def __call__(
        self, cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None
    ) -> contextlib.AbstractContextManager[Evaluate]:
        """`cond` [b, n, d] float32, `tokens` [b, nt], `times` [nfe], `mask` [b, n] (None: all is speech)."""


def plain(transformer: Any) -> Backbone:
    """Upstream's backbone, called as upstream calls it."""

    @contextlib.contextmanager
    def begin(cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None) -> Iterator[Evaluate]:
        dtype = transformer.proj_out.weight.dtype
        given: dict[str, Any] = {"cond": cond.to(dtype), "text": tokens, "mask": mask, "cache": True}

        def evaluate(x: Tensor, evaluation: int, half: Half) -> Tensor:
            given.update(x=x.to(dtype), time=times[evaluation])
            if half == "both":
                packed: Tensor = transformer(**given, cfg_infer=True)
                return packed
            dropped = half == "unconditional"
            single: Tensor = transformer(**given, drop_audio_cond=dropped, drop_text=dropped)
            return single

        try:
            if mask is not None:
                transformer.text_cond, transformer.text_uncond = (
                    embed_text(transformer, tokens, mask, drop_text=dropped) for dropped in (False, True)
                )
            yield evaluate
        finally:
            transformer.clear_cache()  # the text embeddings of this request, kept per thread by upstream

    return begin


def sample(
    backbone: Backbone,
    reference_mel: Tensor,
    tokens: Tensor,
    noise: Tensor,
    grid: Tensor,
    options: Options,
    on_step: Callable[[Evaluation, Tensor], None],
    *,
    mask: Tensor | None = None,
    reference_frames: Tensor | None = None,
) -> Tensor:
    """Carry `noise` along the flow to a mel whose first frames are the reference.

    Args:
        backbone: `plain(transformer)`, or one that an optimisation put in its place.
        reference_mel: [b, r, d] float32, the conditioned reference clips, zero beyond each one's own frames.
        tokens: [b, nt] int64, reference text followed by the text to say; -1 pads.
        noise: [b, n, d] float32 with n > r.
        grid: [steps + 1] times.
        options: for the solver and the guidance.
        on_step: told of each evaluation, with the flow it gave.
        mask: [b, n] bool, true where an item has frames; None where all items fill n.
        reference_frames: [b] int64, frames of each item's clip; None where all have r.

    Returns:
        [b, n, d] float32; what lies where the mask is false means nothing.
    """
    import torch
    from torch.nn import functional

    frames = noise.shape[1]
    padded = functional.pad(reference_mel, (0, 0, 0, frames - reference_mel.shape[1]))  # [b, n, d]
    x = carry(backbone, padded, tokens, noise, grid, options, on_step, mask)
    if reference_frames is None:
        reference_frames = torch.full((1,), reference_mel.shape[1], device=x.device)
    is_reference = torch.arange(frames, device=x.device)[None, :, None] < reference_frames[:, None, None]
    return torch.where(is_reference, padded, x)


def carry(
    backbone: Backbone,
    cond: Tensor,
    tokens: Tensor,
    x: Tensor,
    grid: Tensor,
    options: Options,
    on_step: Callable[[Evaluation, Tensor], None],
    mask: Tensor | None = None,
) -> Tensor:
    """Follow the flow from `x` at the first time of `grid` to its last, [b, n, d]; see `sample`."""
    rule = solver(options)
    times = evaluation_times(grid, rule)
    with backbone(cond, tokens, times, mask) as evaluate:
        flow = _watched(evaluate, options, times, len(rule.at), on_step)
        for step, (t0, t1) in enumerate(itertools.pairwise(grid)):
            x = rule.advance(flow, x, t1 - t0, step * len(rule.at))
    return x


def _watched(
    evaluate: Evaluate,
    options: Options,
    times: Tensor,
    stages: int,
    on_step: Callable[[Evaluation, Tensor], None],
) -> Flow:
    """The guided flow in float32; what each evaluation made the transformer do is counted at its calls."""
    calls: list[int] = []

    def counted(x: Tensor, evaluation: int, half: Half) -> Tensor:
        out = evaluate(x, evaluation, half)
        calls.append(out.shape[0] // x.shape[0])
        return out

    guided = guidance.apply(counted, options, times)

    def flow(x: Tensor, evaluation: int) -> Tensor:
        calls.clear()
        out = guided(x, evaluation)
        on_step(Evaluation(times[evaluation], evaluation // stages, tuple(calls)), out)
        return out.float()

    return flow


def noise_like(frames: int, channels: int, seed: int, device: Any) -> Tensor:
    """Unit Gaussian noise [1, frames, channels] from a generator of its own: other threads cannot disturb it.

    The stream equals that of `torch.manual_seed(seed)`, so upstream's `CFM.sample(seed=...)` draws the same.
    """
    import torch

    generator = torch.Generator(device=device).manual_seed(seed)
    return torch.randn(frames, channels, generator=generator, device=device)[None]
