"""Baselines: the right file is selected, no doubtful file is a pass, and looser limits are found out."""

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
from engine.gate.baselines.record import loosened
from engine.gate.baselines.select import (
    BASELINES,
    Baseline,
    Recorded,
    dump,
    find_recorded,
    load,
    parse,
    select,
)
from engine.gate.data.quality_limits import Limits as QualityLimits
from engine.gate.data.samples import EditedError
from engine.gate.data.workloads import check_pins
from tests.unit.gate import builders

COMMITTED = [BASELINES / "portable.json", BASELINES / "jetson-agx-orin.json"]


def entry(**changes: Any) -> Recorded:
    """Samples of two processes, with their checksum."""
    content: dict[str, Any] = {
        "status": "recorded",
        "workload": "short",
        "workload_sha256": builders.WORKLOADS[0].sha256,
        "checkpoint": "seeded-tiny",
        "options": {},
        "revision": "0123456789ab",
        "recorded_at": builders.run().timestamp,
        "versions": {"torch": "2.13.0"},
        "rtf": ((0.2, 0.21), (0.19, 0.2)),
        "sha256": "0" * 64,
    }
    draft = Recorded(**{**content, **changes})
    return draft.model_copy(update={"sha256": draft.checksum()})


def put(folder: Path, found: Baseline) -> Path:
    """Write a baseline under its machine's name."""
    path = folder / f"{found.machine}.json"
    path.write_text(dump(found), encoding="utf-8")
    return path


def edited(found: Baseline, way: str, value: Any) -> str:
    """The file's text with one value replaced; `way` is dotted."""
    content = json.loads(dump(found))
    place = content
    *parents, last = way.split(".")
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(content)


# What is committed


def test_the_schema_is_in_step_with_the_models() -> None:
    """`baselines/schema.json` is what the models export."""
    assert (BASELINES / "schema.json").read_text(encoding="utf-8") == baseline.schema()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_files_are_valid_and_pin_the_sentences(path: Path) -> None:
    """Each file loads, fits the JSON Schema, is written as `dump` writes, and pins every sentence in code."""
    text = path.read_text(encoding="utf-8")
    found = load(path)
    jsonschema.validate(json.loads(text), json.loads(baseline.schema()))
    assert dump(found) == text
    check_pins(found.workloads, str(path))


def test_the_jetson_is_held_to_the_product_limits_from_day_one() -> None:
    """Its limits are those of the product, and its entries are reported, so no samples are compared."""
    found = load(BASELINES / "jetson-agx-orin.json")
    uppers = {name: limit.upper for name, limit in found.limits().items()}
    assert uppers["product.mean_rtf"] == 0.36
    assert uppers["product.worst_rtf"] == 0.45
    assert uppers["product.cv"] == 0.20
    assert uppers["relative.memory_growth"] == 0.25
    assert {entry.status for entry in found.entries} == {"reported"}
    assert not found.recorded


def test_the_jetson_is_named_so_that_its_file_cannot_vanish() -> None:
    """`portable.json` lists the machines that must have a file of their own."""
    assert "jetson-agx-orin" in load(BASELINES / "portable.json").machines_with_own_baseline


# Selection


def test_a_machine_with_a_file_is_judged_by_it(tmp_path: Path) -> None:
    """Its own file wins over the portable one."""
    put(tmp_path, builders.portable())
    own = put(tmp_path, builders.baseline())
    found = select(builders.KEY, tmp_path)
    assert (found.path, found.baseline) == (own, builders.baseline())
    assert "product limits hold" in found.said


def test_a_machine_without_a_file_is_judged_by_the_portable_one_aloud(tmp_path: Path) -> None:
    """The result says that only relative limits hold."""
    path = put(tmp_path, builders.portable())
    found = select(builders.KEY, tmp_path)
    assert found.path == path
    assert "no baseline of its own" in found.said
    assert "relative limits only" in found.said


def test_a_named_file_wins(tmp_path: Path) -> None:
    """`--baseline PATH` is used even where the machine has its own."""
    put(tmp_path, builders.baseline())
    path = put(tmp_path, builders.portable())
    assert select(builders.KEY, tmp_path, path).path == path


def test_deleting_the_selected_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Neither the portable nor a named file may be absent."""
    with pytest.raises(BaselineError, match=r"portable\.json: No such file"):
        select(builders.KEY, tmp_path)
    with pytest.raises(BaselineError, match=r"mine\.json: No such file"):
        select(builders.KEY, tmp_path, tmp_path / "mine.json")


def test_deleting_a_known_machines_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A machine in portable's list does not fall back to the weaker limits."""
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


@pytest.mark.parametrize(
    "pins", [{**builders.PINS, "short": "ab" * 32}, {**builders.PINS, "gone": "ab" * 32}]
)
def test_a_workload_that_is_not_as_pinned_is_refused(tmp_path: Path, pins: dict[str, str]) -> None:
    """A changed or vanished sentence stops the gate and is named."""
    put(tmp_path, builders.portable().model_copy(update={"workloads": pins}))
    with pytest.raises(BaselineError, match=r"'short' changed|'gone' of .* has vanished"):
        select(builders.KEY, tmp_path)


# Doubtful files

PLACEHOLDERS = [0.0, 0, -0.3, None, float("nan"), float("inf"), -float("inf"), "0.36", True, [], {}]


@pytest.mark.parametrize("value", PLACEHOLDERS, ids=repr)
@pytest.mark.parametrize("bound", ["upper", "lower", "reference"])
@pytest.mark.parametrize("limit", ["product.mean_rtf", "product.cv", "relative.time_ratio"])
def test_any_placeholder_limit_is_refused(limit: str, bound: str, value: Any) -> None:
    """Zero, null, negative, NaN, infinite and wrongly typed limits are errors with a cure, never a pass."""
    with pytest.raises(BaselineError, match=r"x\.json: .*Correct"):
        parse(edited(builders.baseline(), f"{limit}.{bound}", value), "x.json")


@given(st.floats(max_value=0.0) | st.none() | st.just(float("nan")))
def test_any_placeholder_sample_is_refused(value: float | None) -> None:
    """A recorded RTF is a positive finite number; anything else is refused before its checksum."""
    found = builders.baseline(entries=(entry(),))
    with pytest.raises(BaselineError, match=r"x\.json: entries\.0"):
        parse(edited(found, "entries.0.rtf.1.0", value), "x.json")


@given(st.floats(min_value=0.01, max_value=10.0))
def test_any_edited_sample_is_detected(value: float) -> None:
    """A plausible sample that was not measured fails the checksum, and the error names the workload."""
    if value == 0.19:
        return
    found = builders.baseline(entries=(entry(),))
    with pytest.raises(EditedError, match="samples of 'short' do not match their checksum"):
        parse(edited(found, "entries.0.rtf.1.0", value), "x.json")


def test_limits_may_be_edited_by_hand() -> None:
    """A limit is no sample: changing it breaks no checksum, also below its reference."""
    found = parse(edited(builders.baseline(entries=(entry(),)), "product.mean_rtf.upper", 0.01), "x.json")
    assert found.limits()["product.mean_rtf"].upper == 0.01


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        ("schema_version", 2, "schema_version=2: expected 1"),
        ("schema_version", None, "schema_version=None"),
        ("surplus", 1, "Extra inputs"),
        ("product", None, "null is a placeholder"),
        ("product.cv", None, "product"),
        ("relative", {}, "relative"),
        ("workloads", {}, "workloads"),
        ("product.mean_rtf.lower", 0.5, "lower <= upper"),
        ("machines_with_own_baseline", ["x"], "belongs to portable"),
        ("entries.0.workload", "gone", "not pinned"),
    ],
)
def test_a_file_of_another_shape_is_refused(way: str, value: Any, message: str) -> None:
    """Wrong versions, unknown fields and missing parts are named errors."""
    with pytest.raises(BaselineError, match=message):
        parse(edited(builders.baseline(entries=(entry(),)), way, value), "x.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "\x00", '{"schema_version": 1}'])
def test_an_unreadable_file_is_refused(text: str) -> None:
    """Whatever is no baseline is one named error."""
    with pytest.raises(BaselineError, match=r"x\.json"):
        parse(text, "x.json")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are a named error too."""
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BaselineError, match=r"x\.json"):
        load(path)


def test_portable_holds_no_product_limits_and_no_entries() -> None:
    """Absolute figures belong to one machine."""
    for other in (builders.baseline(), builders.baseline(product=builders.PRODUCT, entries=(entry(),))):
        with pytest.raises(BaselineError, match="relative limits only"):
            parse(edited(other, "machine", "portable"), "x.json")


def test_two_entries_of_one_key_are_refused() -> None:
    """Which of two would count is not left to chance."""
    content = json.loads(dump(builders.baseline(entries=(entry(),))))
    content["entries"] *= 2
    with pytest.raises(BaselineError, match="two recorded entries"):
        parse(json.dumps(content), "x.json")


@given(st.floats(0.001, 5.0), st.floats(0.001, 5.0), st.booleans())
def test_any_baseline_is_read_as_it_was_written(upper: float, lower: float, based: bool) -> None:
    """What `dump` writes, `parse` reads, equal and with its checksums intact."""
    low, high = sorted([upper, lower])
    product = builders.PRODUCT.model_copy(update={"mean_rtf": builders.limit(high, lower=low)})
    found = builders.baseline(product=product, entries=(entry(),) if based else ())
    assert parse(dump(found), "x.json") == found


# Samples against samples


def test_samples_of_the_same_workload_options_and_versions_are_found() -> None:
    """All that makes a figure comparable agrees, so the samples are given, and it is said."""
    found, said = find_recorded(builders.baseline(entries=(entry(),)), builders.side(), "short")
    assert found == entry()
    assert "compared with the samples" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"versions": {"torch": "2.14.0"}}, "torch 2.13.0 -> 2.14.0"),
        ({"options": {"nfe": 7}}, "no samples of these"),
    ],
)
def test_other_versions_or_options_forbid_comparing_samples(changes: dict[str, Any], words: str) -> None:
    """The limits stay in force; only the samples are left alone, and the reason is said."""
    found, said = find_recorded(builders.baseline(entries=(entry(),)), builders.side(**changes), "short")
    assert found is None
    assert words in said


def test_a_recorded_workload_that_changed_is_an_error() -> None:
    """The same name with other content is never compared and never ignored."""
    other = entry(workload_sha256="ab" * 32)
    with pytest.raises(BaselineError, match="'short' was abababababab when recorded"):
        find_recorded(builders.baseline(entries=(other,)), builders.side(), "short")


# Loosened limits

LIMITS = sorted(builders.baseline().limits())


def with_limit(name: str, **changes: Any) -> Baseline:
    """The test baseline with one limit changed."""
    group, field = name.split(".")
    old = builders.baseline()
    limits = getattr(old, group)
    limit = getattr(limits, field).model_copy(update=changes)
    return old.model_copy(update={group: limits.model_copy(update={field: limit})})


@given(st.sampled_from(LIMITS), st.floats(0.01, 5.0))
def test_a_limit_is_loosened_exactly_when_it_is_raised(name: str, upper: float) -> None:
    """Every limit is looked at; a higher upper bound is reported by name, a lower or equal one is not."""
    old = builders.baseline()
    before = old.limits()[name].upper
    found = loosened(old, with_limit(name, upper=upper))
    assert bool(found) == (upper > before)
    assert all(name in sentence for sentence in found)


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_a_lower_bound_is_loosened_when_it_falls(before: float, after: float) -> None:
    """A figure that was not believed must not become believable unseen."""
    found = loosened(
        with_limit("product.mean_rtf", lower=before), with_limit("product.mean_rtf", lower=after)
    )
    assert bool(found) == (after < before)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (builders.baseline().model_copy(update={"product": None}), "product.mean_rtf was removed"),
        (with_limit("product.cv", unit="percent"), "product.cv changed its unit"),
        (builders.baseline().model_copy(update={"workloads": {"short": "aa"}}), "'long' is no longer pinned"),
    ],
)
def test_what_is_taken_away_is_loosened(new: Baseline, words: str) -> None:
    """Removing a limit, redefining its unit or dropping a workload asks for less."""
    assert any(words in sentence for sentence in loosened(builders.baseline(), new))


def test_removed_samples_and_machines_are_loosened() -> None:
    """Recorded entries and the list of known machines cannot shrink unseen; to grow is fine."""
    full = builders.baseline(entries=(entry(),))
    assert loosened(full, builders.baseline()) == ["the recorded samples of 'short' were removed"]
    assert loosened(builders.baseline(), full) == []
    listed = builders.portable(machines_with_own_baseline=("x",))
    assert loosened(listed, builders.portable()) == ["x no longer needs its own baseline"]


def with_quality(required: tuple[Any, ...] = ("words",), **changes: float) -> Baseline:
    """The test baseline with limits of quality."""
    quality = {"quality": QualityLimits(**changes), "required_judges": required}
    return builders.baseline(relative=builders.RELATIVE.model_copy(update=quality))


@given(st.sampled_from(sorted(QualityLimits.model_fields)), st.floats(0.5, 2.0))
def test_a_limit_of_quality_is_loosened_exactly_when_it_is_raised(name: str, factor: float) -> None:
    """Each of them is looked at, and named."""
    before = getattr(QualityLimits(), name)
    found = loosened(with_quality(), with_quality(**{name: before * factor}))
    assert bool(found) == (before * factor > before)
    assert all(f"relative.quality.{name}" in sentence for sentence in found)


def test_quality_cannot_be_taken_out_of_a_baseline_unseen() -> None:
    """Neither its limits nor a judge that must be there; to add them is fine."""
    found = loosened(with_quality(), builders.baseline())
    assert any("relative.quality.mos_drop was removed" in sentence for sentence in found)
    assert "judge 'words' is no longer required" in found
    assert loosened(builders.baseline(), with_quality()) == []


def test_limits_of_quality_are_written_out_and_read_again() -> None:
    """Each figure stands in the file, where it can be seen and edited, the code's own defaults too."""
    text = dump(with_quality())
    assert set(json.loads(text)["relative"]["quality"]) == set(QualityLimits.model_fields)
    assert parse(text, "x.json") == with_quality()
    for value in PLACEHOLDERS:
        with pytest.raises(BaselineError, match=r"x\.json"):
            parse(edited(with_quality(), "relative.quality.mos_drop", value), "x.json")
    with pytest.raises(BaselineError, match="null is a placeholder"):
        parse(edited(with_quality(), "relative.quality", None), "x.json")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_files_hold_the_limits_that_were_calibrated(path: Path) -> None:
    """The calibration is about the limits in code; a file that asks for more is fine, for less is not."""
    found = load(path)
    assert found.relative.quality is not None
    for name, upper in found.relative.quality:
        assert upper <= getattr(QualityLimits(), name), name
    assert set(found.relative.required_judges) == {"words", "speaker", "mos"}


def test_a_lower_bound_that_is_dropped_is_loosened() -> None:
    """No lower bound is looser than any."""
    found = loosened(with_limit("product.mean_rtf", lower=0.1), builders.baseline())
    assert found == ["product.mean_rtf lower was dropped from 0.1 to nothing RTF"]
