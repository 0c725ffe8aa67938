"""The gate's benchmarks: every workload in every process of the optimised and the reference configuration."""

from __future__ import annotations

from typing import Any

from engine.gate.data.workloads import Sentence
from engine.gate.pytest_plugin import RunningProcess


def test_synthesis(benchmark: Any, gate_process: RunningProcess, gate_sentence: Sentence) -> None:
    """A fresh process says a pinned text again and again; the verdict on all of them comes at the end."""
    gate_process.benchmark(benchmark, gate_sentence)
