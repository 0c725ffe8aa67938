"""Keep what nbval executed: `--executed FOLDER` writes each notebook with the outputs of its one run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--executed", type=Path, help="folder for the executed notebooks")


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
