"""The gate's run as benchmarks: every workload of the base and of the candidate."""

from __future__ import annotations

from typing import Any

from engine.gate.pytest_plugin import Row


def test_synthesis(gate_row: Row, benchmark: Any) -> None:
    """The calls of one workload of one arm; the verdict on all of them sets the exit status."""
    gate_row.replay(benchmark)
