"""The search for the best toggles within a time budget: small runs of all, and the better half again.

Candidates with the largest Amdahl bound go first, what has to be compiled goes last; the better half runs
again, longer, and so on. Then the lossy parts of the best set are heard, and it is run as a whole. Nothing
begins that would end too late.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from engine.advisor.candidates import STAGES, Candidate, Refused, in_turn, typed
from engine.advisor.gains import better_half, measured_gain, noise
from engine.advisor.recommend import Best, best_set
from engine.advisor.recommendation import UNHEARD, Findings, SmallRun, Trial, unjudged
from engine.advisor.small_runs import is_base, kept, last_line
from engine.errors import UsageError
from engine.gate.data.quality_limits import Limits
from engine.gate.data.verdict import Answer
from engine.options import Options

log = logging.getLogger(__name__)

CALLS = (2, 4, 6)
"""Calls of each process that count, round by round."""
WHOLE_RUNS = 3
"""Runs of the best set."""
ROUND_UNTIL = (0.45, 0.55, 0.6)
HEARD_UNTIL = 0.8
"""Shares of the budget at which rounds and hearing end; the rest is for the best set."""

Watch = Callable[[str, float], None]
"""Told what is being done, and how many seconds have passed."""


class Runs(Protocol):
    """What compares a set with the present configuration (`small_runs.SmallRuns`)."""

    @property
    def limits(self) -> Limits:
        """Of quality."""
        ...

    def compare(self, options: Options, rounds: int, seconds: float) -> SmallRun:
        """One block of live pairs. Raises `UsageError` where a process does not load or speak."""
        ...

    def hear(self, options: Options, seconds: float) -> Answer:
        """What the judges say of a set that was compared before."""
        ...


class Search:
    """One search: small runs, hearing, and the best set, within a budget.

    Args:
        runs: compares sets.
        present: the present configuration.
        stages: stage -> seconds of one call of it.
        budget: seconds.
        required: the speed-up that the target asks for.
        works: whether this device can serve a set.
        watch: is told how far it is.
        clock: seconds; a seam for tests.
    """

    def __init__(
        self,
        runs: Runs,
        present: Options,
        stages: Mapping[str, float],
        budget: float,
        required: float,
        works: Callable[[Options], bool] = lambda options: True,
        watch: Watch = lambda doing, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs, self._present, self._stages = runs, present, stages
        self._budget, self._required, self._works = budget, required, works
        self._watch, self._clock, self._start = watch, clock, clock()
        self._trials: dict[str, Trial] = {}
        self._took: dict[str, float] = {}
        self._hearing = 0.0

    def run(self, candidates: Sequence[Candidate], refused: Sequence[Refused] = ()) -> Findings:
        """Try the candidates, hear those that are faster and lossy, and run the best set.

        Raises:
            UsageError: the present configuration itself does not load or speak.
        """
        order = in_turn(candidates, self._stages)
        alive: Sequence[Candidate] = order
        for number, (calls, until) in enumerate(zip(CALLS, ROUND_UNTIL, strict=True), 1):
            self._round(alive, calls, until * self._budget, f"round {number}")
            alive = self._better(alive)
            if not alive:
                break
        best = self._listen(candidates)
        whole = self._whole(best) if best else None
        late = [
            Refused(name=candidate.name, reason="no time was left in the budget")
            for candidate in order
            if candidate.name not in self._trials
        ]
        return Findings(
            options=str(self._present),
            trials=tuple(self._trials.values()),
            untried=(*refused, *late),
            parts=tuple(part.name for part in best.parts) if best else (),
            whole=whole,
            budget=self._budget,
            spent=self._passed(),
        )

    def _round(self, candidates: Sequence[Candidate], calls: int, end: float, name: str) -> None:
        """One run of each candidate that ends in time, by what it, or else most others, took."""
        for number, candidate in enumerate(candidates, 1):
            trial = self._trials.get(candidate.name)
            due = self._took.get(candidate.name, self._usual())
            if trial is not None and trial.runs:
                due *= max(1.0, calls / len(trial.runs[-1].candidate.series[0].calls))
            if self._passed() + due > end:
                continue
            self._say(f"{name}, {number} of {len(candidates)}: {candidate.name}")
            trial = trial or Trial(
                name=candidate.name,
                options=str(candidate.options),
                changed=tuple(candidate.changes),
                touches=candidate.touches,
                floor=candidate.floor,
                lossless=candidate.lossless,
                needs=candidate.needs,
            )
            self._trials[candidate.name] = self._run(trial, candidate.options, calls, end)

    def _run(self, trial: Trial, options: Options, calls: int, end: float) -> Trial:
        """The trial with one run more, or with the error that ended it."""
        started = self._passed()
        try:
            run = self._runs.compare(options, calls, max(1.0, end - started))
        except UsageError as problem:
            if is_base(problem):
                raise
            late = self._passed() >= end
            error = "took longer than the budget allows" if late else last_line(problem)
            # What broke once is not trusted, whatever it showed before.
            return trial.model_copy(update={"error": error, "runs": ()})
        finally:
            self._took[trial.name] = self._passed() - started
        trial = trial.model_copy(update={"runs": (*trial.runs, run)})
        if not trial.lossless:
            return trial
        return trial.model_copy(update={"sound": kept(trial.runs, self._runs.limits)})

    def _usual(self) -> float:
        """Seconds that a run takes, by those that were made."""
        return statistics.median(self._took.values()) if self._took else 0.0

    def _better(self, alive: Sequence[Candidate]) -> list[Candidate]:
        """The half that runs again; a toggle that failed, or never engaged, or moved the result, does not."""
        known = {candidate.name: candidate for candidate in alive if candidate.name in self._trials}
        trials = {name: self._trials[name] for name in known}
        spread = noise(self._trials.values())
        gains = {
            name: measured_gain(trial, spread)
            for name, trial in trials.items()
            if trial.runs and not trial.unproven and trial.sound.code != 1
        }
        options = {name: frozenset(known[name].changes) for name in gains}
        return [known[name] for name in better_half(gains, options)]

    def _listen(self, candidates: Sequence[Candidate]) -> Best | None:
        """The best set, its lossy parts heard: one that sounds worse gives way to the next one."""
        while best := self._best(candidates):
            unheard = [part for part in best.parts if self._trials[part.name].sound == UNHEARD]
            if not unheard:
                break
            part = unheard[0]
            heard = self._hear(part.options, part.name, HEARD_UNTIL * self._budget)
            self._trials[part.name] = self._trials[part.name].model_copy(update={"sound": heard})
        return best

    def _best(self, candidates: Sequence[Candidate]) -> Best | None:
        found = Findings(options=str(self._present), trials=tuple(self._trials.values()))
        return best_set(self._present, candidates, found, self._stages, self._required, self._works)

    def _hear(self, options: Options, name: str, end: float) -> Answer:
        """What the judges say, if they can be expected to be done in time."""
        started = self._passed()
        if started + self._hearing > end:
            return unjudged("no time was left in the budget")
        self._say(f"hearing {name}")
        heard = self._runs.hear(options, end - started)
        self._hearing = self._passed() - started
        return heard

    def _whole(self, best: Best) -> Trial:
        """The best set beside the present configuration, as often as time allows."""
        changes = {name: value for part in best.parts for name, value in part.changes.items()}
        trial = Trial(
            name=typed(changes),
            options=str(best.options),
            changed=tuple(changes),
            touches=STAGES,
            lossless=best.options.only_lossless(self._present),
        )
        longest = self._usual()
        for number in range(WHOLE_RUNS):
            started = self._passed()
            if trial.error or started + longest > self._budget:
                break
            self._say(f"best set, {number + 1} of {WHOLE_RUNS}")
            trial = self._run(trial, best.options, CALLS[0], self._budget)
            longest = max(longest, self._passed() - started)
            if number == 0 and not trial.lossless:
                trial = trial.model_copy(update={"sound": self._sound_of(best)})
        return trial

    def _sound_of(self, best: Best) -> Answer:
        """The sound of the set: its only part's, or heard anew."""
        if len(best.parts) == 1:
            return self._trials[best.parts[0].name].sound
        return self._hear(best.options, "the best set", self._budget)

    def _passed(self) -> float:
        return self._clock() - self._start

    def _say(self, doing: str) -> None:
        log.info("%s", doing)
        self._watch(doing, self._passed())
