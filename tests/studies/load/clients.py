"""Running one phase of clients: Locust in a process of its own, and what each request came to."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from engine.errors import EngineError
from engine.gate.data.workloads import Frozen, NonNegative
from tests.studies.load.plan import Plan

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
ROOT = Path(__file__).parents[3]
AUDIO_BYTES = 1000
"""An answer with fewer bytes holds no speech."""


class Sample(Frozen):
    """One request as its client saw it.

    Attributes:
        at: when it was due, in seconds from the phase's start.
        route: where it went.
        status: of the answer; 0 where there was none.
        first: seconds from `at` to the first byte of the answer's body; None where there was none.
        seconds: from `at` to its last byte.
        bytes: of the body.
        error: why there was no answer, as the client names it.
    """

    at: NonNegative
    route: str
    status: int
    first: NonNegative | None = None
    seconds: NonNegative
    bytes: int
    error: str = ""

    @property
    def spoken(self) -> bool:
        """Whether it got audio, whole."""
        return self.status == 200 and not self.error and self.bytes > AUDIO_BYTES

    @property
    def refused(self) -> bool:
        """Whether it was told that the queue is full."""
        return self.status == 429 and not self.error


def run(plan: Plan, host: str) -> list[Sample]:
    """Let the clients of a phase ask the service at `host`, in order of arrival.

    Raises:
        EngineError: Locust itself failed, or a request left no line.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "plan.json", Path(folder) / "samples.jsonl"
        given.write_text(plan.model_dump_json())
        users = plan.clients if plan.arrivals == "closed" else 1
        bound = plan.seconds + 2 * plan.patience + 30  # the clients end by themselves long before
        command = [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", host),
            *("--plan", str(given), "--samples", str(written), "--users", str(users)),
            *("--spawn-rate", str(users), "--run-time", f"{bound:.0f}s", "--exit-code-on-error", "0"),
            *("--loglevel", "WARNING", "--only-summary", "--reset-stats"),
        ]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=bound + 60
        )
        lines = written.read_text().splitlines() if written.is_file() else []
    if done.returncode or not lines:
        raise EngineError(
            f"phase {plan.name}: {len(lines)} requests, exit {done.returncode}: {done.stderr[-500:]}",
            "clients that ask", "Run it again; `pip install .[dev]` has Locust",
        )  # fmt: skip
    return sorted((Sample.model_validate_json(line) for line in lines), key=lambda sample: sample.at)
