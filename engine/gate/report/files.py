"""A judged run as the files that were asked for, each for another reader."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from engine.gate.baselines.select import Baseline
from engine.gate.data.files import write_atomically
from engine.gate.data.samples import Run
from engine.gate.report.junit import junit
from engine.gate.report.markdown import markdown
from engine.gate.report.plot import plot
from engine.gate.report.pyperf_file import pyperf_json


@dataclasses.dataclass(frozen=True)
class Files:
    """Where to write: Markdown for a pull request, JUnit XML, a PNG of every sample, and pyperf's JSON."""

    markdown: Path | None = None
    junit: Path | None = None
    plot: Path | None = None
    pyperf: Path | None = None

    def write(self, run: Run, baseline: Baseline) -> None:
        """Write what was asked for. The base's pyperf file stands beside the candidate's, as `NAME-base`."""
        for path, render in ((self.markdown, markdown), (self.junit, junit)):
            if path is not None:
                write_atomically(path, render(run))
        if self.plot is not None:
            plot(run, self.plot, baseline)
        if self.pyperf is not None:
            write_atomically(self.pyperf, pyperf_json(run))
            if run.base is not None:
                beside = self.pyperf.with_stem(f"{self.pyperf.stem}-base")
                write_atomically(beside, pyperf_json(run, "base"))
