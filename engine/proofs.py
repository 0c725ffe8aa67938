"""Every toggle's evidence, gathered; each comes from the module of its toggle."""

from __future__ import annotations

import itertools

from engine import sampler
from engine.evidence import Evaluation, Evidence, Observations
from engine.optimizations import (
    attention,
    batch,
    buckets,
    compile,
    first_piece,
    guidance,
    hoist,
    int8,
    precision,
    reference_cache,
    reference_seconds,
    vocoder_backend,
    vocoder_precision,
)
from engine.options import Options


def gather(options: Options, observed: Observations) -> dict[str, Evidence]:
    """For every option, what was observed and whether that proves it."""
    return {
        "precision": precision.evidence(options, observed),
        "vocoder_precision": vocoder_precision.evidence(options, observed),
        "int8": int8.evidence(options, observed),
        "attention": attention.evidence(options, observed),
        "vocoder_backend": vocoder_backend.evidence(options, observed),
        "compile": compile.evidence(options, observed),
        "reference_cache": reference_cache.evidence(options, observed),
        "reference_seconds": reference_seconds.evidence(options, observed),
        "buckets": buckets.evidence(options, observed),
        "batch": batch.evidence(options, observed),
        "first_piece": first_piece.evidence(options, observed),
        "hoist": hoist.evidence(options, observed),
        "guidance": guidance.evidence(options, observed.last),
        **_sampler(options, observed),
    }


def _sampler(options: Options, observed: Observations) -> dict[str, Evidence]:
    """Evaluations counted in each piece, the solver whose they are, and the schedule its steps follow."""
    if not observed.evaluations:
        return dict.fromkeys(("nfe", "solver", "schedule"), Evidence(None, "no evaluation yet"))
    steps = [[float(one.time) for one in step] for _, step in itertools.groupby(observed.last, _step)]
    times, starts = [t for step in steps for t in step], [step[0] for step in steps]
    counted = ", ".join(map(str, sorted(observed.evaluations)))
    return {
        "solver": Evidence(
            sampler.solved_by(steps, options.solver), f"{len(times)} evaluations in {len(steps)} steps"
        ),
        "nfe": Evidence(observed.evaluations == {options.nfe}, f"{counted} evaluations a piece"),
        "schedule": Evidence(
            sampler.follows(starts, options.schedule),
            "evaluated at t = " + " ".join(f"{t:.3f}" for t in times),
        ),
    }


def _step(evaluation: Evaluation) -> int:
    return evaluation.step
