"""The search of time grids: dynamic programming, polishing, what is shipped, and going on after a stop."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import options as engine_options
from engine import proofs, sampler
from engine.batches import Inputs
from engine.errors import UsageError
from engine.options import GRIDS, Options
from tests.studies import gridrecord, gridsearch
from tests.studies.gridsearch import CANDIDATES, Problem

TIMES = gridsearch.candidate_times().double()


def problem(rate: float, name: str = "made up") -> Problem:
    """x' = rate t x with its exact path; two frames, the first of which is the reference."""
    path = torch.exp(rate * TIMES**2 / 2)[:, None, None].expand(-1, 2, 1).float()
    batch = Inputs(torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.ones(1, 2, 1), None, torch.tensor([1]))
    return Problem(name, batch, path)


def euler(rate: float, grid: Any) -> float:
    """Where Euler ends along a grid: the slow oracle."""
    x = 1.0
    for start, end in itertools.pairwise(grid):
        x += (end - start) * rate * start * x
    return x


def searched(rates: list[float], longest: int) -> list[list[int]]:
    """Dynamic programming on made-up problems."""
    problems = [problem(rate) for rate in rates]
    states, origins = [p.path[:1] for p in problems], []
    for step in range(longest):
        inner = range(step, max(step + 1, CANDIDATES))[: len(states[0])]
        at = TIMES[list(inner)].float()[:, None, None]
        slopes = [rate * at * x[: len(inner)] for rate, x in zip(rates, states, strict=True)]
        states, came_from = gridsearch.extend(problems, states, slopes, step)
        origins.append(came_from)
    return origins


@settings(max_examples=10)
@given(st.lists(st.floats(0.5, 3), min_size=1, max_size=3))
def test_two_steps_are_the_best_of_all_pairs(rates: list[float]) -> None:
    """With one inner time there is nothing to approximate: the slow oracle tries every candidate."""
    grid = gridsearch.backtrack(searched(rates, 2), 2)

    def cost(inner: float) -> float:
        ends = [euler(rate, (0.0, inner, 1.0)) / float(torch.exp(torch.tensor(rate / 2))) for rate in rates]
        return sum((end - 1) ** 2 for end in ends)

    best = min(cost(float(t)) for t in TIMES[1:-1])
    assert cost(grid[1]) == pytest.approx(best, rel=1e-3, abs=1e-9)


@settings(max_examples=10)
@given(st.floats(0.5, 3), st.integers(1, 8))
def test_a_searched_grid_rises_and_is_no_worse_than_a_uniform_one(rate: float, steps: int) -> None:
    """From 0 to 1 in so many steps; on one problem it cannot lose to evenly spaced candidates by much."""
    grid = gridsearch.backtrack(searched([rate], 8), steps)
    assert len(grid) == steps + 1
    assert (grid[0], grid[-1]) == (0.0, pytest.approx(1.0))
    assert all(a < b for a, b in itertools.pairwise(grid))
    exact = float(torch.exp(torch.tensor(rate / 2)))
    uniform = [index / steps for index in range(steps + 1)]
    assert abs(euler(rate, grid) - exact) <= abs(euler(rate, uniform) - exact) * 1.05


@given(st.integers(3, 8), st.data())
def test_a_moved_time_stays_between_its_neighbours(steps: int, data: st.DataObject) -> None:
    """Or the move is refused; the others stay where they are."""
    grid = tuple(sampler.time_grid(Options(nfe=steps), "cpu").tolist())
    index = data.draw(st.integers(1, steps - 1))
    by = data.draw(st.floats(-0.5, 0.5))
    other = gridsearch.moved(grid, index, by)
    if other is not None:
        assert grid[index - 1] < other[index] < grid[index + 1]
        assert other[:index] + other[index + 1 :] == grid[:index] + grid[index + 1 :]


def test_polishing_finds_the_minimum_nearby() -> None:
    """A bowl around a known grid: each time comes to within the last move of it."""
    goal = (0.0, 0.1, 0.35, 1.0)
    start = tuple(sampler.time_grid(Options(nfe=3), "cpu").tolist())

    def bowl(grid: Any) -> float:
        return sum((a - b) ** 2 for a, b in zip(grid, goal, strict=True))

    assert bowl(gridsearch.polish(start, bowl, 0)) == bowl(start)
    assert gridsearch.polish(start, bowl, 4) == pytest.approx(goal, abs=0.01)


def rows(searched: list[float], sway: list[float]) -> list[dict[str, Any]]:
    """Six steps, two schedules, an error for each held-out text."""
    return [
        {"nfe": 6, "schedule": name, "held_out": sum(errors) / 4, "held_out_by_text": errors}
        for name, errors in (("sway", sway), ("searched", searched))
    ]


def test_only_a_grid_that_is_better_on_unseen_texts_is_shipped(tmp_path: Path) -> None:
    """In the mean and on three texts of four, so that one text does not decide; the record keeps all rows."""
    for searched, better in (
        ([0.1, 0.1, 0.1, 0.1], True),
        ([0.1, 0.1, 0.1, 0.25], True),
        ([0.01, 0.01, 0.25, 0.25], False),
        ([0.2, 0.2, 0.2, 0.2], False),
        ([0.1, 0.1, 0.1, 0.9], False),
    ):
        found = rows(searched, [0.2] * 4)
        assert gridrecord.better(found, 6) is better
        gridrecord.write(tmp_path / "grids.json", {"checkpoint": "x"}, {6: (0.0, 1.0)}, found)
        record = json.loads((tmp_path / "grids.json").read_text())
        assert record["grids"] == ({"6": [0.0, 1.0]} if better else {})
        assert len(record["rows"]) == 2


def test_every_schedule_is_compared_at_every_step_count() -> None:
    """Pruned grids where upstream has one; errors are means over texts."""
    found = gridrecord.compare({7: (0.0, 1.0), 8: (0.0, 1.0)}, lambda grid: ([1.0, 3.0], [float(len(grid))]))
    assert [(row["nfe"], row["schedule"]) for row in found] == [
        *((7, name) for name in ("uniform", "sway", "epss", "searched")),
        *((8, name) for name in ("uniform", "sway", "searched")),
    ]
    assert (found[0]["searched_on"], found[0]["held_out"]) == (2.0, 8.0)
    assert set(gridrecord.known(7)) == {"uniform", "sway", "epss"}


def test_texts_are_either_searched_on_or_held_out() -> None:
    """None is both, and too many are refused."""
    seen, unseen = gridsearch.split_cases(["en"], 4)
    assert len(seen) == len(unseen) == 4
    assert not {case.sha256 for case in seen} & {case.sha256 for case in unseen}
    with pytest.raises(UsageError, match="100 texts"):
        gridsearch.split_cases(["en"], 100)


def test_the_shipped_grids_can_be_sampled() -> None:
    """Each rises from 0 to 1 in its steps, and the record that came with them says that each is better."""
    record = json.loads(GRIDS.read_text())
    for steps, grid in engine_options.searched().items():
        assert len(grid) == steps + 1
        assert (grid[0], grid[-1]) == (0.0, 1.0)
        assert all(a < b for a, b in itertools.pairwise(grid))
        assert gridrecord.better(record["rows"], steps)
        times = sampler.time_grid(Options(nfe=steps, schedule="searched"), "cpu")
        assert proofs.follows(times[:-1].tolist(), "searched")


def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    """What was made is not made again, and nothing is begun when the time is up."""
    case = gridsearch.split_cases([], 1)[0][0]
    made: list[str] = []

    def pose(tts: Any, case: Any, refine: int) -> Problem:
        made.append(case.name)
        return problem(1.0, case.name)

    monkeypatch.setattr(gridsearch, "pose", pose)
    with pytest.raises(gridsearch.OutOfTimeError):
        gridsearch.Search(None, "of", 1, tmp_path, -1.0).problem(case)  # type: ignore[arg-type]
    assert made == []
    first = gridsearch.Search(None, "of", 1, tmp_path, 100.0).problem(case)  # type: ignore[arg-type]
    again = gridsearch.Search(None, "of", 1, tmp_path, -1.0).problem(case)  # type: ignore[arg-type]
    assert made == [case.name]
    assert torch.equal(first.path, again.path)


@pytest.mark.slow
def test_the_search_runs_on_a_real_model(tmp_path: Path, tiny_folder: Path, monkeypatch: Any) -> None:
    """The whole command on the tiny checkpoint, with one text to search on."""
    monkeypatch.setattr(gridsearch, "STEPS", (6, 8))
    monkeypatch.setattr(gridsearch, "CANDIDATES", 10)
    gridsearch.main("seeded-tiny", 1, 1, 0, 600.0, tmp_path, tmp_path / "grids.json")
    record = json.loads((tmp_path / "grids.json").read_text())
    assert record["checkpoint"] == "seeded-tiny"
    assert {row["nfe"] for row in record["rows"]} == {6, 8}
