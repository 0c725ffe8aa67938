"""The benchmarks need the gate's plugin: it gives them processes, judges them, and sets the exit status."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Say what is missing when somebody runs the folder without the plugin."""
    if not config.pluginmanager.has_plugin("engine.gate.plugin"):
        pytest.exit(
            "tests/perf needs the gate: run it with -p engine.gate.plugin, or nox -s perf", returncode=2
        )
