"""The hot loop: time grids, solvers of the flow, its guidance, and the noise it starts from.

With the default options the arithmetic is that of upstream's `CFM.sample` (https://arxiv.org/abs/2410.06885),
operation by operation: for the same noise the mel is bit-identical.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine import upstream
from engine.dit import embed_text
from engine.evidence import Evaluation
from engine.options import NO_GUIDANCE, Options, planned

if TYPE_CHECKING:
    from torch import Tensor

    from engine.optimizations import Around

SWAY = -1.0
"""Sway coefficient: upstream's `infer` default; -1 spends most steps near the noise, where words are
decided."""

Half = Literal["both", "conditional", "unconditional"]


class Evaluate(Protocol):
    """The transformer for one batch."""

    def __call__(self, x: Tensor, evaluation: int, half: Half) -> Tensor:
        """`x` [b, n, d] -> [b, n, d] at that evaluation's time; `both`: conditional first, [2 b, n, d]."""


class Backbone(Protocol):
    """Opens one batch: what the flow is conditioned on goes in, a function to evaluate it comes out."""

    def __call__(
        self, cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None
    ) -> contextlib.AbstractContextManager[Evaluate]:
        """`cond` [b, n, d] float32, `tokens` [b, nt], `times` [nfe], `mask` [b, n] (None: all is speech)."""


Flow = Callable[["Tensor", int], "Tensor"]
"""The guided flow: (x [b, n, d], index of the evaluation) -> [b, n, d] float32."""

OnStep = Callable[[Evaluation], None]
"""Told of each evaluation of the flow."""


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
        return torch.tensor(options.searched_times, device=device, dtype=torch.float32)
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


def strengths(options: Options, times: Tensor) -> tuple[float, ...]:
    """How strongly each evaluation is guided; 0 where it is not and costs half."""
    if options.guidance == "searched":
        return planned()[options.nfe].strengths
    if options.guidance == "interval":
        return tuple(options.cfg_strength * (t < options.guidance_until) for t in times.tolist())
    return (options.cfg_strength,) * len(times)


class Guided:
    """The guided flow of one batch: conditional + (conditional - unconditional) * strength.

    `packed` is upstream's: both halves in one batch of two. `separate` gives the same from two calls of half
    the memory. `interval` guides only until a time (https://arxiv.org/abs/2404.07724), `reuse` keeps the
    guiding direction for every second evaluation (the idea of https://arxiv.org/abs/2408.11194), and
    `searched` guides the steps of a plan, each by a strength of its own: all three are lossy and send fewer
    rows through the transformer.

    Args:
        evaluate: the transformer for this batch.
        options: for the way, and the solver's stages.
        times: of all evaluations, [nfe].
        on_step: told of each evaluation.
        around: entered around each call of the transformer.
        guided_by: strength of each evaluation; by default what the options say.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        options: Options,
        times: Tensor,
        on_step: OnStep,
        around: tuple[Around, ...] = (),
        guided_by: Sequence[float] | None = None,
    ) -> None:
        self._evaluate, self._options, self._times = evaluate, options, times
        self._on_step, self._around = on_step, around
        self._stages = len(solver(options).at)
        self._outputs: list[Tensor] = []
        self._kept: Tensor | None = None
        self._strengths = strengths(options, times) if guided_by is None else guided_by

    def __call__(self, x: Tensor, evaluation: int) -> Tensor:
        """`x` [b, n, d] -> [b, n, d] float32 at the time of that evaluation."""
        self._outputs.clear()
        conditional, direction = self._halves(x, evaluation)
        flow = conditional if direction is None else conditional + direction * self._strengths[evaluation]
        step = evaluation // self._stages
        self._on_step(Evaluation(self._times[evaluation], step, x, tuple(self._outputs), flow))
        return flow.float()

    def _halves(self, x: Tensor, evaluation: int) -> tuple[Tensor, Tensor | None]:
        """The conditional half, and the direction from the unconditional one to it where that is wanted."""
        way = self._options.guidance
        if self._strengths[evaluation] < NO_GUIDANCE:
            return self._call(x, evaluation, "conditional"), None
        if way == "reuse" and evaluation % 2 and self._kept is not None:
            return self._call(x, evaluation, "conditional"), self._kept
        if way == "separate":
            conditional = self._call(x, evaluation, "conditional")
            return conditional, conditional - self._call(x, evaluation, "unconditional")
        conditional, unconditional = self._call(x, evaluation, "both").chunk(2, dim=0)
        self._kept = conditional - unconditional
        return conditional, self._kept

    def _call(self, x: Tensor, evaluation: int, half: Half) -> Tensor:
        with contextlib.ExitStack() as stack:
            for enter in self._around:
                stack.enter_context(enter())
            output = self._evaluate(x, evaluation, half)
        self._outputs.append(output)
        return output


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
            transformer.clear_cache()  # the text embeddings of this batch, kept per thread by upstream

    return begin


def sample(
    backbone: Backbone,
    reference_mel: Tensor,
    tokens: Tensor,
    noise: Tensor,
    grid: Tensor,
    options: Options,
    on_step: OnStep,
    *,
    mask: Tensor | None = None,
    reference_frames: Tensor | None = None,
    around: tuple[Around, ...] = (),
) -> Tensor:
    """Carry `noise` along the flow to a mel whose first frames are the reference.

    Args:
        backbone: `plain(transformer)`, or one that an optimisation put in its place.
        reference_mel: [b, r, d] float32, the conditioned reference clips, zero beyond each one's own frames.
        tokens: [b, nt] int64, reference text followed by the text to say; -1 pads.
        noise: [b, n, d] float32 with n > r.
        grid: [steps + 1] times.
        options: for the solver and the guidance.
        on_step: told of each evaluation.
        mask: [b, n] bool, true where an item has frames; None where all items fill n.
        reference_frames: [b] int64, frames of each item's clip; None where all have r.
        around: entered around each call of the transformer.

    Returns:
        [b, n, d] float32; what lies where the mask is false means nothing.
    """
    import torch
    from torch.nn import functional

    frames = noise.shape[1]
    padded = functional.pad(reference_mel, (0, 0, 0, frames - reference_mel.shape[1]))  # [b, n, d]
    x = integrate(backbone, padded, tokens, noise, grid, options, on_step, mask=mask, around=around)
    if reference_frames is None:
        reference_frames = torch.full((1,), reference_mel.shape[1], device=x.device)
    is_reference = torch.arange(frames, device=x.device)[None, :, None] < reference_frames[:, None, None]
    return torch.where(is_reference, padded, x)


def integrate(
    backbone: Backbone,
    cond: Tensor,
    tokens: Tensor,
    x: Tensor,
    grid: Tensor,
    options: Options,
    on_step: OnStep,
    *,
    mask: Tensor | None = None,
    around: tuple[Around, ...] = (),
) -> Tensor:
    """Follow the flow from `x` at the first time of `grid` to its last, [b, n, d]; see `sample`."""
    rule = solver(options)
    times = evaluation_times(grid, rule)
    with backbone(cond, tokens, times, mask) as evaluate:
        flow = Guided(evaluate, options, times, on_step, around)
        for step, (t0, t1) in enumerate(itertools.pairwise(grid)):
            x = rule.advance(flow, x, t1 - t0, step * len(rule.at))
    return x


def noise_like(frames: int, channels: int, seed: int, device: Any) -> Tensor:
    """Unit Gaussian noise [1, frames, channels] from a generator of its own: other threads cannot disturb it.

    The stream equals that of `torch.manual_seed(seed)`, so upstream's `CFM.sample(seed=...)` draws the same.
    """
    import torch

    generator = torch.Generator(device=device).manual_seed(seed)
    return torch.randn(frames, channels, generator=generator, device=device)[None]
