"""The pytest front in sessions of its own: rows of benchmarks, refusals at once, exit codes."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from engine.gate import commands, pytest_plugin, run
from engine.gate.pytest_plugin import Row, Session, exit_code
from engine.gate.request import Request
from engine.gate.verdict import judge
from tests.unit.gate import builders

ROOT = Path(__file__).parents[2]
MADE_UP = """
import json
import os
from pathlib import Path

import pytest

from engine.gate import run
from engine.gate.verdict import judge
from tests.unit.gate import builders

def gate(request, report, environment=None):
    with Path("asked.txt").open("a") as file:
        file.write(json.dumps([repr(request), "OWN" in environment]) + "\\n")
    report("base: bababa, merge base of main")
    if os.environ["CODE"] == "crash":
        raise RuntimeError("the gate broke")
    made = builders.run(None if os.environ.get("BASE", "1") == "1" else builders.alone().processes)
    selection = builders.selection()
    verdict = judge.judge(made, selection).model_copy(update={"code": int(os.environ["CODE"])})
    return run.Outcome(made.model_copy(update={"verdict": verdict}), Path("record.json"), selection)

run.gate = gate
os.environ["OWN"] = "set by a conftest for tests"
"""
BENCHMARK = """
def test_synthesis(gate_row, benchmark):
    gate_row.replay(benchmark)
"""


DRIVER = """
import contextlib, io, json, sys
import pytest
for arguments in json.loads(sys.argv[1]):
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.redirect_stderr(page):
        try:
            code = int(pytest.main(arguments))
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, page.getvalue()]))
"""
"""Several sessions of pytest in one process, which saves importing."""
PLUGINS = ["-p", "pytest_benchmark.plugin", "-p", "engine.gate.pytest_plugin", "-p", "no:cacheprovider"]


class Ended(NamedTuple):
    """How a session of pytest ended, and what it printed."""

    code: int
    output: str


class Project:
    """A folder with the plugin's benchmark, and a made-up gate that ends with `code`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "conftest.py").write_text(MADE_UP)
        (folder / "test_perf.py").write_text(BENCHMARK)

    def run_all(
        self, sessions: list[list[str]], code: int | str = 0, plugins: list[str] = PLUGINS, **variables: str
    ) -> list[Ended]:
        """Run pytest there with each of these arguments, as if from a terminal: without what a worker of
        xdist has in its environment, and with no plugin but those named."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        own = {"PYTHONPATH": str(ROOT), "CODE": str(code), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        asked = json.dumps([[*plugins, *arguments] for arguments in sessions])
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, asked], cwd=self.folder, capture_output=True, text=True,
            check=True, env={**kept, **own, **variables},
        )  # fmt: skip
        return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]

    def run(self, *arguments: str, **how: Any) -> Ended:
        """Run pytest there once."""
        (ended,) = self.run_all([list(arguments)], **how)
        return ended

    @property
    def asked(self) -> list[tuple[str, bool]]:
        """Every time the gate was asked: the request, and whether a conftest's variable reached it."""
        path = self.folder / "asked.txt"
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of one benchmark."""
    return Project(tmp_path)


def test_the_gate_runs_once_and_every_workload_of_every_arm_is_a_benchmark(project: Project) -> None:
    """Rounds are the calls that the verdict is about, in pytest-benchmark's own storage; files are written,
    and what a conftest sets for tests does not reach the processes."""
    files = ["--benchmark-json=b.json", "--markdown=a.md", "--junit", "a.xml", "--pyperf=p.json"]
    done = project.run(
        *files, "-rs", "--runs", "6", "--options", "nfe=7", "--no-quality", "--accept-more-work"
    )
    assert done.code == 0, done.output
    ((request, leaked),) = project.asked
    expected = Request(options="nfe=7", runs=6, quality=False, accept_more_work=True)
    assert (request, leaked) == (repr(expected), False)
    rows = json.loads((project.folder / "b.json").read_text())["benchmarks"]
    assert {row["name"] for row in rows} == {
        f"test_synthesis[{name}-{arm}]" for name in ("short", "medium") for arm in ("base", "candidate")
    }
    (row,) = [row for row in rows if row["name"] == "test_synthesis[short-candidate]"]
    assert row["group"] == "short"
    assert row["stats"]["rounds"] == 6 * 20  # six calls in each of twenty processes
    assert row["stats"]["median"] == pytest.approx(4 * 0.2, rel=0.1)
    assert row["extra_info"]["arm"] == "candidate"
    assert len(row["extra_info"]["rtf"]) == 120
    assert all((project.folder / name).is_file() for name in ("a.md", "a.xml", "p.json", "p-base.json"))
    for told in ("base: bababa, merge base of main", "record.json", "2 skipped"):  # nobody spoke the long one
        assert told in done.output


def test_the_exit_status_is_the_verdicts(project: Project) -> None:
    """And a gate that breaks is no verdict."""
    for code in (1, 3):
        assert project.run("--quick", code=code).code == code
    broken = project.run("--quick", code="crash")
    assert broken.code == 2
    assert "the gate broke" in broken.output


def test_where_there_is_no_base_the_candidate_is_reported_alone(project: Project) -> None:
    """Its rows of the base are skipped, or not there where limits alone are asked for."""
    asked = [["--quick"], ["--quick", "--limits"]]
    without, alone = project.run_all(asked, code=3, BASE="0")
    assert without.code == alone.code == 3
    assert "1 passed, 1 skipped" in without.output
    assert "1 passed" in alone.output
    assert ", 1 skipped" not in alone.output
    assert ["limits_only=True" in request for request, _ in project.asked] == [False, True]


def test_what_can_give_no_verdict_is_refused_before_the_gate_is_asked(project: Project) -> None:
    """Exit 2 with a sentence: several workers, benchmarks switched off, comparisons with nothing, no
    benchmark, and flags that nobody knows or that make no sense."""
    refused = {
        ("-p", "xdist", "-n", "2"): "one process measures",
        ("--benchmark-disable",): "nothing would be measured",
        ("--benchmark-skip",): "nothing would be measured",
        ("--benchmark-compare",): "nothing is stored",
        ("--benchmark-compare-fail=mean:5%",): "--benchmark-compare",
        ("-k", "nothing"): "No benchmark",
        ("--toggles=fast_cpu",): "--toggles",
        ("--runs", "many"): "a whole number",
        ("--runs", "0"): "--runs 0",
        ("--markdown",): "--markdown",
        ("--limits", "--against", "HEAD"): "one question",
        ("gone.py",): "No benchmark",
    }
    ended = project.run_all([["-q", *arguments] for arguments in refused])
    for done, (arguments, named) in zip(ended, refused.items(), strict=True):
        assert done.code == 2, (arguments, done.output)
        assert named in done.output
        assert "Traceback" not in done.output
    bare = project.run(plugins=["-p", "engine.gate.pytest_plugin"])
    assert bare.code == 2
    assert "pytest-benchmark is missing" in bare.output
    assert project.asked == []


def test_a_comparison_with_stored_benchmarks_is_pytest_benchmarks_own(project: Project) -> None:
    """A failed one is a regression, whatever the verdict; it is no crash."""
    compared = ["--quick", "--benchmark-compare"]
    stored, same = project.run_all([["--quick", "--benchmark-autosave"], compared])
    assert (stored.code, same.code) == (0, 0)
    assert "NOW" in same.output
    (path,) = project.folder.glob(".benchmarks/*/*.json")
    content = json.loads(path.read_text())
    for row in content["benchmarks"]:
        row["stats"]["mean"] /= 2
    path.write_text(json.dumps(content))
    failed = project.run(*compared, "--benchmark-compare-fail=mean:5%")
    assert failed.code == 1, failed.output
    assert "Performance has regressed" in failed.output
    assert "Traceback" not in failed.output


def test_collecting_alone_asks_nobody(project: Project) -> None:
    """Names are the same in every run, so that pytest-benchmark compares like with like."""
    done = project.run("-q", "--collect-only", "--quick")
    assert done.code == 0
    assert "test_synthesis[short-base]" in done.output
    assert "test_synthesis[short-candidate]" in done.output
    assert project.asked == []


def test_pytests_own_codes_above_one_are_misuse() -> None:
    """3 of pytest is a crash, and would read as undecided; a failed test beside a verdict is a regression."""
    session, verdict = Session(Request(), None), judge.judge(builders.run(), builders.selection())
    assert [exit_code(status, session) for status in range(6)] == [2] * 6
    assert exit_code(0, None) == 2
    for code, failed in ((0, 1), (1, 1), (3, 1), (2, 2)):
        made = builders.run(verdict=verdict.model_copy(update={"code": code}))
        session.outcome = run.Outcome(made, Path("record.json"), builders.selection())
        assert [exit_code(status, session) for status in range(6)] == [code, failed, 2, 2, 2, 2]


def test_a_rows_clock_tells_the_calls_again() -> None:
    """Each step takes what the call took."""
    row = Row("short", "base", seconds=(0.5, 0.25))
    told = []
    for _ in row.seconds:
        before = row.clock()
        row.step()
        told.append(row.clock() - before)
    assert told == [0.5, 0.25]


def flags_of_the_command() -> dict[str, str]:
    """Every flag of `ishowtts gate` with its help."""
    app = typer.Typer(add_completion=False)
    app.command()(commands.gate)
    command = typer.main.get_command(app)
    return {option.opts[0]: str(getattr(option, "help", "")) for option in command.params}


def test_every_flag_means_the_same_in_both_fronts() -> None:
    """The same spelling and the same help; what is printed is pytest's own business."""
    own = flags_of_the_command()
    for of_the_command_line in ("--json", "--verbose", "--help"):
        own.pop(of_the_command_line, None)
    plugin = {**pytest_plugin.SWITCHES, **{flag: words for flag, (_, words) in pytest_plugin.VALUES.items()}}
    plugin["--votes"] = "a file saved by the page of `listen`"
    assert {flag: words.replace("%%", "%") for flag, words in plugin.items()} == own


def test_every_field_of_a_request_can_be_asked_for() -> None:
    """The flags are the fields, less the names that say the opposite."""
    fields = set(inspect.signature(Request).parameters)
    flags = {
        flag[2:].replace("-", "_") for flag in (*pytest_plugin.SWITCHES, *pytest_plugin.VALUES, "--votes")
    }
    renamed = {"limits": "limits_only", "no_quality": "quality"}
    assert {renamed.get(flag, flag) for flag in flags} - set(pytest_plugin.FILES) == fields
