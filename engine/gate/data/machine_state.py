"""The result of a preflight: findings, each with its cure, and whether a measurement is worth making."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.gate.data.workloads import Frozen

Status = Literal["ok", "warning", "unfit", "unknown"]


class Finding(Frozen):
    """One thing that was looked at: what was seen, what is right, how to cure it, and who said so."""

    check: str
    status: Status
    observed: str
    expected: str
    cure: str = ""
    source: str = ""

    @property
    def sentence(self) -> str:
        """What was found and what to do."""
        return f"{self.check}: {self.observed}, expected {self.expected}. Cure: {self.cure}."


class Preflight(Frozen):
    """Everything that was looked at. Unknown is no obstacle, unless a check says so itself."""

    findings: tuple[Finding, ...]

    @property
    def fit(self) -> bool:
        """Whether nothing makes a measurement worthless."""
        return not self.having("unfit")

    def having(self, status: Status) -> tuple[Finding, ...]:
        """The findings of one status."""
        return tuple(finding for finding in self.findings if finding.status == status)


class AfterBlock(Preflight):
    """What was looked at again when a block had ended; `block` counts from 0."""

    block: Annotated[int, Field(ge=0)]
