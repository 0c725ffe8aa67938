"""What trials found and what follows from it: immutable, and the same after a trip through JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from engine.advisor.candidates import Refused
from engine.errors import UsageError
from engine.gate.data.files import reason, write_atomically
from engine.gate.data.workloads import Frozen, NonNegative, Positive

SCHEMA_VERSION: Literal[1] = 1
Status = Literal["faster", "unclear", "sounds worse", "nothing", "slower", "not engaged"]
Heard = Literal["lossless", "not lossless", "within limits", "worse", "undecided", "not judged"]


class Sound(Frozen):
    """What a toggle set does to the speech. Code 0: no objection; 1: worse; 3: too few clips to tell."""

    heard: Heard
    code: Literal[0, 1, 3]
    sentence: str


UNHEARD = Sound(heard="not judged", code=0, sentence="Not judged: only what is recommended is heard.")
UNJUDGED = Sound(heard="not judged", code=0, sentence="Not judged: there is nobody to ask.")


class Sitting(Frozen):
    """One process of a candidate beside one of the present configuration; their calls took turns.

    Attributes:
        rtfs, current: real-time factors, pair by pair: candidate, present configuration.
        stages, current_stages: seconds in each stage per second of audio, the median of the calls.
        audio_ratio: length of the candidate's audio / the other's.
        peak_mb: of the candidate's process, MiB.
        unproven: option -> what was observed, where that does not prove that the option engaged.
        moved: relative mel L2 to the other's output of the same noise; None where lengths differ.
    """

    rtfs: Annotated[tuple[Positive, ...], Field(min_length=1)]
    current: Annotated[tuple[Positive, ...], Field(min_length=1)]
    stages: dict[str, NonNegative]
    current_stages: dict[str, NonNegative]
    audio_ratio: Positive = 1.0
    peak_mb: NonNegative = 0.0
    load_seconds: NonNegative = 0.0
    unproven: dict[str, str] = Field(default_factory=dict)
    moved: NonNegative | None = None

    @property
    def logs(self) -> list[float]:
        """Logarithm of the speed-up, pair by pair."""
        return [math.log(now / then) for then, now in zip(self.rtfs, self.current, strict=True)]


class Trial(Frozen):
    """A candidate as it was tried; `error` where it did not load or speak."""

    name: str
    options: str
    touches: tuple[str, ...] = ()
    floor: NonNegative = 0.0
    lossless: bool = False
    needs: tuple[str, ...] = ()
    sittings: tuple[Sitting, ...] = ()
    sound: Sound = UNHEARD
    error: str = ""

    @property
    def unproven(self) -> dict[str, str]:
        """Option -> what was observed, of all its processes."""
        return {option: seen for sitting in self.sittings for option, seen in sitting.unproven.items()}


class Findings(Frozen):
    """Everything that was measured: the raw material of the report.

    Attributes:
        options: the present configuration.
        untried: refused, or no time was left.
        combination: the best compatible set, as the names of its parts, and its own trial.
        budget, spent: seconds.
        peak_mb: of the present configuration's processes.
    """

    options: str
    trials: tuple[Trial, ...] = ()
    untried: tuple[Refused, ...] = ()
    parts: tuple[str, ...] = ()
    combination: Trial | None = None
    budget: NonNegative = 0.0
    spent: NonNegative = 0.0
    peak_mb: NonNegative = 0.0


class Operator(Frozen):
    """One operator's own time, and its share of all of it."""

    name: str
    seconds: NonNegative
    calls: int
    share: NonNegative


class Facts(Frozen):
    """The part of a profile that the report shows."""

    checkpoint: str
    machine: str
    text: str
    audio_seconds: Positive
    seconds: Positive
    rtf: Positive
    stages: dict[str, NonNegative]
    operators: tuple[Operator, ...] = ()
    peak_mb: NonNegative = 0.0


class Row(Frozen):
    """One tried toggle in the ranking.

    Attributes:
        gain, low, high: speed-up (present time / its time) with its 95 % interval, never more than `bound`;
            None for a toggle that was not proven to have engaged, or where too few pairs give no interval.
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
    processes: int
    rtf: Positive
    memory: NonNegative
    load_seconds: NonNegative
    lossless: bool
    needs: tuple[str, ...]
    sound: Sound
    note: str = ""


class Bound(Frozen):
    """An idea that nobody has tried: its share of the time, and the most that it could bring."""

    name: str
    share: NonNegative
    bound: Positive | None


class Check(Frozen):
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
    processes: int = 0
    sound: Sound = UNHEARD
    problem: str = ""


class Next(Frozen):
    """What to do now, and the command that does it (none where there is nothing to run)."""

    sentence: str
    command: str = ""


class Report(Frozen):
    """The recommender's report. `required` is the speed-up that the target asks for, 1 or less: it is met."""

    schema_version: Literal[1] = SCHEMA_VERSION
    timestamp: str
    facts: Facts
    findings: Findings
    target: Positive
    rtf: Positive
    required: Positive
    rows: tuple[Row, ...]
    bounds: tuple[Bound, ...]
    check: Check | None
    next: Next
    lacking: tuple[str, ...] = ()

    @property
    def met_by(self) -> Literal["", "present configuration", "combination"]:
        """What meets the target: measured, engaged, and not found to sound worse."""
        if self.rtf <= self.target:
            return "present configuration"
        check = self.check
        good = check is not None and not check.problem and check.sound.code != 1
        reached = check is not None and check.rtf is not None and check.rtf <= self.target
        return "combination" if good and reached else ""

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0 if the target is met, by the present configuration or by the combination that was checked."""
        return 0 if self.met_by else 1

    def save(self, path: Path) -> None:
        """Write the report as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomically(path, self.model_dump_json(indent=1) + "\n")


def load(path: Path) -> Report:
    """A report that was saved.

    Raises:
        UsageError: the file is missing, unreadable, or no report of this version.
    """
    try:
        return Report.model_validate_json(path.read_text(encoding="utf8"))
    except (OSError, ValueError, ValidationError) as error:
        raise UsageError(
            f"{path}: {reason(error)}",
            f"a report of version {SCHEMA_VERSION}",
            "Write it with ishowtts profile --json",
        ) from error
