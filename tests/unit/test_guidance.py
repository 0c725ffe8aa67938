"""Guidance: what each way of computing it gives, and what it sends through the transformer."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.evidence import Evaluation
from engine.optimizations import guidance
from engine.options import Guidance, Options

TIMES = torch.tensor([0.0, 0.1, 0.4, 0.5, 0.6, 0.9])


class Halves:
    """A transformer for one request whose halves differ, change with the evaluation, and are counted."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, x: Any, evaluation: int, half: guidance.Half) -> Any:
        self.calls.append(half)
        conditional, unconditional = torch.sin(x + evaluation), torch.cos(2 * x - evaluation)
        return {
            "both": torch.cat([conditional, unconditional]),
            "conditional": conditional,
            "unconditional": unconditional,
        }[half]


def flows(options: Options) -> tuple[list[Any], list[str]]:
    """The guided flow of each evaluation at one and the same x, and the calls that it took."""
    halves, x = Halves(), torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    flow = guidance.apply(halves, options, TIMES)
    return [flow(x, evaluation) for evaluation in range(len(TIMES))], halves.calls


def plain(strength: float) -> tuple[list[Any], list[Any]]:
    """The slow oracle: the conditional half, and the direction that guidance adds."""
    x = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    halves = [(torch.sin(x + e), torch.cos(2 * x - e)) for e in range(len(TIMES))]
    return [c for c, _ in halves], [(c - u) * strength for c, u in halves]


@given(st.floats(0.01, 10))
def test_packed_and_separate_are_upstreams_formula(strength: float) -> None:
    """pred + (pred - null) * strength, to the bit, from one call or from two."""
    conditional, guiding = plain(strength)
    expected = [c + g for c, g in zip(conditional, guiding, strict=True)]
    for name, calls in (("packed", ["both"]), ("separate", ["conditional", "unconditional"])):
        found, made = flows(Options(cfg_strength=strength, guidance=name))  # type: ignore[arg-type]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert made == calls * len(TIMES)


@pytest.mark.parametrize("until", [0.05, 0.4, 0.5, 0.7])
def test_an_interval_guides_before_its_end_and_not_after(until: float) -> None:
    """The end itself is outside; afterwards only the conditional half is computed."""
    found, made = flows(Options(guidance="interval", guidance_until=until))
    conditional, guiding = plain(2.0)
    for index, (t, flow) in enumerate(zip(TIMES.tolist(), found, strict=True)):
        expected = conditional[index] + guiding[index] if t < until else conditional[index]
        assert torch.equal(flow, expected)
        assert made[index] == ("both" if t < until else "conditional")


def test_reuse_keeps_the_direction_for_every_second_evaluation() -> None:
    """The direction is the last one; the conditional half is always fresh."""
    found, made = flows(Options(guidance="reuse"))
    conditional, guiding = plain(2.0)
    for index, flow in enumerate(found):
        torch.testing.assert_close(flow, conditional[index] + guiding[index - index % 2])
    assert made == ["both", "conditional"] * 3


def test_without_guidance_only_the_conditional_half_is_computed() -> None:
    """Upstream's threshold: below 1e-5 there is none."""
    found, made = flows(Options(cfg_strength=1e-6))
    assert all(torch.equal(a, b) for a, b in zip(found, plain(0.0)[0], strict=True))
    assert set(made) == {"conditional"}


def test_requests_do_not_share_a_direction() -> None:
    """What one request keeps, another never sees."""
    options, x = Options(guidance="reuse"), torch.ones(1, 1, 1)
    one, other = (guidance.apply(Halves(), options, TIMES) for _ in range(2))
    one(x, 0)
    with pytest.raises(IndexError):
        other(x, 1)


PACKED, SEPARATE, SINGLE = (2,), (1, 1), (1,)


@pytest.mark.parametrize(
    ("options", "halves"),
    [
        (Options(), [PACKED] * 6),
        (Options(guidance="separate"), [SEPARATE] * 6),
        (Options(guidance="interval", guidance_until=0.5), [PACKED] * 3 + [SINGLE] * 3),
        (Options(guidance="reuse"), [PACKED, SINGLE] * 3),
        (Options(cfg_strength=0.0), [SINGLE] * 6),
    ],
    ids=str,
)
def test_the_proof_is_what_went_through_the_transformer(options: Options, halves: list[Any]) -> None:
    """Each way is proven by its own pattern of rows and by none of the others."""
    patterns = ([PACKED] * 6, [SEPARATE] * 6, [PACKED] * 3 + [SINGLE] * 3, [PACKED, SINGLE] * 3, [SINGLE] * 6)
    for pattern in patterns:
        seen = [
            Evaluation(float(t), index, calls)
            for index, (t, calls) in enumerate(zip(TIMES, pattern, strict=True))
        ]
        assert guidance.evidence(options, seen).proven is (pattern == halves)
    assert guidance.evidence(options, []).proven is None


def test_work_that_is_not_saved_is_no_proof() -> None:
    """An interval that never ends before the last evaluation, or nothing to reuse, saved no row."""
    whole = [Evaluation(t, index, PACKED) for index, t in enumerate((0.0, 0.3))]
    assert guidance.evidence(Options(guidance="interval", guidance_until=0.9), whole).proven is False
    assert guidance.evidence(Options(guidance="reuse"), whole[:1]).proven is False


def test_the_rows_are_said() -> None:
    """The evidence counts them, for the table that a person reads."""
    seen = [Evaluation(0.0, 0, PACKED), Evaluation(0.5, 1, SINGLE)]
    assert guidance.evidence(Options(guidance="reuse"), seen).observed == "3 rows for 2 evaluations: 2 1"


def test_every_guidance_is_tested_here() -> None:
    """A new one needs its oracle in this file."""
    assert set(get_args(Guidance)) == {"packed", "separate", "interval", "reuse"}
