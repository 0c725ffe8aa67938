"""Observations: counted once each, from any thread, read without disturbing who counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from engine import proofs, sampler
from engine.evidence import Batch, Evaluation, Observations, Trace
from engine.loading import PROOFS
from engine.options import Options

ALONE = Batch(1, 100, 100, True)


def traced(halves: list[tuple[int, ...]]) -> Trace:
    """The course of a batch that sent these halves through the transformer."""
    trace = Trace(Options(nfe=len(halves)), 0, slice(1))
    trace.halves = halves
    return trace


def test_counts_from_many_threads_add_up() -> None:
    """No count is lost when requests run at the same time."""
    seen = Observations()

    def work(_: int) -> None:
        for _ in range(200):
            seen.add("decodes")
            seen.sampled(traced([(2,), (1, 1)]), {"fp32"}, ALONE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert seen.counts["decodes"] == 1600
    assert (seen.counts["pieces"], seen.counts["evaluations"]) == (1600, 3200)
    assert (seen.counts["calls"], seen.counts["rows"]) == (4800, 6400)


def test_evidence_is_read_while_others_count() -> None:
    """A metrics endpoint asks at any time: what it reads does not change under it."""
    seen, options = Observations(), Options(nfe=2)

    def work(number: int) -> None:
        for index in range(300):
            seen.add(f"onnx provider{number}-{index}")
            seen.sampled(traced([(2,), (2,)]), {"fp32"}, Batch(1, 100 + index, 100 + index, True))

    def look(_: int) -> None:
        for _ in range(100):
            copy = seen.snapshot()
            for name in ("batch", "buckets", "attention", "vocoder_backend", "nfe"):
                PROOFS[name](options, copy)

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(work, number) for number in range(4)] + [pool.submit(look, n) for n in range(4)]
        for future in done:
            future.result()


def test_a_snapshot_is_a_copy() -> None:
    """What happens later is not in it."""
    seen = Observations()
    copy = seen.snapshot()
    seen.add("decodes")
    seen.sampled(traced([(2,)]), {"fp32"}, ALONE)
    assert (copy.counts.total(), copy.batches, len(copy.traces)) == (0, set(), 0)


def test_number_formats_are_kept_apart_by_part() -> None:
    """The vocoder's format says nothing about the transformer's."""
    seen = Observations()
    seen.sampled(traced([(2,)]), {"bf16"}, ALONE)
    seen.add("vocoder fp32")
    seen.add("graphs transformer")
    assert seen.dtypes("transformer") == {"bf16"}
    assert seen.dtypes("vocoder") == {"fp32"}


def solved(asked: Options, ran: Any) -> Observations:
    """A flow that bends, followed by the rule `ran`, looked at for the one that was asked for."""
    grid = sampler.time_grid(asked, "cpu")
    rule = sampler.SOLVERS[ran]
    times = sampler.evaluation_times(grid, sampler.SOLVERS[asked.solver])
    trace = Trace(asked, 0, slice(0, 4))

    def evaluate(x: Any, evaluation: int, half: str) -> Any:
        return torch.sin(3 * x + 5 * times[evaluation])

    flow = sampler.Guided(evaluate, asked, times, trace.add)
    x = torch.linspace(-1, 1, 8).reshape(1, 4, 2)
    for step, length in enumerate(grid.diff()):
        x = rule.advance(flow, x, length, step * len(rule.at))
    trace.finish(x)
    seen = Observations()
    seen.sampled(trace, {"fp32"}, ALONE)
    return seen


@pytest.mark.parametrize("name", sampler.SOLVERS)
@pytest.mark.parametrize("nfe", [2, 8, 64])
def test_a_solver_is_proven_by_where_its_steps_go(name: Any, nfe: int) -> None:
    """Rounding is allowed for, and nothing else."""
    asked = Options(nfe=nfe, solver=name, cfg_strength=0.0)
    assert proofs.solver(asked, solved(asked, name)).proven is True


@pytest.mark.parametrize("name", ["midpoint", "heun"])
@pytest.mark.parametrize("nfe", [2, 8, 64])
def test_a_rule_that_gives_eulers_result_is_seen(
    name: Any, nfe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It evaluates the flow as often and at the right times, and then throws the second value away."""

    def lazy(flow: Any, x: Any, step: Any, first: int) -> Any:
        start = flow(x, first)
        flow(x + sampler.SOLVERS[name].at[1] * step * start, first + 1)
        return x + step * start

    asked = Options(nfe=nfe, solver=name, cfg_strength=0.0)
    rule = sampler.Solver(sampler.SOLVERS[name].at, lazy)
    monkeypatch.setitem(sampler.SOLVERS, name, rule)
    assert proofs.solver(asked, solved(asked, name)).proven is False


def test_a_fault_in_one_batch_is_seen_though_the_last_was_right() -> None:
    """Every batch that is remembered is judged."""
    asked = Options(nfe=4, cfg_strength=0.0)
    seen = solved(asked, "euler")
    (right,) = seen.traces
    wrong = Trace(asked, 0, slice(1))
    wrong.halves = [(1,)] * 3
    seen.traces.extend([wrong, right])
    assert proofs.nfe(asked, seen).proven is False


def test_an_evaluation_counts_its_halves() -> None:
    """By the rows that came out of each call."""
    x = torch.zeros(3, 2, 1)
    outputs = torch.zeros(6, 2, 1), torch.zeros(3, 2, 1)
    assert Evaluation(0.0, 0, x, outputs, x).halves == (2, 1)
