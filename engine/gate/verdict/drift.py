"""Is the product slower than on other days: this run against the recorded sessions of the same machine.

One session gives one figure a workload: the mean over processes of the log of their median RTF. Sessions
differ by more than their processes do (temperature, other programs, luck of a boot), so from three sessions
on their own spread gives the interval in which a further session of unchanged code would lie (Student's t).
Fewer sessions have no spread to speak of, and what is over the limit is then never sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from engine.errors import BaselineError
from engine.gate.data.limits import Baseline, Limit, Session
from engine.gate.data.samples import Run, Side
from engine.gate.data.verdict import Judgement
from engine.gate.data.workloads import sha256_of
from engine.gate.verdict.bounds import apart, code_of, percent

DRIFT, SESSIONS = "recorded sessions", "sessions"
LEAST_SESSIONS = 3
"""Fewer sessions show no spread between days."""
ALPHA = 0.005
"""Chance that unchanged code is called slower for sure, on any workload of a run; one-sided."""

Rtfs = Sequence[Sequence[float]]


class Drift(NamedTuple):
    """This run over the recorded sessions, with one-sided bounds where there are sessions enough."""

    ratio: float
    low: float | None
    high: float | None
    sessions: int


def judge(run: Run, baseline: Baseline, limit: Limit, *, compared: bool) -> list[Judgement]:
    """A judgement for each workload that was recorded; one that says why, where nothing can be compared.

    Args:
        run: the samples.
        baseline: the selected one, with its sessions.
        limit: of the ratio of times.
        compared: whether the run looked at something else that is older, or held limits. Where it did not, a
            comparison that is none is undecided.

    Raises:
        BaselineError: sessions of this checkpoint and options exist, but the workload's content has changed.
    """
    if not baseline.sessions and "drift" not in run.questions:
        return []
    side, key = run.candidate, (run.candidate.checkpoint, sha256_of(run.candidate.options))
    own = [session for session in baseline.sessions if session.key == key]
    if not own:
        return [_none_recorded(baseline, side, compared)]
    same = [
        session for session in own if (session.versions, session.threads) == (side.versions, side.threads)
    ]
    judgements = []
    for name, sha256 in side.hashes.items():
        _check_unchanged(own, name, sha256)
        before = [
            session.workloads[name].rtf
            for session in same or own
            if name in session.workloads and session.workloads[name].sha256 == sha256
        ]
        if not before:
            judgements.append(_missing(baseline, name, compared))
            continue
        now = [[call.rtf for call in calls] for calls in run.calls("candidate", name)]
        drift = measure(now, before, len(side.hashes))
        if same:
            judgements.append(_judgement(name, drift, limit))
        else:
            judgements.append(_other_versions(name, drift, limit, own[-1], side, compared))
    return judgements


def measure(now: Rtfs, before: Sequence[Rtfs], family: int) -> Drift:
    """This run's RTF over that of recorded sessions, with bounds where they are three or more.

    Args:
        now: RTF of each call in each process of this run.
        before: the same of each session.
        family: how many workloads share the error.
    """
    level, levels = _level(now), np.array([_level(session) for session in before])
    count, change = levels.size, level - float(levels.mean())
    if count < LEAST_SESSIONS:
        return Drift(math.exp(change), None, None, count)
    days = float(levels.var(ddof=1)) * (1 + 1 / count)
    half = float(stats.t.isf(ALPHA / family, count - 1)) * math.sqrt(days + _process_noise(now, before))
    return Drift(math.exp(change), math.exp(change - half), math.exp(change + half), count)


def _level(rtfs: Rtfs) -> float:
    """Mean over processes of the log of the median RTF."""
    return float(np.mean([math.log(float(np.median(process))) for process in rtfs]))


def _process_noise(now: Rtfs, before: Sequence[Rtfs]) -> float:
    """Variance of this run's level from its processes alone, by the spread that processes have everywhere.

    A session's own share of it is in the spread between days already; a short run has more of it.
    """
    squares, freedom = 0.0, 0
    for session in (now, *before):
        logs = np.log([float(np.median(process)) for process in session])
        squares += float(((logs - logs.mean()) ** 2).sum())
        freedom += logs.size - 1
    return squares / freedom / len(now) if freedom else 0.0


def _judgement(name: str, drift: Drift, limit: Limit) -> Judgement:
    """Slower than other days for sure is a regression; over the limit but not surely is undecided."""
    ratio, upper = apart(drift.ratio, limit.upper)
    over = drift.ratio > limit.upper
    surely = drift.low is not None and drift.low > limit.upper
    count = f"{drift.sessions} recorded session{'s' * (drift.sessions > 1)}"
    sentence = f"{percent(drift.ratio)} against {count}"
    if drift.low is not None and drift.high is not None:
        low, high = percent(drift.low), percent(drift.high)
        sentence += f"; days differ, so anything from {low} to {high} is possible"
    else:
        sentence += f"; from {LEAST_SESSIONS} on their spread tells how sure that is"
    if over:
        sentence += f". The ratio {ratio} is over {upper}" + (", surely." if surely else ", not surely.")
        sentence += " The machine, or what came before the base, is slower than it was."
    else:
        sentence += f", within the limit of {limit.upper - 1:+.0%}."
    return _row(
        name, "DRIFTED" if surely else "UNDECIDED" if over else "WITHIN", 1 if surely else 3 * over, sentence,
        drift, limit,
    )  # fmt: skip


def _other_versions(
    name: str, drift: Drift, limit: Limit, last: Session, side: Side, compared: bool
) -> Judgement:
    """Samples under other versions prove nothing; what they show is said, and is no pass if it is slower."""
    over = drift.ratio > limit.upper
    sentence = (
        f"{percent(drift.ratio)} against {drift.sessions} recorded under other conditions: versions differ "
        f"({_differences(last, side)}). Record again: nox -s record."
    )
    return _row(name, "VERSIONS DIFFER", 3 if over or not compared else 0, sentence, drift, limit)


def _row(name: str, outcome: str, code: int, sentence: str, drift: Drift, limit: Limit) -> Judgement:
    return Judgement(
        topic="drift",
        question=DRIFT,
        workload=name,
        outcome=outcome,
        code=code_of(code),
        sentence=sentence,
        value=drift.ratio,
        low=drift.low,
        high=drift.high,
        limit=limit.upper,
        unit="now/recorded",
    )


def _differences(session: Session, side: Side) -> str:
    """What is other than when the newest session was recorded."""
    names = sorted(session.versions.keys() | side.versions.keys())
    changed = [
        f"{name} {session.versions.get(name)} -> {side.versions.get(name)}"
        for name in names
        if session.versions.get(name) != side.versions.get(name)
    ]
    if session.threads != side.threads:
        changed.append(f"threads {session.threads} -> {side.threads}")
    return ", ".join(changed)


def _none_recorded(baseline: Baseline, side: Side, compared: bool) -> Judgement:
    options = " ".join(f"{name}={value}" for name, value in side.options.items()) or "reference"
    others = f"; its {len(baseline.sessions)} are of others" if baseline.sessions else ""
    sentence = (
        f"No session of {side.checkpoint} ({options}) is recorded for {baseline.machine}{others}. "
        "To record one: nox -s record."
    )
    code = code_of(0 if compared else 3)
    return Judgement(topic="drift", question=SESSIONS, outcome="NOT RECORDED", code=code, sentence=sentence)


def _missing(baseline: Baseline, name: str, compared: bool) -> Judgement:
    sentence = f"{name} is in no session that is recorded for {baseline.machine}. To record: nox -s record."
    code = code_of(0 if compared else 3)
    return Judgement(
        topic="drift", question=SESSIONS, workload=name, outcome="NOT RECORDED", code=code, sentence=sentence
    )


def _check_unchanged(sessions: Sequence[Session], name: str, sha256: str) -> None:
    """Raise where a workload was recorded, and never with the content that it has now."""
    recorded = [session.workloads[name].sha256 for session in sessions if name in session.workloads]
    if recorded and sha256 not in recorded:
        raise BaselineError(
            f"workload {name!r} was {recorded[-1][:12]} when recorded, now {sha256[:12]}",
            "the text, reference clip, seed, speed and weights that were recorded",
            "Undo the change, or record again; different workloads are never compared",
        )
