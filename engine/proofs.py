"""The evidence of the sampler's own options: judged by the numbers that went through its loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from engine import upstream
from engine.evidence import RULES, Evidence, Observations, Proof, Trace
from engine.options import Options, planned, searched

TOLERANCE = 0.05
"""Share by which a strength that is measured in a half format may differ from the one asked for."""


def _every(judge: Callable[[Trace], bool], seen: Observations, observed: Callable[[Trace], str]) -> Evidence:
    """Proven where every batch that is remembered agrees; the words are those of the first that does not, or
    of the last."""
    if not seen.traces:
        return Evidence(None, "no evaluation yet")
    wrong = [trace for trace in seen.traces if not judge(trace)]
    return Evidence(not wrong, observed(wrong[0] if wrong else seen.traces[-1]))


def nfe(options: Options, seen: Observations) -> Evidence:
    """Evaluations counted in each piece, against those its request asked for."""
    counted = ", ".join(map(str, sorted({len(trace.halves) for trace in seen.traces})))
    return _every(
        lambda trace: len(trace.halves) == trace.asked.nfe, seen, lambda _: f"{counted} evaluations a piece"
    )


def solver(options: Options, seen: Observations) -> Evidence:
    """When the flow was evaluated in each step, and whether each step went where the solver's rule says."""

    def right(trace: Trace) -> bool:
        errors = trace.errors.tolist()
        return solved_by(_steps(trace), trace.asked.solver) and all(error <= 1 for error in errors)

    def observed(trace: Trace) -> str:
        error = max(trace.errors.tolist(), default=0.0)
        return (
            f"{len(trace.halves)} evaluations in {len(_steps(trace))} steps, "
            f"the worst {error:.2g} times as far from {trace.asked.solver}'s as rounding explains"
        )

    return _every(right, seen, observed)


def schedule(options: Options, seen: Observations) -> Evidence:
    """The times at which steps began, against the grid of that name."""

    def right(trace: Trace) -> bool:
        starts = [step[0] for step in _steps(trace)]
        if trace.asked.guidance == "searched":
            return _near(starts, trace.asked.searched_times)
        return follows(starts, trace.asked.schedule)

    def observed(trace: Trace) -> str:
        return "evaluated at t = " + " ".join(f"{t:.3f}" for t in trace.times.tolist())

    return _every(right, seen, observed)


def guidance(options: Options, seen: Observations) -> Evidence:
    """What went through the transformer in each evaluation of a piece, counted at its calls."""

    def right(trace: Trace) -> bool:
        due = _rows_due(trace)
        saves = trace.asked.guided and trace.asked.guidance in ("interval", "reuse")
        as_planned = trace.asked.guidance != "searched" or _as_strong_as_due(trace)
        return trace.halves == due and (not saves or (1,) in due) and as_planned

    def observed(trace: Trace) -> str:
        rows = sum(map(sum, trace.halves))
        calls = " ".join("+".join(map(str, halves)) for halves in trace.halves)
        return f"{rows} rows for {len(trace.halves)} evaluations: {calls}"

    return _every(right, seen, observed)


def cfg_strength(options: Options, seen: Observations) -> Evidence:
    """How strongly each evaluation was guided, measured at what went into the flow."""

    def observed(trace: Trace) -> str:
        return "guided by " + " ".join(f"{strength:.2f}" for strength in trace.strengths.tolist())

    return _every(_as_strong_as_due, seen, observed)


PROOFS: Mapping[str, Proof] = {
    "nfe": nfe,
    "solver": solver,
    "schedule": schedule,
    "guidance": guidance,
    "cfg_strength": cfg_strength,
}
"""The evidence of each option of the sampler."""


def _steps(trace: Trace) -> list[list[float]]:
    """The times of the evaluations of each step."""
    pairs = zip(trace.steps, trace.times.tolist(), strict=True)
    return [[time for _, time in step] for _, step in itertools.groupby(pairs, lambda pair: pair[0])]


def _rows_due(trace: Trace) -> list[tuple[int, ...]]:
    """What each evaluation had to send through the transformer."""
    asked = trace.asked
    if not asked.guided:
        return [(1,)] * len(trace.halves)
    if asked.guidance == "interval":
        return [(2,) if time < asked.guidance_until else (1,) for time in trace.times.tolist()]
    if asked.guidance == "searched":
        return [(2,) if strength else (1,) for strength in planned()[asked.nfe].strengths]
    if asked.guidance == "reuse":
        return [(1,) if index % 2 else (2,) for index in range(len(trace.halves))]
    return [(1, 1) if asked.guidance == "separate" else (2,)] * len(trace.halves)


def _as_strong_as_due(trace: Trace) -> bool:
    """Whether each evaluation was guided as strongly as it had to be."""
    return all(
        abs(found - due) <= TOLERANCE * max(due, 1e-3)
        for found, due in zip(trace.strengths.tolist(), _strengths_due(trace), strict=True)
    )


def _strengths_due(trace: Trace) -> list[float]:
    """How strongly each evaluation had to be guided: not at all outside of an interval, where there is no
    other half."""
    asked = trace.asked
    if not asked.guided:
        return [0.0] * len(trace.halves)
    if asked.guidance == "searched":
        return list(planned()[asked.nfe].strengths)
    if asked.guidance == "interval":
        return [asked.cfg_strength * (sum(halves) == 2) for halves in trace.halves]
    return [asked.cfg_strength] * len(trace.halves)


def follows(times: list[float], schedule: str) -> bool:
    """Whether the starts of a solver's steps lie on the named schedule, judged from the times alone.

    Undoes the sway (with coefficient -1, t = 1 - cos(pi u / 2)) and looks at the spacing of what is left:
    even for `uniform` and `sway`, that of upstream's pruned grid for `epss`.
    """
    if schedule == "uniform":
        return _even(times)
    if schedule == "searched":
        grid = searched().get(len(times))
        return grid is not None and _near(times, grid)
    unswayed = [math.acos(1.0 - min(max(t, 0.0), 1.0)) * 2.0 / math.pi for t in times]
    if schedule == "sway":
        return _even(unswayed)
    pruned = upstream.epss_grid(len(times), "cpu", None).tolist()
    return not _even(unswayed) and all(abs(u - p) < 1e-3 for u, p in zip(unswayed, pruned, strict=False))


def _near(times: list[float], grid: tuple[float, ...]) -> bool:
    """Whether steps began where those of a grid do; its last time is their end."""
    return len(times) == len(grid) - 1 and all(
        abs(t - u) < 1e-4 for t, u in zip(times, grid[:-1], strict=True)
    )


def _even(values: list[float]) -> bool:
    """Whether `values` are the evenly spaced fractions 0, 1/n, 2/n ... of a grid that ends at 1."""
    return all(abs(value - index / len(values)) < 1e-3 for index, value in enumerate(values))


def solved_by(steps: list[list[float]], name: str) -> bool:
    """Whether the evaluation times of each step, in order, are those of the named solver."""
    at, ends = RULES[name][0], [step[0] for step in steps[1:]] + [1.0]
    return all(
        len(times) == len(at)
        and all(
            abs(times[0] + share * (end - times[0]) - t) < 1e-5 for share, t in zip(at, times, strict=True)
        )
        for times, end in zip(steps, ends, strict=True)
    )
