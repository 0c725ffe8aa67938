"""Guidance: what each way of computing it gives, and what it sends through the transformer."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import options as engine_options
from engine import proofs, sampler
from engine.evidence import Evaluation, Observations, Trace
from engine.options import Guidance, Options, Plan

PLAN = Plan((0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0), (0.0, 3.0, 0.0, 2.0, 1.5, 0.0))
SEARCHED: dict[str, Any] = {"guidance": "searched", "schedule": "searched", "nfe": 6}
TIMES = torch.tensor([0.0, 0.1, 0.4, 0.5, 0.6, 0.9])


@pytest.fixture(autouse=True)
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of six steps, whatever was searched."""
    for module in (engine_options, sampler, proofs):
        monkeypatch.setattr(module, "planned", lambda: {6: PLAN})


class Halves:
    """A transformer for one request whose halves differ, change with the evaluation, and are counted."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, x: Any, evaluation: int, half: sampler.Half) -> Any:
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
    flow = sampler.Guided(halves, options, TIMES, lambda _: None)
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


def test_a_plan_guides_each_step_by_its_own_strength_or_not_at_all() -> None:
    """A step without strength costs half."""
    found, made = flows(Options(**SEARCHED))
    for index, strength in enumerate(PLAN.strengths):
        conditional, guiding = plain(strength)
        assert torch.equal(
            found[index], conditional[index] + guiding[index] if strength else conditional[index]
        )
        assert made[index] == ("both" if strength else "conditional")


def test_without_guidance_only_the_conditional_half_is_computed() -> None:
    """Upstream's threshold: below 1e-5 there is none."""
    found, made = flows(Options(cfg_strength=1e-6))
    assert all(torch.equal(a, b) for a, b in zip(found, plain(0.0)[0], strict=True))
    assert set(made) == {"conditional"}


def test_requests_do_not_share_a_direction() -> None:
    """What one request keeps, another never sees: without its own it computes both halves."""
    options, x = Options(guidance="reuse"), torch.ones(1, 1, 1)
    calls = Halves(), Halves()
    one, other = (sampler.Guided(halves, options, TIMES, lambda _: None) for halves in calls)
    one(x, 0)
    other(x, 1)
    assert calls[1].calls == ["both"]


PACKED, SEPARATE, SINGLE = (2,), (1, 1), (1,)
PATTERNS = {
    "packed": [PACKED] * 6,
    "separate": [SEPARATE] * 6,
    "interval": [PACKED] * 3 + [SINGLE] * 3,
    "reuse": [PACKED, SINGLE] * 3,
    "searched": [PACKED if strength else SINGLE for strength in PLAN.strengths],
}


def seen(options: Options, halves: list[Any], strengths: Any = None) -> Observations:
    """An engine whose one batch went through the transformer like this."""
    trace = Trace(options, 0, slice(1))
    trace.times, trace.steps, trace.halves = TIMES[: len(halves)], list(range(len(halves))), halves
    trace.strengths = torch.tensor([2.0] * len(halves) if strengths is None else strengths)
    observed = Observations()
    observed.traces.append(trace)
    return observed


@pytest.mark.parametrize("way", PATTERNS)
def test_the_proof_is_what_went_through_the_transformer(way: Any) -> None:
    """Each way is proven by its own pattern of rows and by none of the others."""
    for name, halves in [*PATTERNS.items(), ("none", [SINGLE] * 6)]:
        options = Options(**SEARCHED) if way == "searched" else Options(guidance=way, nfe=6)
        strengths = PLAN.strengths if way == "searched" else None
        assert proofs.guidance(options, seen(options, halves, strengths)).proven is (name == way)
    assert proofs.guidance(Options(), Observations()).proven is None


def test_no_guidance_is_proven_by_single_halves() -> None:
    """And by no row of the other half."""
    options = Options(cfg_strength=0.0)
    assert proofs.guidance(options, seen(options, [SINGLE] * 6)).proven is True
    assert proofs.guidance(options, seen(options, [PACKED] * 6)).proven is False


def test_work_that_is_not_saved_is_no_proof() -> None:
    """An interval that never ends before the last evaluation, or nothing to reuse, saved no row."""
    for options in (Options(guidance="interval", guidance_until=0.6), Options(guidance="reuse")):
        assert proofs.guidance(options, seen(options, [PACKED] * 2)).proven is False


def test_the_rows_are_said() -> None:
    """The evidence counts them, for the table that a person reads."""
    options = Options(guidance="reuse")
    said = proofs.guidance(options, seen(options, [PACKED, SINGLE])).observed
    assert said == "3 rows for 2 evaluations: 2 1"


@given(strength=st.floats(0.1, 10), other=st.floats(0, 10))
def test_the_strength_is_measured_and_not_believed(strength: float, other: float) -> None:
    """A flow that was guided by another strength than the one asked for disproves it."""
    options = Options(cfg_strength=strength)
    found = seen(options, [PACKED], [other])
    close = abs(strength - other) <= proofs.TOLERANCE * strength
    assert proofs.cfg_strength(options, found).proven is close


WAYS: list[dict[str, Any]] = [{"cfg_strength": 2.0}, {"cfg_strength": 5.0}, {"cfg_strength": 0.0}]
WAYS += [{"guidance": name} for name in ("separate", "interval", "reuse")] + [SEARCHED]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_trace_measures_the_strength_of_every_evaluation(way: dict[str, Any]) -> None:
    """From the halves that the transformer gave and the flow that came of them, whatever the way."""
    options = Options(**way)
    trace = Trace(options, 1, slice(0, 3))
    flow = sampler.Guided(Halves(), options, TIMES, trace.add)
    x = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    for evaluation in range(len(TIMES)):
        flow(x, evaluation)
    trace.finish(x)
    inside = [options.guidance != "interval" or t < options.guidance_until for t in TIMES.tolist()]
    due = [options.cfg_strength * guided for guided in inside]
    due = list(PLAN.strengths) if options.guidance == "searched" else due
    assert trace.strengths.tolist() == pytest.approx(due, abs=1e-4)


def test_strength_where_there_should_be_none_is_seen() -> None:
    """Before the first direction is known, whatever was added has no measure: it is infinite."""
    trace = Trace(Options(**SEARCHED), 1, slice(0, 3))
    x = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    for evaluation in range(len(TIMES)):
        flow = sampler.Guided(Halves(), Options(), TIMES, lambda _: None, guided_by=PLAN.strengths)(
            x, evaluation
        )
        halves = Halves()(x, evaluation, "both" if PLAN.strengths[evaluation] else "conditional")
        trace.add(Evaluation(TIMES[evaluation], evaluation, x, (halves,), flow + 0.1 * (evaluation == 0)))
    trace.finish(x)
    assert trace.strengths.tolist() == [
        float("inf"),
        *(pytest.approx(one, abs=1e-4) for one in PLAN.strengths[1:]),
    ]


def test_a_flow_that_takes_no_notice_of_the_strength_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that left every proof true: a strength of two whatever was asked for."""
    asked = Options(cfg_strength=5.0)
    trace = Trace(asked, 0, slice(0, 3))
    flow = sampler.Guided(Halves(), Options(), TIMES, trace.add)
    for evaluation in range(len(TIMES)):
        flow(torch.linspace(-1, 1, 24).reshape(2, 3, 4), evaluation)
    trace.finish(torch.zeros(2, 3, 4))
    observed = Observations()
    observed.traces.append(trace)
    assert proofs.cfg_strength(asked, observed).proven is False


def test_every_guidance_is_tested_here() -> None:
    """A new one needs its oracle in this file."""
    assert set(get_args(Guidance)) == {"packed", "separate", "interval", "reuse", "searched"}
