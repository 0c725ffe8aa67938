"""What small runs found and what follows from it: immutable, and the same after a trip through JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from engine.advisor.candidates import PROVEN_BY, Refused
from engine.advisor.profiling import Profile
from engine.errors import UsageError
from engine.gate.data.files import reason, write_atomically
from engine.gate.data.outputs import TimedChange
from engine.gate.data.samples import Process
from engine.gate.data.verdict import Answer
from engine.gate.data.workloads import Frozen, NonNegative, Positive
from engine.gate.measure.compare import centre_pairs

SCHEMA_VERSION: Literal[2] = 2
WORKLOAD = "text"
"""Name of the one text that small runs speak."""
Status = Literal["faster", "unclear", "sounds worse", "nothing", "slower", "not engaged"]
NOT_JUDGED = "not judged"


def sound(outcome: str, code: Literal[0, 1, 3], sentence: str) -> Answer:
    """What a toggle set does to the speech. Code 0: no objection; 1: worse; 3: too few clips to tell."""
    return Answer(topic="sound", outcome=outcome, code=code, sentence=sentence)


UNHEARD = sound(NOT_JUDGED, 0, "Not judged: only what is recommended is heard.")


def unjudged(why: str) -> Answer:
    """Nobody could judge it, and why."""
    return sound(NOT_JUDGED, 0, f"Not judged: {why}.")


class SmallRun(Frozen):
    """One block of live pairs: a process of the present configuration and one of a candidate.

    `changes` are the requests whose answers have other bytes in the candidate.
    """

    base: Process
    candidate: Process
    changes: tuple[TimedChange, ...] = ()


class Trial(Frozen):
    """A candidate as it was tried; `error` where it did not load or speak.

    Attributes:
        name, options: the change as one would type it, and the whole set.
        changed: the options that it changes.
        touches, floor, lossless, needs: see `Candidate`.
    """

    name: str
    options: str
    changed: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    floor: NonNegative = 0.0
    lossless: bool = False
    needs: tuple[str, ...] = ()
    runs: tuple[SmallRun, ...] = ()
    sound: Answer = UNHEARD
    error: str = ""

    @property
    def log_speed_ups(self) -> list[float]:
        """log(present time / its time) of each run, as the gate takes it from a block."""
        processes = [
            process.model_copy(update={"block": block})
            for block, run in enumerate(self.runs)
            for process in (run.base, run.candidate)
        ]
        return [-float(ratio) for ratio in centre_pairs(processes, WORKLOAD).ratios] if processes else []

    @property
    def unproven(self) -> dict[str, str]:
        """Option -> what was observed, for each changed option that was not seen to do what it should."""
        lost = {}
        for run in self.runs:
            for option in self.changed:
                seen = run.candidate.evidence.get(PROVEN_BY.get(option, option))
                if seen is None or seen.proven is not True:
                    lost[option] = seen.observed if seen else "there is no evidence of it"
        return lost


def rtfs(process: Process) -> list[float]:
    """The real-time factors of a process's calls."""
    return [call.rtf for series in process.series for call in series.calls]


def stages(process: Process) -> dict[str, float]:
    """Seconds in each stage for a second of audio: the median of the calls."""
    calls = [call for series in process.series for call in series.calls]
    return {
        stage: float(np.median([call.stages[stage] / call.audio_seconds for call in calls]))
        for stage in calls[0].stages
    }


def peak_mb(process: Process) -> float:
    """Peak memory of a process, MiB: the device's where it has its own."""
    return process.peak_device_mb or process.peak_host_mb or 0.0


class Findings(Frozen):
    """Everything that was measured: the raw material of the report.

    Attributes:
        options: the present configuration.
        untried: refused, or no time was left.
        parts, whole: the best compatible set, as the names of its parts, and its own trial.
        budget, spent: seconds.
    """

    options: str
    trials: tuple[Trial, ...] = ()
    untried: tuple[Refused, ...] = ()
    parts: tuple[str, ...] = ()
    whole: Trial | None = None
    budget: NonNegative = 0.0
    spent: NonNegative = 0.0


class Ranked(Frozen):
    """One tried toggle in the ranking.

    Attributes:
        gain, low, high: speed-up (present time / its time) with its 95 % interval, never more than `bound`;
            None for a toggle that was not proven to have engaged, or where too few runs give no interval.
        measured: the same before it was held to the bound.
        bound: Amdahl's: the speed-up if the stages that it touches took no more time than they must.
        memory: peak / the present configuration's peak.
    """

    name: str
    status: Status
    gain: Positive | None
    low: Positive | None
    high: Positive | None
    measured: Positive
    bound: Positive | None
    runs: int
    rtf: Positive
    memory: NonNegative
    load_seconds: NonNegative
    lossless: bool
    needs: tuple[str, ...]
    sound: Answer
    note: str = ""


class Bound(Frozen):
    """An idea that nobody has tried: its share of the time, and the most that it could bring."""

    name: str
    share: NonNegative
    bound: Positive | None


class Combination(Frozen):
    """The best set as it was run: prediction beside what happened, both as speed-ups.

    `error` is predicted / happened - 1; `problem` says why there is no figure, or why it does not count.
    """

    options: str
    parts: tuple[str, ...]
    predicted: Positive
    happened: Positive | None = None
    low: Positive | None = None
    high: Positive | None = None
    error: float | None = None
    rtf: Positive | None = None
    runs: int = 0
    sound: Answer = UNHEARD
    problem: str = ""


class NextStep(Frozen):
    """What to do now, and the command that does it (none where there is nothing to run)."""

    sentence: str
    command: str = ""


class Recommendation(Frozen):
    """The advisor's report. `required` is the speed-up that the target asks for, 1 or less: it is met.

    `profile` is that of the present configuration, with its largest operators alone.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    timestamp: str
    profile: Profile
    findings: Findings
    target: Positive
    rtf: Positive
    required: Positive
    rows: tuple[Ranked, ...]
    bounds: tuple[Bound, ...]
    combination: Combination | None
    next: NextStep
    lacking: tuple[str, ...] = ()

    @property
    def met_by(self) -> Literal["", "present configuration", "combination"]:
        """What meets the target: measured, engaged, and not found to sound worse."""
        if self.rtf <= self.target:
            return "present configuration"
        whole = self.combination
        if whole is None or whole.problem or whole.sound.code == 1 or whole.rtf is None:
            return ""
        return "combination" if whole.rtf <= self.target else ""

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0 if the target is met, by the present configuration or by the combination that was checked."""
        return 0 if self.met_by else 1

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(path, self.model_dump_json(indent=1) + "\n")


def load(path: Path) -> Recommendation:
    """A recommendation that was saved.

    Raises:
        UsageError: the file is missing, unreadable, or no recommendation of this version.
    """
    try:
        return Recommendation.model_validate_json(path.read_text(encoding="utf8"))
    except (OSError, ValueError, ValidationError) as error:
        raise UsageError(
            f"{path}: {reason(error)}",
            f"a recommendation of version {SCHEMA_VERSION}",
            "Write it with ishowtts profile --json",
        ) from error
