"""The pytest plugin around made-up processes: one benchmark per process and workload, judged at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.gate import pytest_plugin, run
from engine.gate.data.samples import Arm, read
from engine.gate.measure import process as instrument
from engine.gate.measure.process import Material
from tests.unit.gate import builders
from tests.unit.gate.simulated import TARGET, Fault, Machine, quiet


class Benchmark:
    """What the plugin uses of pytest-benchmark's fixture."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}
        self.group = ""

    def pedantic(self, function: Callable[[], None], rounds: int, warmup_rounds: int) -> None:
        """Call so often."""
        for _ in range(rounds + warmup_rounds):
            function()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest_plugin.Session:
    """A quick session on a made-up machine."""
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"audio")
    material = Material("made-up", "made-up", clip, "Words.")
    scene = run.Scene(builders.MACHINE, builders.FIT, builders.selection(), material)
    arms: Mapping[Arm, instrument.Target] = {"base": TARGET, "candidate": TARGET}
    machine = Machine(Fault(), 12)

    @contextlib.contextmanager
    def opener(*_: object, **__: object) -> Iterator[instrument.Opener]:
        yield machine.open

    monkeypatch.setattr(run, "watch", lambda scene: quiet)
    monkeypatch.setattr(run, "look", lambda request, report: scene)
    monkeypatch.setattr(run, "targets", lambda *_: contextlib.nullcontext(arms))
    monkeypatch.setattr(instrument, "opener", opener)
    return pytest_plugin.Session(
        run.Request(quick=True, seed=1, records=tmp_path / "records", quality=False), {}
    )


def measure(session: pytest_plugin.Session, places: list[pytest_plugin.Place]) -> Benchmark:
    """Run the benchmarks of some places."""
    benchmark = Benchmark()
    for place in places:
        with session.open(place) as process:
            for sentence in session.sentences:
                process.benchmark(benchmark, sentence)
    return benchmark


def test_a_session_is_judged_like_a_run_of_the_gate(session: pytest_plugin.Session) -> None:
    """Every process in its place, a record on disk, and a verdict."""
    measure(session, session.places[:3])
    assert session.after_blocks == []
    benchmark = measure(session, session.places[3:])
    assert session.complete
    session.judge()
    assert session.outcome is not None
    assert session.outcome.run.verdict is not None
    assert read(session.outcome.path) == session.outcome.run
    assert [(one.arm, one.block, one.position) for one in session.outcome.run.processes] == session.places
    assert [after.block for after in session.outcome.run.after_blocks] == [0, 1, 2]
    assert (
        benchmark.extra_info["options"] == session.outcome.run.candidate.options
        or benchmark.extra_info["arm"] == "base"
    )
    assert benchmark.extra_info["machine"] == builders.MACHINE.key
    assert benchmark.group == "short"
    assert "short" in pytest_plugin._rendered(session.outcome.run)


def test_a_session_judges_quality_once_its_blocks_are_measured(
    session: pytest_plugin.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the same arms, and what was timed at hand; it is prepared before the first process starts."""
    held: list[int] = []

    def hold(audition: object, open_outputs: object, processes: tuple[object, ...], *_: object) -> None:
        assert audition == "prepared"
        held.append(len(processes))

    monkeypatch.setattr(run.quality_pass, "prepare", lambda *_, **__: FakeAudition("prepared"))
    monkeypatch.setattr(run.quality_pass, "hold", hold)
    asked = run.Request(quick=True, seed=1, records=tmp_path / "records")
    again = pytest_plugin.Session(asked, {})
    measure(again, again.places)
    assert held == []
    again.judge()
    assert held == [12]


class FakeAudition(str):
    """Nobody is missing."""

    missing: Mapping[str, str] = {}


def test_a_session_with_a_missing_benchmark_gives_no_verdict(session: pytest_plugin.Session) -> None:
    """`-k` or a failure leaves something out."""
    assert not session.complete
    measure(session, session.places[:-1])
    assert not session.complete
    assert all(session.why_stop(place) is None for place in session.places)


def test_what_is_not_needed_any_more_is_skipped(
    session: pytest_plugin.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a block that decides or ends the budget; what ran is a complete run, and its notes say why."""
    monkeypatch.setattr(
        pytest_plugin.blocks, "why_stop", lambda settings, processes, *_: "enough" if processes else None
    )
    assert not session.why_stop(session.places[0])
    measure(session, session.places[:4])
    assert [session.why_stop(place) for place in session.places[4:]] == ["enough"] * 8
    assert session.complete
    session.judge()
    assert session.outcome is not None
    assert session.outcome.run.verdict is not None
    assert "enough" in session.outcome.run.verdict.notes


def test_a_process_whose_workload_was_left_out_is_not_kept(session: pytest_plugin.Session) -> None:
    """A record holds every workload of a process."""
    with session.open(session.places[0]):
        pass
    assert session.processes == []


def test_benchmarks_have_the_same_names_whatever_the_order(session: pytest_plugin.Session) -> None:
    """pytest-benchmark compares by name; the order of the arms is drawn anew for every run."""
    names = {pytest_plugin._label(place) for place in session.places}
    assert names == {f"{arm}-{number}" for arm in ("base", "candidate") for number in range(1, 7)}
