"""The registry of studies: every one can be run by its name, and writes where it is looked for."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

from tests.studies import __main__ as registry
from tests.studies.__main__ import STUDIES, command, main

ROOT = Path(registry.__file__).parents[2]


def test_every_study_has_a_module_that_runs_and_a_line() -> None:
    """It can be run as a program, and says what it asks."""
    for name, study in STUDIES.items():
        assert study.asks.endswith((".", "?")), name
        spec = importlib.util.find_spec(study.module)
        assert spec is not None, name
        assert spec.origin is not None, name
        main_file = Path(spec.origin).with_name("__main__.py")
        file = main_file if spec.submodule_search_locations else Path(spec.origin)
        assert '__name__ == "__main__"' in file.read_text() or study.module == "pytest", name


def test_every_study_that_can_be_run_is_in_the_registry() -> None:
    """None is left that only its module's name starts."""
    folder = ROOT / "tests" / "studies"
    programs = {
        f"tests.studies.{path.stem}"
        for path in folder.glob("*.py")
        if '__name__ == "__main__"' in path.read_text() and path.stem != "__main__"
    }
    assert programs <= {study.module for study in STUDIES.values()}


def test_records_are_written_where_they_are_committed() -> None:
    """Each file that a study writes or reads by default is there."""
    for study in STUDIES.values():
        for word in study.arguments:
            if word.startswith(("baselines/", "tests/")):
                assert (ROOT / word).is_file(), word


def test_what_is_given_is_added_to_what_a_study_has_by_default() -> None:
    """Behind it, so that it wins; a study of several steps keeps its default for a call without any."""
    module, words = command("pareto", ["--rounds", "1"])
    assert (module, words) == ("tests.studies.pareto", ["--out", "baselines/pareto.json", "--rounds", "1"])
    assert command("voice", [])[1][0] == "all"
    assert command("voice", ["train", "--work", "x"])[1] == ["train", "--work", "x"]


def test_a_study_is_run_as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its arguments, and its exit code goes through."""
    seen: list[tuple[str, list[str]]] = []

    def run_module(module: str, **_: object) -> None:
        seen.append((module, sys.argv[1:]))
        raise SystemExit(1)

    monkeypatch.setattr(runpy, "run_module", run_module)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit, match="1"):
        main(["first-audio", "--rounds", "2"])
    assert seen == [("tests.studies.first_audio", ["--out", "baselines/first_audio.json", "--rounds", "2"])]


def test_no_name_lists_all_and_a_wrong_one_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what there is instead."""
    assert main([]) == main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in STUDIES)
    assert main(["ladders"]) == 2
    assert "study 'ladders': expected one of calibrate" in capsys.readouterr().err
