"""Keep what nbval executed: `--executed FOLDER` writes each notebook with the outputs of its one run."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

import engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--executed", type=Path, help="folder for the executed notebooks")


def pytest_configure(config: pytest.Config) -> None:
    """Let the kernels find what is not installed, the studies, beside the engine."""
    checkout = Path(str(engine.__file__)).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Put the outputs into the cell; after the last cell of a notebook, write it, failures included."""
    folder = item.config.getoption("--executed")
    if folder is None or getattr(item, "test_outputs", None) is None:
        return
    item.cell.outputs = [nbformat.from_dict(output) for output in item.test_outputs]
    item.cell.execution_count = item.cell_num + 1
    if nextitem is None or nextitem.parent is not item.parent:
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(item.parent.nb, folder / item.path.name)
