"""What a machine is held to and what was recorded on it: limits, products and sessions."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from engine.gate.data.quality_limits import Limits as QualityLimits
from engine.gate.data.workloads import Frozen, Name, Positive, Sha256, sha256_of

PORTABLE = "portable"
SESSIONS_KEPT = 10
"""At most so many sessions of one checkpoint and one set of options are kept, the newest."""
Judge = Literal["words", "speaker", "mos"]


def _refuse_null(value: Any) -> Any:
    if value is None:
        raise ValueError("null is a placeholder; leave the field out")
    return value


GIVEN = BeforeValidator(_refuse_null)
"""A field that may be absent, but not null."""


class Limit(Frozen):
    """A bound in `unit`: over `upper` fails; under `lower` is not believed; `reference` is the aim.

    `warning` and `critical` are bands for people: below the first is good, from the second on critical.
    """

    upper: Positive
    lower: Annotated[Positive | SkipJsonSchema[None], GIVEN] = Field(
        default=None, description="Too good to be believed below it. Absent where no measurement tells."
    )
    reference: Annotated[Positive | SkipJsonSchema[None], GIVEN] = Field(
        default=None, description="The aim. Absent where nobody has stated one; none is made up."
    )
    warning: Annotated[Positive | SkipJsonSchema[None], GIVEN] = Field(
        default=None, description="From here on a figure is shown as a warning. It decides nothing."
    )
    critical: Annotated[Positive | SkipJsonSchema[None], GIVEN] = Field(
        default=None, description="From here on a figure is shown as critical. It decides nothing."
    )
    unit: Name

    @model_validator(mode="after")
    def _is_ordered(self) -> Limit:
        if self.lower is not None and self.lower > self.upper:
            raise ValueError("must be lower <= upper")
        if (self.warning is None) != (self.critical is None):
            raise ValueError("warning and critical belong together")
        if self.warning is not None and self.critical is not None and self.warning > self.critical:
            raise ValueError("must be warning <= critical")
        return self


class ProductLimits(Frozen):
    """Absolute limits of one product on one machine. `cv` is over calls; memory in MiB, times in seconds."""

    mean_rtf: Limit
    worst_rtf: Limit
    cv: Limit
    memory_growth: Limit
    peak_memory_mb: Annotated[Limit | SkipJsonSchema[None], GIVEN] = None
    first_call_seconds: Annotated[Limit | SkipJsonSchema[None], GIVEN] = None
    load_seconds: Annotated[Limit | SkipJsonSchema[None], GIVEN] = None


class Product(Frozen):
    """What the machine serves: limits of one checkpoint with certain options, and of nothing else.

    `options` are written as on the command line: a preset, `name=value`, or both.
    """

    checkpoint: Name
    options: Name
    limits: ProductLimits


class RelativeLimits(Frozen):
    """Limits for every machine: candidate against base in the same run, and memory against no growth.

    A file without `quality` can judge speed alone. A judge in `required_judges` must be installed; where
    another one is not, the gate says what was not judged.
    """

    time_ratio: Limit
    tail_ratio: Limit
    first_call_ratio: Limit
    load_ratio: Limit
    peak_memory: Limit
    memory_growth: Limit
    quality: Annotated[QualityLimits | SkipJsonSchema[None], GIVEN] = None
    required_judges: tuple[Judge, ...] = ()


class Reported(Frozen):
    """A figure somebody reported: no samples, so nothing is ever compared with it."""

    name: Name
    rtf: Positive
    note: Name
    source: Name


class RecordedWorkload(Frozen):
    """One workload of a session: its content hash, and the RTF of every steady call by process."""

    sha256: Sha256
    rtf: Annotated[tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...], Field(min_length=1)]

    @property
    def mean_rtf(self) -> float:
        """Mean over all calls."""
        calls = [rtf for process in self.rtf for rtf in process]
        return sum(calls) / len(calls)


class Session(Frozen):
    """One recorded session on this machine: what a checkpoint with certain options took, and with what.

    `sha256` is over everything else in it, so that an edited sample is found out.
    """

    recorded_at: datetime.datetime
    revision: Name
    checkpoint: Name
    options: dict[str, bool | int | float | str]
    versions: dict[str, str]
    threads: Annotated[int, Field(ge=1)]
    workloads: Annotated[dict[Name, RecordedWorkload], Field(min_length=1)]
    sha256: Sha256

    @property
    def key(self) -> tuple[str, str]:
        """What the session belongs to: the checkpoint, and the options by content."""
        return self.checkpoint, sha256_of(self.options)

    def checksum(self) -> str:
        """The checksum that `sha256` must hold."""
        return sha256_of(self.model_dump(mode="json", exclude={"sha256"}))


class Baseline(Frozen):
    """One machine's file in `baselines/`. `workloads` pins the sentences in code by hash."""

    schema_version: Literal[2]
    machine: Name
    machines_with_own_baseline: tuple[Name, ...] = ()
    workloads: Annotated[dict[Name, Sha256], Field(min_length=1)]
    products: tuple[Product, ...] = ()
    relative: RelativeLimits
    reported: tuple[Reported, ...] = ()
    sessions: tuple[Session, ...] = ()

    @model_validator(mode="after")
    def _portable_holds_relative_limits_only(self) -> Baseline:
        if self.machine == PORTABLE and (self.products or self.reported or self.sessions):
            raise ValueError(
                "portable holds relative limits only; products, reports and sessions belong to a machine"
            )
        if self.machine != PORTABLE and self.machines_with_own_baseline:
            raise ValueError("machines_with_own_baseline belongs to portable")
        return self

    @model_validator(mode="after")
    def _products_and_sessions_are_unique_and_few(self) -> Baseline:
        products = [(product.checkpoint, product.options) for product in self.products]
        if len(set(products)) < len(products):
            raise ValueError("two products of the same checkpoint and options")
        if len({(*session.key, session.recorded_at) for session in self.sessions}) < len(self.sessions):
            raise ValueError("two sessions of the same checkpoint, options and time")
        keys = [session.key for session in self.sessions]
        if any(keys.count(key) > SESSIONS_KEPT for key in keys):
            raise ValueError(f"more than {SESSIONS_KEPT} sessions of the same checkpoint and options")
        return self

    @property
    def product_default(self) -> Product | None:
        """The product that this machine serves, which a check of the limits measures by default."""
        return self.products[0] if self.products else None

    def limits(self) -> dict[str, Limit]:
        """Every limit by its dotted name, such as `relative.time_ratio` or `products[NAME, OPTIONS].cv`."""
        groups: list[tuple[str, Frozen]] = [("relative", self.relative)]
        groups += [(f"products[{one.checkpoint}, {one.options}]", one.limits) for one in self.products]
        limits = {
            f"{name}.{field}": limit
            for name, group in groups
            for field, limit in group
            if isinstance(limit, Limit)
        }
        quality = {
            f"relative.quality.{field}": Limit(upper=upper, unit="of quality")
            for field, upper in self.relative.quality or ()
        }
        return limits | quality
