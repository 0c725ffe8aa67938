"""Search for the times at which few Euler steps come nearest to the flow's own path, for each step count.

First by dynamic programming over candidate times (https://arxiv.org/abs/2503.21774): of all ways to reach a
candidate in k steps, keep the one that is nearest to a many-step solution there. Then each time of a grid is
moved by itself for as long as that brings the end nearer. What is reported comes from texts that the search
did not see.

`nox -s study -- grids [--checkpoint NAME] [--seconds N]` goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from engine import batches, loading, sampler
from engine.checkpoint import DEFAULT_CHECKPOINT, sha256
from engine.errors import UsageError
from engine.evidence import Clock
from engine.gate.data import texts
from engine.gate.data.files import write_atomically
from engine.gate.data.workloads import sha256_of
from engine.options import GRIDS, Options
from engine.requests import Request
from engine.synthesis import Engine
from tests.studies import gridrecord
from tests.studies.gridrecord import Grid

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
STEPS = (4, 5, 6, 7, 8)
CANDIDATES = 32
"""Times to choose from, evenly spaced before the sway: as many as upstream's pruned grids choose from."""
FIRST_MOVE = 1 / 64
"""How far polishing moves a time at first, as a share of the unswayed axis: half a candidate."""
ONE_PIECE = 150
"""Letters of a text that surely fits into one piece."""


class OutOfTimeError(Exception):
    """The budget is spent; what was found so far is kept."""


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One text with its noise, and the many-step solution at each candidate time."""

    name: str
    batch: batches.Inputs
    path: Tensor  # [CANDIDATES + 1, n, d]

    @property
    def said(self) -> slice:
        """The frames after the reference."""
        return slice(int(self.batch.reference_frames[0]), None)

    def errors(self, x: Tensor, at: int) -> Tensor:
        """Squared distances of states x [m, n, d] from the path at a candidate, relative to its end: [m]."""
        size = self.path[-1, self.said].square().sum()
        return (x[:, self.said] - self.path[at, self.said]).square().sum(dim=(1, 2)) / size


def candidate_times() -> Tensor:
    """[CANDIDATES + 1] times from 0 to 1."""
    return sampler.time_grid(Options(nfe=CANDIDATES), "cpu")


def pose(tts: Engine, case: texts.Case, refine: int) -> Problem:
    """The first piece of a case, solved by the midpoint rule in `refine` steps between two candidates."""
    import torch

    voice = case.spoken_by(list(tts.checkpoint.references))
    piece = tts._plan(Request(case.text, voice, case.seed), Clock(tts.device)).pieces[0]
    batch = batches.collate([piece], piece.frames, always_masked=False)
    rule, times = sampler.SOLVERS["midpoint"], candidate_times().tolist()
    inner = [torch.linspace(a, b, refine + 1)[:-1] for a, b in itertools.pairwise(times)]
    grid = torch.cat([*inner, torch.ones(1)])
    path = [batch.noise]
    with _flow(tts, batch, sampler.evaluation_times(grid, rule)) as flow:
        for step, length in enumerate(grid.diff()):
            path.append(rule.advance(flow, path[-1], length, step * len(rule.at)))
    return Problem(case.name, batch, torch.cat(path[::refine]))


@contextlib.contextmanager
def _flow(tts: Engine, batch: batches.Inputs, times: Tensor) -> Iterator[sampler.Flow]:
    """The guided flow of one text; its evaluations are numbered by `times`."""
    with tts._open().backbone(_cond(batch), batch.tokens, times, None) as evaluate:
        yield sampler.Guided(evaluate, Options(), times, lambda _: None)


def _carry(
    tts: Engine, batch: batches.Inputs, x: Tensor, grid: Tensor, strengths: Sequence[float] | None
) -> Tensor:
    """From x [1, n, d] at the first time of a grid to its last, by Euler's steps."""
    parts, rule = tts._open(), sampler.SOLVERS["euler"]
    times = sampler.evaluation_times(grid, rule)
    with parts.backbone(_cond(batch), batch.tokens, times, None) as evaluate:
        flow = sampler.Guided(evaluate, Options(), times, lambda _: None, guided_by=strengths)
        for step, length in enumerate(grid.diff()):
            x = rule.advance(flow, x, length, step)
    return x


def _cond(batch: batches.Inputs) -> Tensor:
    from torch.nn import functional

    return functional.pad(batch.reference_mel, (0, 0, 0, batch.noise.shape[1] - batch.reference_mel.shape[1]))


def flows(tts: Engine, problem: Problem, states: Tensor, indices: Iterable[int]) -> Tensor:
    """The guided flow at candidate times, one for each state: [m, n, d]."""
    import torch

    with _flow(tts, problem.batch, candidate_times()) as flow:
        return torch.cat([flow(state[None], index) for state, index in zip(states, indices, strict=True)])


def extend(
    problems: Sequence[Problem], states: Sequence[Tensor], slopes: Sequence[Tensor], first: int
) -> tuple[list[Tensor], list[int]]:
    """One more Euler step to every later candidate, from where it ends nearest to the paths.

    Args:
        problems: what is solved.
        states: for each problem the states at candidates first, first + 1 ..., [m, n, d].
        slopes: the flow at each of them.
        first: index of the earliest candidate that can be reached so far.

    Returns:
        The states at candidates first + 1, ..., CANDIDATES, and the candidate that each was reached from.
    """
    import torch

    times = candidate_times()
    reached: list[list[Tensor]] = [[] for _ in problems]
    origins = []
    for at in range(first + 1, CANDIDATES + 1):
        m = min(at - first, len(slopes[0]))
        lengths = (times[at] - times[first : first + m])[:, None, None]  # [m, 1, 1]
        tries = [x[:m] + lengths * v[:m] for x, v in zip(states, slopes, strict=True)]
        found = torch.stack([p.errors(x, at) for p, x in zip(problems, tries, strict=True)]).mean(dim=0)
        best = int(found.argmin())
        for kept, x in zip(reached, tries, strict=True):
            kept.append(x[best])
        origins.append(first + best)
    return [torch.stack(kept) for kept in reached], origins


def backtrack(origins: Sequence[Sequence[int]], steps: int) -> Grid:
    """The times by which the last candidate was reached in `steps`; `origins[k]` belongs to step k + 1."""
    at, chosen = CANDIDATES, [CANDIDATES]
    for step in range(steps - 1, -1, -1):
        at = origins[step][at - (step + 1)]
        chosen.append(at)
    times = candidate_times().tolist()
    return tuple(times[index] for index in reversed(chosen))


def moved(grid: Grid, index: int, by: float) -> Grid | None:
    """The grid with one inner time moved along the unswayed axis; None where it would pass a neighbour."""
    unswayed = math.acos(1.0 - grid[index]) * 2.0 / math.pi + by
    there = 1.0 - math.cos(math.pi / 2.0 * unswayed)
    return (*grid[:index], there, *grid[index + 1 :]) if grid[index - 1] < there < grid[index + 1] else None


def polish(grid: Grid, error: Callable[[Grid], float], halvings: int) -> Grid:
    """Move one inner time after the other for as long as that lowers the error; then by half of that."""
    best = error(grid)
    for move in (FIRST_MOVE / 2**n for n in range(halvings)):
        better = True
        while better:
            better = False
            for index in range(1, len(grid) - 1):
                for by in (move, -move):
                    other = moved(grid, index, by)
                    if other is not None and error(other) < best:
                        grid, best, better = other, error(other), True
                        break
    return grid


class Search:
    """What has been found, kept in a folder after every part of the work."""

    def __init__(self, tts: Engine, of: str, refine: int, kept: Path, seconds: float) -> None:
        self._tts, self._refine = tts, refine
        self._deadline = time.monotonic() + seconds
        self._kept = kept / of[:12]
        self._kept.mkdir(parents=True, exist_ok=True)
        self._errors: dict[str, float] = json.loads(self._read("errors.json") or "{}")

    def problem(self, case: texts.Case) -> Problem:
        """A case and its many-step solution."""

        def made() -> dict[str, Any]:
            problem = pose(self._tts, case, self._refine)
            return {"path": problem.path, "batch": vars(problem.batch)}

        found = self._once(f"{case.name}.pt", made)
        return Problem(case.name, batches.Inputs(**found["batch"]), found["path"])

    def origins(self, problems: Sequence[Problem], longest: int) -> list[list[int]]:
        """Where each candidate is reached from, one list for each step up to `longest`."""
        found: list[list[int]] = []
        states = [problem.path[:1] for problem in problems]
        for step in range(longest):
            made = functools.partial(self._layer, problems, states, step)
            states, origins = self._once(f"step {step + 1}.pt", made)
            found.append(origins)
        return found

    def errors(
        self, grid: Grid, problems: Sequence[Problem], strengths: tuple[float, ...] | None = None
    ) -> list[float]:
        """Relative distance of each problem's end, by Euler along the grid, from its solution; each step is
        guided by a strength of its own, or all by the default."""
        import torch

        of = f"{grid}" if strengths is None else f"{grid} {strengths}"
        keys = {problem: f"{problem.name} {of}" for problem in problems}
        for problem in [problem for problem in problems if keys[problem] not in self._errors]:
            self._check("%s along %s", problem.name, " ".join(f"{t:.3f}" for t in grid))
            times = torch.tensor(grid, dtype=torch.float32)
            end = _carry(self._tts, problem.batch, problem.batch.noise, times, strengths)
            self._errors[keys[problem]] = float(problem.errors(end, -1).sqrt())
            write_atomically(self._kept / "errors.json", json.dumps(self._errors))
        return [self._errors[key] for key in keys.values()]

    def _layer(self, problems: Sequence[Problem], states: Sequence[Tensor], step: int) -> Any:
        inner = range(step, max(step + 1, CANDIDATES))[: len(states[0])]
        slopes = [
            flows(self._tts, problem, x[: len(inner)], inner)
            for problem, x in zip(problems, states, strict=True)
        ]
        return extend(problems, states, slopes, step)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """What the file holds, or what is made and then kept in it."""
        import torch

        path = self._kept / name
        if not path.is_file():
            self._check("%s", path.stem)
            torch.save(make(), path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        return torch.load(path)

    def _read(self, name: str) -> str | None:
        path = self._kept / name
        return path.read_text(encoding="utf8") if path.is_file() else None

    def _check(self, what: str, *arguments: object) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTimeError
        log.info(what, *arguments)


def split_cases(languages: Sequence[str], count: int) -> tuple[list[texts.Case], list[texts.Case]]:
    """`count` pinned cases to search on and as many held out, in turn; none that takes several pieces.

    Raises:
        UsageError: there are not so many.
    """
    cases = [case for case in texts.choose(languages).cases if len(case.text) < ONE_PIECE]
    if 2 * count > len(cases):
        raise UsageError(f"{count} texts to search on", f"at most {len(cases) // 2}", "Ask for fewer")
    return cases[: 2 * count : 2], cases[1 : 2 * count : 2]


@contextlib.contextmanager
def resumable(
    checkpoint: str, count: int, refine: int, kept: Path, seconds: float
) -> Iterator[tuple[Search, str, list[Problem], list[Problem]]]:
    """A search that goes on where it stopped: itself, the digest of the weights, the problems to search on,
    and as many that are held out.

    Raises:
        Exit: with 3, where the seconds were not enough.
    """
    import torch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tts = loading.load(checkpoint)
    cases = split_cases(tts.checkpoint.languages, count)
    weights = sha256(tts.checkpoint.weights)
    of = sha256_of([weights, [case.sha256 for case in cases[0]], refine, CANDIDATES])
    search = Search(tts, of, refine, kept, seconds)
    try:
        with torch.inference_mode():
            seen, unseen = ([search.problem(case) for case in some] for some in cases)
            yield search, weights, seen, unseen
    except OutOfTimeError:
        log.info("The %.0f seconds are over: run again to go on.", seconds)
        raise typer.Exit(3) from None


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    count: Annotated[int, typer.Option("--texts", min=1, help="To search on; as many are held out.")] = 6,
    refine: Annotated[int, typer.Option(min=1, help="Midpoint steps between two candidates.")] = 2,
    polishing: Annotated[
        int, typer.Option(min=0, help="Rounds of moving single times, each half as far.")
    ] = 2,
    seconds: Annotated[float, typer.Option(help="Stop after so long; run again to go on.")] = 3600.0,
    kept: Annotated[Path, typer.Option(help="Folder for work in progress.")] = Path("build/grid-search"),
    out: Annotated[Path, typer.Option(help="Grids and their record to write.")] = GRIDS,
) -> None:
    """Search, compare with the known schedules on held-out texts, and write what is better."""
    with resumable(checkpoint, count, refine, kept, seconds) as (search, weights, seen, unseen):
        found = search_grids(search, seen, polishing)
        rows = gridrecord.compare(found, lambda grid: [search.errors(grid, p) for p in (seen, unseen)])
    provenance = {
        "checkpoint": checkpoint,
        "weights_sha256": weights,
        "cfg_strength": Options().cfg_strength,
        "reference": {"solver": "midpoint", "steps": CANDIDATES * refine},
        "searched_on": [problem.name for problem in seen],
        "held_out": [problem.name for problem in unseen],
    }
    gridrecord.write(out, provenance, found, rows)
    log.info("\n%s", gridrecord.markdown(rows))


def search_grids(search: Search, problems: Sequence[Problem], polishing: int) -> dict[int, Grid]:
    """For each step count the best grid that was found: from dynamic programming or pruned, then polished."""
    origins = search.origins(problems, max(STEPS))

    def error(grid: Grid) -> float:
        return float(np.mean(search.errors(grid, problems)))

    starts = {steps: [backtrack(origins, steps), *gridrecord.known(steps).values()] for steps in STEPS}
    return {steps: polish(min(starts[steps], key=error), error, polishing) for steps in STEPS}


if __name__ == "__main__":
    typer.run(main)
