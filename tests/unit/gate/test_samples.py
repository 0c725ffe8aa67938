"""Records: any run survives writing and reading, any edit is found out, no writer loses a file."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import BaselineError, OutputError, UsageError
from engine.gate.data import files, samples
from engine.gate.data.samples import ARMS, Call, EditedError, Observed, Process, Run, Series, Work
from engine.gate.data.verdict import Answer, Figures, Judgement, Verdict
from tests.unit.gate import builders

positive = st.floats(min_value=1e-9, max_value=1e9)
counts = st.integers(0, 2**60)
names = st.text(min_size=1, max_size=20)
hashes = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
topics = st.sampled_from(["change", "toggles", "limits", "drift", "sound", "trust"])
codes = st.sampled_from([0, 1, 2, 3])
observed = st.builds(Observed, proven=st.none() | st.booleans(), observed=st.text(max_size=20))
work = st.builds(
    Work, operators=counts, flops=counts, allocated_bytes=counts, evaluations=counts, rows=counts
)
judgements = st.builds(
    Judgement, topic=topics, question=names, outcome=names, code=codes, sentence=st.text(max_size=30)
)
answers = st.builds(Answer, topic=topics, outcome=names, code=codes, sentence=st.text(max_size=30))
figures = st.builds(
    Figures,
    workload=names,
    arm=st.sampled_from(ARMS),
    mean_rtf=positive,
    best_rtf=positive,
    worst_rtf=positive,
    cv_calls=st.none() | positive,
    growth=st.none() | st.floats(-1e3, 1e3),
    first_call_seconds=positive,
    load_seconds=positive,
)
verdicts = st.builds(
    Verdict,
    answers=st.tuples(answers),
    judgements=st.tuples(judgements),
    figures=st.tuples(figures),
    notes=st.tuples(st.text(max_size=30)),
    code=codes,
)


def calls(seed: int) -> st.SearchStrategy[Call]:
    """Any call with that seed."""
    return st.builds(
        Call,
        seconds=positive,
        audio_seconds=positive,
        host_mb=positive,
        device_mb=st.none() | st.floats(0, 1e6),
        stages=st.dictionaries(names, st.floats(0, 1e6), max_size=3),
        output=hashes,
        seed=st.just(seed),
        place=st.integers(0, 3),
    )


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Any run with up to two blocks of two or four processes, or without a base."""
    layouts: list[list[tuple[Any, int]]] = [
        [("candidate", 0)],
        [(arm, 0) for arm in ARMS],
        [(arm, twin) for arm in ARMS for twin in (0, 1)],
    ]
    layout = draw(st.sampled_from(layouts))
    warmup, rounds = draw(st.integers(0, 1)), draw(st.integers(1, 2))
    made = []
    for block in range(draw(st.integers(1, 2))):
        for arm, twin in layout:
            series = tuple(
                Series(
                    workload=workload.name,
                    warmup=tuple(draw(calls(index)) for index in range(warmup)),
                    calls=tuple(draw(calls(warmup + index)) for index in range(rounds)),
                )
                for workload in builders.WORKLOADS
            )
            evidence = draw(st.dictionaries(names, observed, max_size=2))
            made.append(Process(arm=arm, block=block, twin=twin, series=series, evidence=evidence))
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    return builders.run(
        tuple(made),
        timestamp=now + draw(st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=3000))),
        machine_key=draw(names),
        forced=draw(st.booleans()),
        threshold=draw(st.none() | positive),
        base_said=draw(st.text(max_size=20)),
        work=draw(st.dictionaries(st.sampled_from(ARMS), st.dictionaries(names, work, max_size=2))),
        verdict=draw(st.none() | verdicts),
        candidate=builders.side(
            revision=draw(st.text(max_size=12)),
            options=draw(
                st.dictionaries(names, st.booleans() | st.integers(-99, 99) | positive | names, max_size=3)
            ),
        ),
    )


def _leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every number, text and truth value in a JSON document, with the way to it."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


@settings(max_examples=25)
@given(runs())
def test_any_run_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    """Floats, texts, options and machine come back equal, with their types."""
    read = samples.read(samples.write(run, tmp_path_factory.mktemp("records")))
    assert read == run
    assert [type(value) for value in read.candidate.options.values()] == [
        type(value) for value in run.candidate.options.values()
    ]


@settings(max_examples=60)
@given(st.data())
def test_any_edited_value_is_detected(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever single value is changed by hand after the measurement, reading fails."""
    path = samples.write(
        builders.run(builders.processes(blocks=1, calls=2)), tmp_path_factory.mktemp("records")
    )
    envelope = json.loads(path.read_text(encoding="utf-8"))
    way, value = data.draw(st.sampled_from(list(_leaves(envelope["run"]))))
    place = envelope["run"]
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = value * 1.1 + 0.1 if isinstance(value, float) else "edited"
    path.write_text(json.dumps(envelope), encoding="utf-8")
    with pytest.raises(EditedError, match="does not match its checksum"):
        samples.read(path)


def test_what_was_seen_after_a_block_is_recorded_with_it(tmp_path: Path) -> None:
    """Each finding with the block after which it was seen."""
    run = builders.run(after_blocks=builders.HALF_WAY)
    read = samples.read(samples.write(run, tmp_path))
    assert read == run
    assert [after.block for after in read.after_blocks if after.having("unfit")] == [5, 6, 7, 8, 9]
    assert (read.preflight.fit, read.fit, builders.run().fit) == (True, False, True)


def test_a_reformatted_record_is_still_valid(tmp_path: Path) -> None:
    """White space carries no samples: pretty-printing a record does not invalidate it."""
    path = samples.write(builders.run(), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=4), encoding="utf-8")
    assert samples.read(path) == builders.run()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"run": {}}', '{"run": {}, "sha256": "0"}', "\x00", "null"]
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    """An unreadable file is one named error that says which file."""
    path = tmp_path / "run-x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BaselineError, match=r"run-x\.json"):
        samples.read(path)


def test_a_missing_record_is_a_named_error(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(BaselineError, match=r"none\.json: No such file"):
        samples.read(tmp_path / "none.json")


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    """A record of another schema is not guessed at, even with a valid checksum; the error says which it
    is."""
    path = samples.write(builders.run(), tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))["run"]
    for version in (1, 3):
        content["schema_version"] = version
        path.write_text(json.dumps({"sha256": samples.sha256_of(content), "run": content}), encoding="utf-8")
        with pytest.raises(BaselineError, match=rf"another schema_version, {version}: .*schema version 2"):
            samples.read(path)


def test_the_name_carries_the_time(tmp_path: Path) -> None:
    """Records sort by name as they do by time."""
    run = builders.run()
    later = run.model_copy(update={"timestamp": run.timestamp + datetime.timedelta(seconds=1)})
    paths = [samples.write(later, tmp_path), samples.write(run, tmp_path)]
    assert sorted(paths) == paths[::-1]
    assert paths[1].name.startswith("run-20260501T123015.123456Z-")


def test_only_the_newest_records_are_kept(tmp_path: Path) -> None:
    """The oldest go first; files that are no records stay."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    run = builders.run(builders.processes(blocks=1, calls=2))
    written = [
        samples.write(
            run.model_copy(update={"timestamp": run.timestamp + datetime.timedelta(days=day)}), tmp_path, 2
        )
        for day in range(4)
    ]
    assert sorted(tmp_path.glob("run-*.json")) == written[2:]
    assert (tmp_path / "notes.txt").exists()
    with pytest.raises(UsageError, match="keep=0"):
        samples.write(run, tmp_path, 0)


def test_two_writers_at_the_same_moment_lose_nothing(tmp_path: Path) -> None:
    """Equal time stamps give different names, so nothing is overwritten."""
    run = builders.run(builders.processes(blocks=1, calls=2))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: samples.write(run, tmp_path), range(24)))
    assert len(set(paths)) == 24
    assert all(samples.read(path) == run for path in paths)


def test_a_crash_before_the_replace_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the rename fails, the old content stands and no temporary file is left behind."""
    path = tmp_path / "file.json"
    files.write_atomically(path, "old")

    def crash(self: Path, target: Path) -> Path:
        assert self.read_text(encoding="utf-8") == "new", "the new content must be complete before the rename"
        assert target.read_text(encoding="utf-8") == "old"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OutputError, match="No space left"):
        files.write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_folder_is_a_named_error(tmp_path: Path) -> None:
    """A file where the folder should be gives one error that names the path."""
    (tmp_path / "records").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="records"):
        samples.write(builders.run(), tmp_path / "records")


def test_a_placeholder_is_no_call() -> None:
    """Zero, negative, missing and infinite figures cannot be recorded, nor a fifth place in a round."""
    content = builders.call(0.2).model_dump()
    figures = [
        (field, value)
        for field in ("seconds", "audio_seconds", "host_mb")
        for value in (0.0, -1.0, float("nan"), float("inf"), None, "1")
    ]
    for field, value in [*figures, ("place", 4), ("place", -1), ("seed", -1)]:
        with pytest.raises(ValidationError):
            Call(**{**content, field: value})


ONE_MORE_CALL = builders.processes(blocks=1, calls=2)[:3] + builders.processes(blocks=1, calls=3)[3:]


def other_seeds(process: Process) -> Process:
    """The same process, asked with other seeds."""
    series = tuple(
        each.model_copy(
            update={"calls": tuple(call.model_copy(update={"seed": call.seed + 1}) for call in each.calls)}
        )
        for each in process.series
    )
    return process.model_copy(update={"series": series})


FOUR, ALONE = builders.processes(blocks=1), builders.alone().processes
TWO = builders.processes(blocks=2, twins=1)[2:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timestamp": datetime.datetime(2026, 1, 1)}, "UTC"),
        ({"base": None}, "no such side"),
        ({"candidate": builders.side(builders.WORKLOADS[:1])}, "ran other workloads"),
        ({"made": builders.processes(blocks=2)[1:]}, "block 0 holds the processes"),
        (
            {"made": builders.processes(blocks=1) + builders.processes(blocks=2, twins=1)[2:]},
            "all blocks alike",
        ),
        ({"made": (*FOUR, FOUR[0])}, "block 0 holds"),
        ({"made": builders.processes(blocks=1, twins=1)[1:]}, "two of each arm"),
        (
            {"made": (*builders.alone().processes, builders.alone().processes[0]), "base": None},
            "one candidate",
        ),
        ({"made": ONE_MORE_CALL}, "'short' are not paired by seed"),
        ({"made": (*FOUR[:3], other_seeds(FOUR[3]))}, "'short' are not paired by seed"),
        ({"after_blocks": builders.HALF_WAY[:-1]}, "once after each block"),
        ({"after_blocks": (*builders.HALF_WAY, builders.HALF_WAY[-1])}, "once after each block"),
        ({"made": ()}, "at least 1 item"),
    ],
)
def test_an_incoherent_run_is_refused(changes: dict[str, Any], message: str) -> None:
    """A run must be in UTC, of whole blocks alike, of the workloads that its sides name, and of pairs."""
    made = changes.get("made")
    rest = {name: value for name, value in changes.items() if name != "made"}
    with pytest.raises(ValidationError, match=message):
        builders.run(made, **{"base": builders.side(), **rest})


def test_series_and_calls_come_by_block_and_twin() -> None:
    """However the processes were stored."""
    made = builders.processes(blocks=3)
    run = builders.run(made[::-1])
    order = [(process.block, process.twin) for process, _ in run.series("candidate", "short")]
    assert order == [(block, twin) for block in range(3) for twin in (0, 1)]
    expected = [process.series[0].calls for process in made if process.arm == "base"]
    assert run.calls("base", "short") == expected
    assert run.outputs("base", "short") == {call.output for calls in expected for call in calls}
