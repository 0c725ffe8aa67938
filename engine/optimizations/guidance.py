"""Classifier-free guidance: how its two halves are computed, and how often.

`packed` is upstream's: both halves in one batch of two. `separate` gives the same from two calls of half the
memory. `interval` guides only until a time (https://arxiv.org/abs/2404.07724), and `reuse` keeps the guiding
direction for every second evaluation (the idea of https://arxiv.org/abs/2408.11194): both are lossy and send
fewer rows through the transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from engine.evidence import Evaluation, Evidence
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

Half = Literal["both", "conditional", "unconditional"]


class Evaluate(Protocol):
    """The transformer for one request."""

    def __call__(self, x: Tensor, evaluation: int, half: Half) -> Tensor:
        """`x` [b, n, d] -> [b, n, d] at that evaluation's time; `both`: conditional first, [2 b, n, d]."""


class Flow(Protocol):
    """The flow to follow."""

    def __call__(self, x: Tensor, evaluation: int) -> Tensor:
        """`x` [b, n, d] -> [b, n, d] at the time of that evaluation."""


def apply(evaluate: Evaluate, options: Options, times: Tensor) -> Flow:
    """The guided flow of one request: conditional + (conditional - unconditional) * cfg_strength."""
    if not options.guided:
        return lambda x, evaluation: evaluate(x, evaluation, "conditional")
    strength = options.cfg_strength

    def packed(x: Tensor, evaluation: int) -> Tensor:
        conditional, unconditional = evaluate(x, evaluation, "both").chunk(2, dim=0)
        return conditional + (conditional - unconditional) * strength

    def separate(x: Tensor, evaluation: int) -> Tensor:
        conditional = evaluate(x, evaluation, "conditional")
        return conditional + (conditional - evaluate(x, evaluation, "unconditional")) * strength

    if options.guidance == "interval":
        inside = [t < options.guidance_until for t in times.tolist()]
        return lambda x, evaluation: (
            packed(x, evaluation) if inside[evaluation] else evaluate(x, evaluation, "conditional")
        )
    if options.guidance == "reuse":
        return _reusing(evaluate, strength)
    return separate if options.guidance == "separate" else packed


def _reusing(evaluate: Evaluate, strength: float) -> Flow:
    kept: list[Tensor] = []

    def flow(x: Tensor, evaluation: int) -> Tensor:
        if evaluation % 2:
            conditional, direction = evaluate(x, evaluation, "conditional"), kept.pop()
        else:
            conditional, unconditional = evaluate(x, evaluation, "both").chunk(2, dim=0)
            direction = conditional - unconditional
            kept.append(direction)
        return conditional + direction * strength

    return flow


def evidence(options: Options, evaluations: Sequence[Evaluation]) -> Evidence:
    """What went through the transformer in each evaluation of a piece, counted at its calls."""
    if not evaluations:
        return Evidence(None, "no evaluation yet")
    halves = [one.halves for one in evaluations]
    rows = sum(map(sum, halves))
    seen = f"{rows} rows for {len(halves)} evaluations: " + " ".join("+".join(map(str, h)) for h in halves)
    if not options.guided:
        return Evidence(set(halves) == {(1,)}, seen)
    if options.guidance in ("packed", "separate"):
        return Evidence(set(halves) == {{"packed": (2,), "separate": (1, 1)}[options.guidance]}, seen)
    if options.guidance == "interval":
        due = [(2,) if float(one.time) < options.guidance_until else (1,) for one in evaluations]
    else:
        due = [(1,) if index % 2 else (2,) for index in range(len(halves))]
    return Evidence(halves == due and (1,) in due, seen)
