"""Trials of toggles within a time budget: paired calls, processes of their own, and the best half again.

Every sitting is one process of a candidate beside one of the present configuration, whose calls take turns
(candidate, present, present, candidate), so that a drift of the machine falls on both. Candidates with the
largest Amdahl bound go first, what has to be compiled goes last; the better half sits again, longer, and so
on. Then the lossy parts of the best set are heard, and it is run as a whole. Nothing begins that would end
too late.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from engine.advisor.bench import Bench, kept, last_line, peak_of, sit
from engine.advisor.candidates import STAGES, Candidate, Refused, in_turn, typed
from engine.advisor.gains import Noise, better_half, measured_gain
from engine.advisor.recommend import Best, best_set
from engine.advisor.recommend_record import UNHEARD, Findings, Sound, Trial
from engine.errors import UsageError
from engine.gate.measure.process import Instrument
from engine.options import Options

log = logging.getLogger(__name__)

PAIRS = (2, 4, 6)
"""Pairs of calls in a sitting, round by round."""
ROUNDS = 3
"""Sittings of the best set."""
ROUND_UNTIL = (0.45, 0.55, 0.6)
HEARD_UNTIL = 0.8
"""Shares of the budget at which rounds and hearing end; the rest is for the best set."""


class Profiled(Protocol):
    """The part of a profile that trials need."""

    @property
    def stages(self) -> Mapping[str, float]:
        """Stage -> seconds of one call."""
        ...


class Study:
    """One study: trials, hearing, and the best set, within a budget."""

    def __init__(
        self, bench: Bench, current: Options, profiled: Profiled, budget: float, required: float
    ) -> None:
        self._bench, self._current, self._stages = bench, current, profiled.stages
        self._budget, self._required = budget, required
        self._start = bench.clock()
        self._trials: dict[str, Trial] = {}
        self._took: dict[str, float] = {}
        self._peak = self._hearing = 0.0

    def run(self, candidates: Sequence[Candidate], refused: Sequence[Refused] = ()) -> Findings:
        """Try the candidates, hear those that are faster and lossy, and run the best set.

        Raises:
            UsageError: the present configuration itself does not load or speak.
        """
        order = in_turn(candidates, self._stages)
        known = {one.name: one for one in order}
        alive = [one.name for one in order]
        for number, (pairs, until) in enumerate(zip(PAIRS, ROUND_UNTIL, strict=True), 1):
            self._round([known[name] for name in alive], pairs, until * self._budget, f"round {number}")
            alive = self._better([known[name] for name in alive])
            if not alive:
                break
        best = self._listen(candidates)
        late = [
            Refused(name=one.name, reason="no time was left in the budget")
            for one in order
            if one.name not in self._trials
        ]
        whole = self._combination(best) if best else None
        return self._findings((*refused, *late), best, whole)

    def _findings(self, untried: Sequence[Refused], best: Best | None, whole: Trial | None) -> Findings:
        return Findings(
            options=str(self._current),
            trials=tuple(self._trials.values()),
            untried=tuple(untried),
            parts=tuple(part.name for part in best.parts) if best else (),
            combination=whole,
            budget=self._budget,
            spent=self._passed(),
            peak_mb=self._peak,
        )

    def _round(self, candidates: Sequence[Candidate], pairs: int, end: float, name: str) -> None:
        """One sitting of each candidate, beside one process of the present configuration."""
        if not any(self._fits(one.name, pairs, end) for one in candidates):
            return
        with self._open_current() as present:
            for number, one in enumerate(candidates):
                if self._fits(one.name, pairs, end):
                    self._say(f"{name}, {number + 1} of {len(candidates)}: {one.name}")
                    self._try(one, present, pairs, end)
            self._remember_peak(present.finish())

    def _fits(self, name: str, pairs: int, end: float) -> bool:
        """Whether a sitting ends in time, by what this one, or else most others, took."""
        before = self._trials.get(name)
        due = self._took.get(name, self._usual())
        if before is not None and before.sittings:
            due *= max(1.0, pairs / len(before.sittings[-1].rtfs))
        return self._passed() + due <= end

    def _usual(self) -> float:
        """Seconds that a sitting takes, by those that were made."""
        return statistics.median(self._took.values()) if self._took else 0.0

    def _try(self, one: Candidate, present: Instrument, pairs: int, end: float) -> None:
        """Add one sitting to a candidate's trial, or the error that ended it."""
        before = self._trials.get(one.name) or Trial(
            name=one.name,
            options=str(one.options),
            touches=one.touches,
            floor=one.floor,
            lossless=one.lossless,
            needs=one.needs,
        )
        self._trials[one.name] = self._sit(before, one.options, one.changes, present, pairs, end)

    def _sit(
        self,
        trial: Trial,
        options: Options,
        changes: Mapping[str, Any],
        present: Instrument,
        pairs: int,
        end: float,
    ) -> Trial:
        started = self._passed()
        try:
            with self._bench.open(options, max(1.0, end - started)) as handle:
                sitting = sit(self._bench, handle, present, changes, pairs)
        except UsageError as problem:
            late = self._passed() >= end
            said = "took longer than the budget allows" if late else last_line(problem)
            # What broke once is not trusted, whatever it showed before.
            return trial.model_copy(update={"error": said, "sittings": ()})
        finally:
            self._took[trial.name] = self._passed() - started
        trial = trial.model_copy(update={"sittings": (*trial.sittings, sitting)})
        if not trial.lossless:
            return trial
        return trial.model_copy(update={"sound": kept(trial.sittings, self._bench.limits)})

    def _better(self, alive: Sequence[Candidate]) -> list[str]:
        """The half that sits again; a toggle that failed, or never engaged, or moved the result, does not."""
        tried = [(one, self._trials[one.name]) for one in alive if one.name in self._trials]
        good = {
            one.name: trial
            for one, trial in tried
            if trial.sittings and not trial.unproven and trial.sound.code != 1
        }
        noise = Noise.of(trial.sittings for trial in self._trials.values())
        gains = {name: measured_gain(trial.sittings, noise) for name, trial in good.items()}
        return better_half(gains, {one.name: frozenset(one.changes) for one in alive})

    def _listen(self, candidates: Sequence[Candidate]) -> Best | None:
        """The best set, its lossy parts heard: one that sounds worse gives way to the next one."""
        while best := self._best(candidates):
            unheard = [part for part in best.parts if self._trials[part.name].sound == UNHEARD]
            if not unheard:
                break
            part = unheard[0]
            said = self._hear(part.options, part.name, HEARD_UNTIL * self._budget)
            self._trials[part.name] = self._trials[part.name].model_copy(update={"sound": said})
        return best

    def _hear(self, options: Options, name: str, end: float) -> Sound:
        """What the judges say, if they can be expected to be done in time."""
        started = self._passed()
        if started + self._hearing > end:
            return UNHEARD.model_copy(update={"sentence": "Not judged: no time was left in the budget."})
        self._say(f"hearing {name}")
        said = self._bench.hear(options, max(1.0, end - started))
        self._hearing = self._passed() - started
        return said

    def _so_far(self) -> Findings:
        return Findings(options=str(self._current), trials=tuple(self._trials.values()))

    def _best(self, candidates: Sequence[Candidate]) -> Best | None:
        return best_set(
            self._current, candidates, self._so_far(), self._stages, self._required, self._bench.works
        )

    def _combination(self, best: Best) -> Trial:
        """The best set beside the present configuration, in fresh processes, as often as time allows."""
        changes = {name: value for part in best.parts for name, value in part.changes.items()}
        trial = Trial(
            name=typed(changes),
            options=str(best.options),
            touches=STAGES,
            lossless=best.options.only_lossless(self._current),
        )
        longest = self._usual()
        for number in range(ROUNDS):
            started = self._passed()
            if trial.error or started + longest > self._budget:
                break
            self._say(f"best set, {number + 1} of {ROUNDS}")
            with self._open_current() as present:
                trial = self._sit(trial, best.options, changes, present, PAIRS[0], self._budget)
                self._remember_peak(present.finish())
            longest = max(longest, self._passed() - started)
            if number == 0 and not trial.lossless:
                trial = trial.model_copy(update={"sound": self._sound_of(best)})
        return trial

    def _sound_of(self, best: Best) -> Sound:
        """The sound of the set: its only part's, or heard anew."""
        if len(best.parts) == 1:
            return self._trials[best.parts[0].name].sound
        return self._hear(best.options, "the best set", self._budget)

    def _open_current(self) -> contextlib.AbstractContextManager[Instrument]:
        # It must outlive every candidate, whose own limit is what keeps the budget.
        return self._bench.open(self._current, 2 * self._budget)

    def _remember_peak(self, end: Mapping[str, Any]) -> None:
        self._peak = max(self._peak, peak_of(end))

    def _passed(self) -> float:
        return self._bench.clock() - self._start

    def _say(self, doing: str) -> None:
        log.info("%s", doing)
        self._bench.watch(doing, self._passed())
