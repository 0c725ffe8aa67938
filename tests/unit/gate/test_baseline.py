"""Baselines: the right file is selected, and no doubtful file is ever a pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BaselineError
from engine.gate.baselines import select as baseline
from engine.gate.baselines.select import dump, load, parse, select
from engine.gate.data.limits import Baseline
from engine.gate.data.quality_limits import Limits as QualityLimits
from engine.gate.data.samples import EditedError
from engine.gate.data.workloads import check_pins
from engine.gate.measure.revisions import checkout
from tests.unit.gate import builders

FOLDER = checkout() / "baselines"
COMMITTED = [FOLDER / "portable.json", FOLDER / "jetson-agx-orin.json"]
PLACEHOLDERS = [0.0, 0, -0.3, None, float("nan"), float("inf"), -float("inf"), "0.36", True, [], {}]
LIMITS = ("products.0.limits.mean_rtf", "products.0.limits.cv", "relative.time_ratio")


def recorded() -> Baseline:
    """The test machine's baseline with one session."""
    return builders.baseline(sessions=(builders.session(),))


def with_quality(**changes: float) -> Baseline:
    """The test machine's baseline with limits of quality."""
    relative = {"quality": QualityLimits(**changes), "required_judges": ("words",)}
    return builders.baseline(relative=builders.RELATIVE.model_copy(update=relative))


def put(folder: Path, chosen: Baseline) -> Path:
    """Write a baseline under its machine's name."""
    path = folder / f"{chosen.machine}.json"
    path.write_text(dump(chosen), encoding="utf-8")
    return path


def edited(chosen: Baseline, way: str, value: Any) -> str:
    """The file's text with one value replaced; `way` is dotted."""
    content = json.loads(dump(chosen))
    place = content
    *parents, last = way.split(".")
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(content)


# What is committed


def test_the_schema_is_in_step_with_the_models() -> None:
    """`baselines/schema.json` is what the models export."""
    assert (FOLDER / "schema.json").read_text(encoding="utf-8") == baseline.schema()


def test_committed_files_are_valid_and_pin_the_sentences() -> None:
    """Each fits the JSON Schema, is written as `dump` writes, and holds the calibrated limits of quality."""
    for path in COMMITTED:
        text = path.read_text(encoding="utf-8")
        chosen = load(path)
        jsonschema.validate(json.loads(text), json.loads(baseline.schema()))
        assert dump(chosen) == text
        check_pins(chosen.workloads, str(path))
        assert chosen.relative.quality is not None
        for name, upper in chosen.relative.quality:
            assert upper <= getattr(QualityLimits(), name), name
        assert set(chosen.relative.required_judges) == {"words", "speaker", "mos"}


def test_the_jetson_is_held_to_the_product_limits_of_its_own_model() -> None:
    """F5TTS_v1_Base with the Jetson's preset, and nothing else; no samples were recorded yet."""
    chosen = load(FOLDER / "jetson-agx-orin.json")
    product = chosen.product_default
    assert product is not None
    assert (product.checkpoint, product.options) == ("F5TTS_v1_Base", "jetson")
    limits = product.limits
    assert (limits.mean_rtf.upper, limits.worst_rtf.upper, limits.cv.upper) == (0.36, 0.45, 0.20)
    assert (limits.mean_rtf.warning, limits.mean_rtf.critical) == (0.30, 0.35)
    assert (limits.cv.warning, limits.cv.critical) == (0.05, 0.10)
    assert limits.memory_growth.upper == 0.1
    assert not chosen.sessions
    assert chosen.reported


def test_the_jetson_is_named_so_that_its_file_cannot_vanish() -> None:
    """`portable.json` lists the machines that must have a file of their own."""
    portable = load(FOLDER / "portable.json")
    assert "jetson-agx-orin" in portable.machines_with_own_baseline
    assert portable.product_default is None


# Selection


def test_a_machine_with_a_file_is_judged_by_it(tmp_path: Path) -> None:
    """Its own file wins over the portable one, and what it holds is said."""
    put(tmp_path, builders.portable())
    own = put(tmp_path, recorded())
    chosen = select(builders.KEY, tmp_path)
    assert (chosen.path, chosen.baseline, chosen.passed_over) == (own, recorded(), None)
    assert "limits of seeded-tiny (reference) hold, 1 recorded session of" in chosen.said


def test_a_machine_without_a_file_is_judged_by_the_portable_one_aloud(tmp_path: Path) -> None:
    """The result says that only relative limits hold."""
    path = put(tmp_path, builders.portable())
    chosen = select(builders.KEY, tmp_path)
    assert (chosen.path, chosen.passed_over) == (path, None)
    assert "no baseline of its own" in chosen.said
    assert "relative limits only" in chosen.said


def test_a_named_file_wins_and_the_machines_own_is_said_to_be_passed_over(tmp_path: Path) -> None:
    """`--baseline PATH` is used even where the machine has its own, and the selection remembers which."""
    own = put(tmp_path, builders.baseline())
    path = put(tmp_path, builders.portable())
    chosen = select(builders.KEY, tmp_path, path)
    assert (chosen.path, chosen.passed_over) == (path, own)
    assert "was passed over" in chosen.said


def test_deleting_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """The portable one, a named one, and that of a machine which portable's list knows."""
    with pytest.raises(BaselineError, match=r"portable\.json: No such file"):
        select(builders.KEY, tmp_path)
    with pytest.raises(BaselineError, match=r"mine\.json: No such file"):
        select(builders.KEY, tmp_path, tmp_path / "mine.json")
    put(tmp_path, builders.portable(machines_with_own_baseline=(builders.KEY,)))
    with pytest.raises(BaselineError, match=r"test-cpu\.json is missing"):
        select(builders.KEY, tmp_path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """Another machine's limits say nothing here, whether named or copied under this machine's name."""
    path = put(tmp_path, builders.baseline(machine="other"))
    with pytest.raises(BaselineError, match="belongs to machine 'other'"):
        select(builders.KEY, tmp_path, path)
    path.rename(tmp_path / f"{builders.KEY}.json")
    with pytest.raises(BaselineError, match="belongs to machine 'other'"):
        select(builders.KEY, tmp_path)


def test_a_workload_that_is_not_as_pinned_is_refused(tmp_path: Path) -> None:
    """A changed or vanished sentence stops the gate and is named."""
    for other, words in (({"short": "ab" * 32}, "'short' changed"), ({"gone": "ab" * 32}, "has vanished")):
        put(tmp_path, builders.portable().model_copy(update={"workloads": {**builders.PINS, **other}}))
        with pytest.raises(BaselineError, match=words):
            select(builders.KEY, tmp_path)


# Doubtful files


def test_any_placeholder_limit_is_refused() -> None:
    """Zero, null, negative, NaN, infinite and wrongly typed limits are errors with a cure, never a pass."""
    for limit in LIMITS:
        for bound in ("upper", "lower", "reference", "warning"):
            for value in PLACEHOLDERS:
                with pytest.raises(BaselineError, match=r"x\.json: .*Correct"):
                    parse(edited(builders.baseline(), f"{limit}.{bound}", value), "x.json")
    for value in PLACEHOLDERS:
        with pytest.raises(BaselineError, match=r"x\.json"):
            parse(edited(with_quality(), "relative.quality.mos_drop", value), "x.json")


@given(st.floats(min_value=0.01, max_value=10.0))
def test_any_edited_sample_is_detected(value: float) -> None:
    """A plausible sample that was not measured fails the checksum, and the error names the session."""
    chosen = recorded()
    if value == chosen.sessions[0].workloads["short"].rtf[1][0]:
        return
    with pytest.raises(EditedError, match="session of 2026-04-01"):
        parse(edited(chosen, "sessions.0.workloads.short.rtf.1.0", value), "x.json")


def test_whatever_was_recorded_with_a_session_is_under_its_checksum() -> None:
    """Versions, threads, options and time too: with other ones it would be compared with other runs."""
    changes: dict[str, Any] = {
        "versions.torch": "2.14.0",
        "threads": 2,
        "checkpoint": "other",
        "revision": "other",
        "recorded_at": "2026-04-02T00:00:00Z",
        "workloads.short.sha256": "ab" * 32,
    }
    for way, value in changes.items():
        with pytest.raises(EditedError):
            parse(edited(recorded(), f"sessions.0.{way}", value), "x.json")


def test_limits_may_be_edited_by_hand() -> None:
    """A limit is no sample: changing it breaks no checksum, also below its reference."""
    chosen = parse(edited(recorded(), "relative.time_ratio.upper", 0.01), "x.json")
    assert chosen.limits()["relative.time_ratio"].upper == 0.01


def test_a_file_of_version_1_is_refused_with_the_cure() -> None:
    """Its product limits name no checkpoint, so nobody can say whose they are."""
    with pytest.raises(
        BaselineError, match=r"schema_version=1: expected 2.*copy of portable\.json.*nox -s record"
    ):
        parse(edited(builders.baseline(), "schema_version", 1), "x.json")


def test_a_file_of_another_shape_is_refused() -> None:
    """Other versions, unknown fields, missing parts and options that nobody knows are named errors."""
    cases: tuple[tuple[str, Any, str], ...] = (
        ("schema_version", None, "schema_version=None"),
        ("surplus", 1, "Extra inputs"),
        ("products.0.limits.cv", None, "products"),
        ("products.0.options", "nobody", "preset 'nobody'"),
        ("relative", {}, "relative"),
        ("workloads", {}, "workloads"),
        ("products.0.limits.mean_rtf.lower", 0.5, "lower <= upper"),
        ("products.0.limits.mean_rtf.warning", 0.4, "warning <= critical"),
        ("machines_with_own_baseline", ["x"], "belongs to portable"),
        ("relative.quality", None, "null is a placeholder"),
    )
    for way, value, message in cases:
        with pytest.raises(BaselineError, match=message):
            parse(edited(recorded(), way, value), "x.json")
    for text in ("", "{", "[]", "null", "3", "\x00", '{"schema_version": 2}'):
        with pytest.raises(BaselineError, match=r"x\.json"):
            parse(text, "x.json")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are a named error too."""
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BaselineError, match=r"x\.json"):
        load(path)


def test_portable_holds_nothing_of_a_single_machine() -> None:
    """Absolute figures belong to one machine."""
    for other in (builders.baseline(), builders.baseline(products=(), sessions=(builders.session(),))):
        with pytest.raises(BaselineError, match="relative limits only"):
            parse(edited(other, "machine", "portable"), "x.json")


def test_what_could_mean_two_things_is_refused() -> None:
    """Two products of one key, one session twice, and more sessions than are kept."""
    content = json.loads(dump(recorded()))
    for name, message in (("products", "two products"), ("sessions", "two sessions")):
        with pytest.raises(BaselineError, match=message):
            parse(json.dumps({**content, name: content[name] * 2}), "x.json")
    many = tuple(builders.session(0.2, day) for day in range(11))
    with pytest.raises(ValueError, match="more than 10 sessions"):
        builders.baseline(sessions=many)


@given(st.floats(0.001, 5.0), st.floats(0.001, 5.0), st.booleans())
def test_any_baseline_is_read_as_it_was_written(upper: float, lower: float, based: bool) -> None:
    """What `dump` writes, `parse` reads, equal and with its checksums intact; nothing absent becomes null."""
    low, high = sorted([upper, lower])
    limits = builders.LIMITS.model_copy(update={"mean_rtf": builders.limit(high, lower=low)})
    product = builders.PRODUCT.model_copy(update={"limits": limits})
    sessions = (builders.session(),) if based else ()
    chosen = builders.baseline(products=(product,), sessions=sessions)
    assert parse(dump(chosen), "x.json") == chosen
    assert "null" not in dump(chosen)
    assert set(json.loads(dump(with_quality()))["relative"]["quality"]) == set(QualityLimits.model_fields)
