"""The gate's benchmarks need its plugin: it gives them processes, judges them, and sets the exit status."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say what is missing when somebody runs them without it; the other files here need none."""
    asked = any("gate_row" in getattr(item, "fixturenames", ()) for item in items)
    if asked and not config.pluginmanager.has_plugin("engine.gate.pytest_plugin"):
        pytest.exit(
            "tests/perf needs the gate: run it with -p engine.gate.pytest_plugin, or nox -s perf",
            returncode=2,
        )
