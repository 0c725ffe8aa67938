"""The pytest plugin behind `pytest tests/perf -p engine.gate.pytest_plugin`: benchmarks with a verdict.

Each benchmark is one workload in one process of one arm. The processes run in the gate's own order, base and
candidate interleaved in blocks of four; what is not needed any more is skipped. pytest-benchmark times the
calls and keeps them in its own storage; its `--benchmark-*` flags work. The plugin judges the same calls at
the end, prints one table, writes a record, and sets the exit status: 0 pass, 1 regression, 2 usage or missing
baseline, 3 undecided.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.gate import run as running
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.samples import RECORDS, Arm, Call, Process, Series
from engine.gate.data.workloads import Sentence
from engine.gate.measure import blocks
from engine.gate.measure import process as instrument
from engine.gate.measure.process import Instrument

USAGE = 2
WARM_UP_CALLS = 2
"""Calls before pytest-benchmark's timer starts. The record looks for warm-up in all of them by itself."""
WIDTH = 110
SESSION = pytest.StashKey["Session"]()
ENVIRONMENT = pytest.StashKey[dict[str, str]]()

Place = tuple[Arm, int, int]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flags of `ishowtts gate` that make sense here."""
    group = parser.getgroup("gate", "performance gate")
    group.addoption("--quick", action="store_true", help="three blocks of the shortest workload")
    group.addoption("--runs", type=int, help="blocks of four processes at most")
    group.addoption(
        "--budget", type=float, default=running.BUDGET_MINUTES, help="minutes; no block begins later"
    )
    group.addoption("--toggles", help="toggles to judge: a preset, name=value, or both")
    group.addoption("--reference-toggles", help="toggles to compare with (default reference)")
    group.addoption("--checkpoint", help="a name, a folder or a weight file")
    group.addoption("--baseline", type=Path, help="instead of this machine's own")
    group.addoption("--threshold", type=float, help="tolerated slow-down; 0.2 is 20 %%")
    group.addoption("--force", action="store_true", help="judge on an unfit machine too")
    group.addoption("--accept-looser", action="store_true", help="let limits be looser than before")
    group.addoption("--records", type=Path, default=RECORDS, help="folder of the records")
    group.addoption("--keep", type=int, default=100, help="records kept")
    group.addoption("--seed", type=int, help="of the order of the arms")
    group.addoption("--no-quality", action="store_true", help="judge speed alone, which says so")
    group.addoption("--recogniser", default="pocketsphinx", help="what hears the words: whisper:MODEL too")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Keep the environment as the user set it: what a conftest sets for tests is not measured."""
    early_config.stash[ENVIRONMENT] = dict(os.environ)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check everything that can be checked before a process starts; what is wrong exits 2."""
    if config.option.help or config.option.collectonly:
        return
    asked = any(str(argument).startswith("--benchmark") for argument in config.invocation_params.args)
    config.option.benchmark_quiet = config.option.benchmark_quiet or not asked
    with _exit_on_error():
        config.stash[SESSION] = Session(_request(config), config.stash.get(ENVIRONMENT, None))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One benchmark for each workload in each process, in the order in which the processes run."""
    if {"gate_process", "gate_sentence"} <= set(metafunc.fixturenames):
        request = _request(metafunc.config)
        listed = dataclasses.replace(request, quality=False)  # only collected: nobody will speak
        session = metafunc.config.stash.get(SESSION, None) or Session(listed, None)
        metafunc.parametrize(
            "gate_process",
            session.places,
            indirect=True,
            scope="module",
            ids=[_label(p) for p in session.places],
        )
        metafunc.parametrize("gate_sentence", session.sentences, ids=[s.name for s in session.sentences])


@pytest.fixture(scope="module")
def gate_process(request: pytest.FixtureRequest) -> Iterator[RunningProcess]:
    """A process of one arm, loaded, for as long as its workloads run."""
    session = request.config.stash[SESSION]
    if reason := session.why_stop(request.param):
        pytest.skip(reason)
    with _exit_on_error(), session.open(request.param) as process:
        yield process


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Judge what was measured and exit with the verdict; after a failure pytest's own status stands."""
    found = session.config.stash.get(SESSION, None)
    if found is None:
        return
    with contextlib.closing(found), _exit_on_error():
        if session.exitstatus != pytest.ExitCode.OK:
            return
        if not found.complete:
            session.exitstatus = USAGE  # no verdict is no pass
            return
        found.judge()
    assert found.outcome is not None
    assert found.outcome.run.verdict is not None
    session.exitstatus = found.outcome.run.verdict.code


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The one table, and where the record is."""
    found = config.stash.get(SESSION, None)
    if found is None:
        return
    for said in found.said:
        terminalreporter.write_line(said)
    if found.outcome is None:
        terminalreporter.write_line("No verdict: not every benchmark of the gate ran.")
        return
    for line in [*_rendered(found.outcome.run).splitlines(), f"Record: {found.outcome.path}"]:
        terminalreporter.write_line(line)


class RunningProcess:
    """What a benchmark gets: a loaded process of one arm."""

    def __init__(self, session: Session, place: Place, handle: Instrument) -> None:
        self._session, self._place, self._handle = session, place, handle
        self._series: list[Series] = []

    def benchmark(self, benchmark: Any, sentence: Sentence) -> None:
        """Let pytest-benchmark time calls of one workload, warm-up apart, and tell it what it measured."""
        calls: list[Call] = []
        rounds, described = self._session.calls or 1, self._handle.described
        benchmark.group = sentence.name
        benchmark.extra_info.update(
            arm=self._place[0],
            options=described["options"],
            versions=described["versions"],
            machine=self._session.scene.machine.key,
            workload_sha256=sentence.sha256,
        )
        with _exit_on_error():
            benchmark.pedantic(
                lambda: calls.append(self._handle.call(sentence)), rounds=rounds, warmup_rounds=WARM_UP_CALLS
            )
        compiled = described["options"].get("compile", "off") != "off"
        self._series.append(instrument.series(sentence.name, calls, compiled))
        benchmark.extra_info["rtf"] = [call.rtf for call in calls[-rounds:]]

    def end(self) -> None:
        """End the process and keep its record, with the evidence of its toggles."""
        end = self._handle.finish()
        if len(self._series) == len(self._session.sentences):
            process = instrument.process(*self._place, self._series, self._handle, end)
            self._session.processes.append(process)


class Session:
    """One gate run, spread over the benchmarks of a pytest session."""

    def __init__(self, request: running.Request, environment: Mapping[str, str] | None) -> None:
        self._request, self._stack = request, contextlib.ExitStack()
        self._environment = os.environ if environment is None else environment
        self.said: list[str] = []
        self.scene = running.look(request, self.said.append)
        self._settings = request.settings()
        self._hearing = running.prepare(request, self._settings, self.scene, self.said.append)
        self.sentences = self._settings.sentences
        self.calls = self._settings.calls
        self.places: list[Place] = [
            (arm, block, position)
            for block, arms in enumerate(self._settings.blocks)
            for position, arm in enumerate(arms)
        ]
        self.processes: list[Process] = []
        self.after_blocks: list[AfterBlock] = []
        self.outcome: running.Outcome | None = None
        self._described: dict[Arm, Mapping[str, Any]] = {}
        self._stage: running.Stage | None = None
        self._stopped: str | None = None
        self._start, self._begun, self._longest = time.monotonic(), 0.0, 0.0

    @property
    def complete(self) -> bool:
        """Whether every benchmark of the gate ran, up to where it was decided or the budget ended."""
        wanted = self.places[: len(self.processes)] if self._stopped else self.places
        ran = [(one.arm, one.block, one.position) for one in self.processes]
        return bool(ran) and ran == wanted and len(ran) % 4 == 0

    def why_stop(self, place: Place) -> str | None:
        """Why the process at a place is not needed; asked at the start of each block."""
        if place[2] == 0 and not self._stopped and len(self.processes) == 4 * place[1]:
            now = time.monotonic()
            self._longest = max(self._longest, now - self._begun if place[1] else 0.0)
            self._begun = now
            self._stopped = blocks.why_stop(self._settings, self.processes, now - self._start, self._longest)
        return self._stopped

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[RunningProcess]:
        """Start the process at one place; its record is kept when it ends well."""
        if self._stage is None:
            opening = running.stage(self._request, self.scene.material, self._environment)
            self._stage = self._stack.enter_context(opening)
        open_worker = self._stage.open_worker
        if self.calls is None:
            said = self.said.append
            self.calls = blocks.settle(self._settings, open_worker, said, time.monotonic, self._described)
            self._begun = time.monotonic()
        with open_worker(place[0]) as handle:
            blocks.same_as_before(place[0], handle, self._described)
            process = RunningProcess(self, place, handle)
            yield process
            process.end()
        if place[2] == 3:
            self.after_blocks.append(running.watch(self.scene)(place[1]))

    def close(self) -> None:
        """Remove the checkouts, the waves, and the copy of the worker."""
        self._stack.close()

    def judge(self) -> None:
        """Hold the quality pass, judge all, and write the record."""
        assert self._stage is not None
        notes = blocks.notes(self.processes, self._stopped)
        measured = blocks.Measured(tuple(self.processes), tuple(self.after_blocks), self._described, notes)
        quality = self._stage.quality(self._hearing, measured, self.said.append)
        arms = self._stage.arms
        run = running.assemble(self._request, self._settings.plan, self.scene, arms, measured, quality)
        self.outcome = running.finish(self._request, run, self.scene, measured.notes)


def _request(config: pytest.Config) -> running.Request:
    option: Callable[[str], Any] = config.getoption
    return running.Request(
        options=option("toggles"),
        against_options=option("reference_toggles"),
        checkpoint=option("checkpoint"),
        quick=option("quick"),
        blocks=option("runs"),
        budget_minutes=option("budget"),
        baseline=option("baseline"),
        threshold=option("threshold"),
        force=option("force"),
        accept_looser=option("accept_looser"),
        records=option("records"),
        keep=option("keep"),
        seed=option("seed"),
        quality=not option("no_quality"),
        recogniser=option("recogniser"),
    )


def _label(place: Place) -> str:
    """`base-3`: the arm and the number of its process. The same in every run, whatever the order was."""
    arm, block, position = place
    return f"{arm}-{2 * block + (position > 1) + 1}"


def _rendered(run: Any) -> str:
    from rich.console import Console

    from engine.gate.report import table

    page = io.StringIO()
    Console(file=page, width=WIDTH).print(table.table(run))
    return page.getvalue()


@contextlib.contextmanager
def _exit_on_error() -> Iterator[None]:
    """End the session with exit code 2 and one sentence, where the gate cannot be asked."""
    try:
        yield
    except EngineError as error:
        pytest.exit(str(error), returncode=USAGE)
    except pytest.exit.Exception:
        raise
    except Exception:  # noqa: BLE001 - pytest's own 1 and 3 for a crash would read as a verdict
        pytest.exit(f"the gate broke:\n{traceback.format_exc()}", returncode=USAGE)
