"""The plugin behind `pytest tests/perf -p engine.gate.pytest_plugin`: one run of the gate, as benchmarks.

It asks `engine.gate.run` once, before the first benchmark, and gives pytest-benchmark a row for each workload
and arm, whose rounds are that arm's calls: its tables, comparisons and storage show the very samples that the
verdict is about. The exit status is the verdict's: 0 pass, 1 regression, 2 usage or missing baseline, 3
undecided; whatever pytest itself would end with above 1 is 2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import traceback
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError, UsageError
from engine.gate import run as running
from engine.gate import signals
from engine.gate.data.samples import ARMS, Arm
from engine.gate.request import Request
from engine.gate.verdict.judge import worst

USAGE = 2
WIDTH = 110
FIXTURE = "gate_row"
SESSION = pytest.StashKey["Session"]()
ENVIRONMENT = pytest.StashKey[dict[str, str]]()
SWITCHES = {
    "--limits": "judge limits and drift alone: nothing is compared",
    "--quick": "3 minutes: six blocks of one workload",
    "--force": "judge on an unfit machine too",
    "--accept-looser": "let limits be looser than before",
    "--accept-changed-output": "let the output differ from the base's",
    "--accept-more-work": "let it do more work than the base",
    "--record": "add a session to this machine's baseline, if all can be trusted",
    "--no-quality": "judge speed alone, which the verdict says",
}
VALUES: dict[str, tuple[type, str]] = {
    "--against": (str, "a git revision (default: the merge base with the default branch)"),
    "--options": (str, "toggles to judge: a preset, name=value, or both (the product's)"),
    "--against-options": (str, "compare with these toggles of the same code instead"),
    "--checkpoint": (str, "a name, a folder or a weight file (the product's)"),
    "--candidate": (str, "a git revision to judge (default: the checkout as it is)"),
    "--runs": (int, "calls of each workload in each process (as the budget holds)"),
    "--blocks": (int, "blocks of live pairs at most (10); with --limits: processes (3)"),
    "--through": (str, "http: time POST /api/tts of each revision's own service"),
    "--minutes": (float, "no block begins that would end later (14; --quick: 3)"),
    "--baseline": (Path, "instead of this machine's own"),
    "--threshold": (float, "tolerated slow-down; 0.2 is 20 %%"),
    "--records": (Path, "folder of the records (build/records of the checkout)"),
    "--keep": (int, "records kept"),
    "--seed": (int, "of the order of calls"),
    "--recogniser": (str, "of words; whisper:MODEL where you have one"),
    "--markdown": (Path, "write the report for a pull request"),
    "--junit": (Path, "write JUnit XML"),
    "--plot": (Path, "write a PNG of every sample"),
    "--pyperf": (Path, "write pyperf's JSON, the base's beside it as NAME-base.json"),
}
NO_VALUE = ""
FILES = ("markdown", "junit", "plot", "pyperf")


@dataclasses.dataclass
class Row:
    """A benchmark: one workload of one arm, and the clock that says again how long its calls took."""

    workload: str
    arm: Arm
    seconds: tuple[float, ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    elapsed: float = 0.0
    told: int = 0

    def clock(self) -> float:
        """The time on the row's own clock."""
        return self.elapsed

    def step(self) -> None:
        """The next call: the clock moves on by what it took."""
        self.elapsed += self.seconds[self.told]
        self.told += 1

    def replay(self, benchmark: Any) -> None:
        """Let pytest-benchmark time all calls again, by the row's clock."""
        benchmark.extra_info.update(self.facts)
        benchmark.pedantic(self.step, rounds=len(self.seconds), iterations=1)


class Session:
    """The gate's run of a pytest session, and what it said."""

    def __init__(self, request: Request, environment: Mapping[str, str] | None) -> None:
        self._request, self._environment = request, environment
        self.said: list[str] = []
        self.outcome: running.Outcome | None = None

    def rows(self) -> list[Row]:
        """The benchmarks that the run will fill: of the candidate, and of the base unless limits alone are
        asked for. Where the history holds no base, the base's are skipped."""
        arms = ARMS[1:] if self._request.limits_only else ARMS
        return [Row(workload, arm) for workload in self._request.workloads for arm in arms]

    def fill(self, row: Row) -> None:
        """Run the gate, unless that was done, and give the row its calls."""
        if self.outcome is None:
            self.outcome = running.gate(self._request, self.said.append, self._environment)
        run = self.outcome.run
        calls = [call for process in run.calls(row.arm, row.workload) for call in process]
        row.seconds = tuple(call.seconds for call in calls)
        if calls and (side := run.side(row.arm)) is not None:
            row.facts = {
                "arm": row.arm,
                "revision": side.revision,
                "options": side.options,
                "checkpoint": side.checkpoint,
                "versions": side.versions,
                "machine": run.machine_key,
                "workload_sha256": side.hashes[row.workload],
                "rtf": [call.rtf for call in calls],
            }

    def publish(self, config: pytest.Config) -> None:
        """Write the files that were asked for, and record the run where that was."""
        from engine.gate.report.files import Files

        assert self.outcome is not None
        paths = {name: _value(config, f"--{name}") for name in FILES}
        Files(**paths).write(self.outcome.run, self.outcome.selection.baseline)
        if self._request.record:
            from engine.gate.baselines.record import record_session
            from engine.gate.baselines.select import BASELINES
            from engine.gate.measure.revisions import checkout

            path, _ = record_session(self.outcome.run, checkout() / BASELINES)
            self.said.append(f"Recorded in {path}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flags of `ishowtts gate`, each with the same meaning."""
    group = parser.getgroup("gate", "performance gate")
    for flag, help_text in SWITCHES.items():
        group.addoption(flag, action="store_true", dest=_dest(flag), help=help_text)
    for flag, (_, help_text) in VALUES.items():  # read later: argparse would end with a code of its own
        group.addoption(flag, nargs="?", const=NO_VALUE, dest=_dest(flag), help=help_text)
    votes = "a file saved by the page of `listen`"
    group.addoption("--votes", dest=_dest("--votes"), action="append", help=votes)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, Any, Any]:
    """Keep the environment as the user set it (what a conftest sets for tests is not measured), and refuse
    flags that nobody knows with the gate's code for misuse instead of pytest's."""
    early_config.stash[ENVIRONMENT] = dict(os.environ)
    result = yield
    try:
        _, unknown = parser.parse_known_and_unknown_args(args)
    except pytest.UsageError as error:
        _leave(str(error))
    if flags := [argument for argument in unknown if argument.startswith("-")]:
        _leave(f"unknown: {' '.join(flags)}. ishowtts gate --help names the flags.")
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Refuse what cannot give a verdict before anything starts, and end with the verdict's code."""
    if config.option.help or config.option.version or config.option.collectonly or config.option.markers:
        return (yield)
    if reason := refused(config):
        _leave(reason)
    signals.unwind_when_ended()
    try:
        status = yield
    except pytest.UsageError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    except Exception as error:  # pytest-benchmark's --benchmark-compare-fail ends so
        if type(error).__name__ != "PerformanceRegression":
            raise
        sys.stderr.write(f"{error}\n")
        status = pytest.ExitCode.TESTS_FAILED
    return exit_code(int(status or 0), config.stash.get(SESSION, None))


def refused(config: pytest.Config) -> str | None:
    """Why these flags cannot give a verdict; None where they can."""
    option = config.option
    if getattr(option, "numprocesses", None) or getattr(option, "dist", "no") != "no":
        return "-n: one process measures at a time. Leave it out; live pairs run side by side by themselves."
    for flag in ("benchmark_disable", "benchmark_skip", "benchmark_cprofile"):
        if getattr(option, flag, None) and not getattr(option, "benchmark_enable", False):
            return f"--{flag.replace('_', '-')}: nothing would be measured. Leave it out."
    if not hasattr(option, "benchmark_json"):
        return (
            "pytest-benchmark is missing or switched off: expected its fixture. pip install pytest-benchmark"
        )
    return None


def exit_code(status: int, session: Session | None) -> int:
    """What the session ends with: the verdict's code, and 2 for everything of pytest's that is no verdict."""
    verdict = session.outcome.run.verdict if session is not None and session.outcome else None
    if status > pytest.ExitCode.TESTS_FAILED or verdict is None:
        return USAGE
    return worst((1 if status else 0, verdict.code))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check what can be checked before a process starts; what is wrong exits 2."""
    option = config.option
    if option.help or option.collectonly:
        return
    asked = any(str(argument).startswith("--benchmark") for argument in config.invocation_params.args)
    option.benchmark_quiet = option.benchmark_quiet or not asked
    with _exit_on_error():
        for name in FILES:
            _value(config, f"--{name}")
        config.stash[SESSION] = Session(request_of(config), config.stash.get(ENVIRONMENT, None))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a comparison with benchmarks that nobody stored: pytest-benchmark finds out after measuring."""
    benchmarks = getattr(session.config, "_benchmarksession", None)
    if benchmarks is None or SESSION not in session.config.stash:
        return
    named = benchmarks.compare
    if benchmarks.compare_fail and not named:
        pytest.exit("--benchmark-compare-fail needs --benchmark-compare beside it.", returncode=USAGE)
    if named and not list(benchmarks.storage.load() if named is True else benchmarks.storage.load(named)):
        pytest.exit(
            f"--benchmark-compare: nothing is stored in {benchmarks.storage}. "
            "Store a run first: --benchmark-autosave",
            returncode=USAGE,
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One benchmark for each workload and arm, with a clock of its own."""
    if FIXTURE not in metafunc.fixturenames:
        return
    session = metafunc.config.stash.get(SESSION, None)
    rows = (session or Session(Request(quick=bool(metafunc.config.getoption("gate_quick"))), None)).rows()
    metafunc.parametrize(
        FIXTURE,
        [
            pytest.param(
                row, marks=pytest.mark.benchmark(group=row.workload, timer=row.clock), id=_label(row)
            )
            for row in rows
        ],
        indirect=True,
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without a benchmark there is nothing to judge, which is no pass."""
    config = session.config
    if SESSION not in config.stash:
        return
    if not any(FIXTURE in getattr(item, "fixturenames", ()) for item in session.items):
        pytest.exit("No benchmark of the gate was selected, so nothing is measured.", returncode=USAGE)


@pytest.fixture
def gate_row(request: pytest.FixtureRequest) -> Row:
    """A row with the calls of its workload and arm; the first one lets the gate run."""
    row: Row = request.param
    with _exit_on_error():
        request.config.stash[SESSION].fill(row)
    if not row.seconds:
        pytest.skip(f"the run has no calls of {row.workload} by the {row.arm}")
    return row


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was asked for, before anything is printed."""
    own = session.config.stash.get(SESSION, None)
    if own is not None and own.outcome is not None:
        with _exit_on_error():
            own.publish(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the gate said, its tables, and where the record is."""
    session = config.stash.get(SESSION, None)
    if session is None:
        return
    for sentence in session.said:
        terminalreporter.write_line(sentence)
    if session.outcome is None:
        terminalreporter.write_line("No verdict: the gate did not run to its end.")
        return
    outcome = session.outcome
    table = _rendered(outcome.run, verbose=config.option.verbose > 0)
    for line in [*table.splitlines(), f"Record: {outcome.path}"]:
        terminalreporter.write_line(line)


def request_of(config: pytest.Config) -> Request:
    """What the flags ask for.

    Raises:
        UsageError: flags of two questions, or a number out of its range.
    """

    switches = {flag: config.getoption(_dest(flag)) for flag in SWITCHES}
    limits, unjudged = switches.pop("--limits"), switches.pop("--no-quality")
    values = {flag: _value(config, flag) for flag in VALUES if flag[2:] not in FILES}
    given = {flag[2:].replace("-", "_"): value for flag, value in values.items() if value is not None}
    chosen = {flag[2:].replace("-", "_"): value for flag, value in switches.items()}
    votes = tuple(Path(name) for name in config.getoption(_dest("--votes")) or ())
    return Request(**given, **chosen, limits_only=limits, quality=not unjudged, votes=votes)


def _value(config: pytest.Config, flag: str) -> Any:
    """A flag's value as the gate takes it; None where it was not given.

    Raises:
        UsageError: it is missing, or no number.
    """
    text, (kind, _) = config.getoption(_dest(flag)), VALUES[flag]
    if text is None:
        return None
    try:
        if text == NO_VALUE:
            raise ValueError
        return kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}.get(kind, "a value")
        raise UsageError(f"{flag} {text}".strip(), expected, f"Pass {flag} {kind.__name__.upper()}") from None


def _dest(flag: str) -> str:
    """Where a flag's value is kept: under a name that no other plugin uses."""
    return f"gate_{flag[2:].replace('-', '_')}"


def _label(row: Row) -> str:
    """`short-base`. The same in every run, so that pytest-benchmark compares like with like."""
    return f"{row.workload}-{row.arm}"


def _rendered(run: Any, *, verbose: bool) -> str:
    from rich.console import Console

    from engine.gate.report import table

    page = io.StringIO()
    Console(file=page, width=WIDTH).print(table.table(run, verbose=verbose))
    return page.getvalue()


def _leave(reason: str) -> None:
    """End before the session has begun."""
    sys.stderr.write(f"{reason}\n")
    raise SystemExit(USAGE)


@contextlib.contextmanager
def _exit_on_error() -> Generator[None, None, None]:
    """End the session with exit code 2 and one sentence, where the gate cannot be asked."""
    try:
        yield
    except EngineError as error:
        pytest.exit(str(error), returncode=USAGE)
    except Exception:  # noqa: BLE001 - pytest's own 1 and 3 for a crash would read as a verdict
        pytest.exit(f"the gate broke:\n{traceback.format_exc()}", returncode=USAGE)
