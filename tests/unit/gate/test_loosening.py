"""Looser limits are found out: in every file of two revisions, whichever one a run is judged by."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BaselineError
from engine.gate.baselines.loosening import loosened, loosened_files
from engine.gate.baselines.select import dump
from engine.gate.data.limits import Baseline
from engine.gate.data.quality_limits import Limits as QualityLimits
from engine.gate.measure.revisions import checkout
from tests.unit.gate import builders
from tests.unit.gate.test_baseline import edited, with_quality

LIMITS = sorted(builders.baseline().limits())
COMMITTED = {path.name: path.read_text("utf-8") for path in (checkout() / "baselines").glob("*.json")}


def with_limit(name: str, **changes: Any) -> Baseline:
    """The test baseline with one limit changed, by its dotted name."""
    group, field = name.rsplit(".", 1)
    old = builders.baseline()
    if group == "relative":
        limit = getattr(old.relative, field).model_copy(update=changes)
        return old.model_copy(update={"relative": old.relative.model_copy(update={field: limit})})
    limit = getattr(builders.LIMITS, field).model_copy(update=changes)
    limits = builders.LIMITS.model_copy(update={field: limit})
    return old.model_copy(update={"products": (builders.PRODUCT.model_copy(update={"limits": limits}),)})


@given(st.sampled_from(LIMITS), st.floats(0.01, 5.0))
def test_a_limit_is_loosened_exactly_when_it_is_raised(name: str, upper: float) -> None:
    """Every limit is looked at; a higher upper bound is reported by name, a lower or equal one is not."""
    old = builders.baseline()
    sentences = loosened(old, with_limit(name, upper=upper))
    assert bool(sentences) == (upper > old.limits()[name].upper)
    assert all(name in sentence for sentence in sentences)


@given(st.floats(0.01, 0.3), st.floats(0.01, 0.3))
def test_a_lower_bound_is_loosened_when_it_falls(before: float, after: float) -> None:
    """A figure that was not believed must not become believable unseen; none is lower than any."""
    name = "products[seeded-tiny, reference].mean_rtf"
    sentences = loosened(with_limit(name, lower=before), with_limit(name, lower=after))
    assert bool(sentences) == (after < before)
    assert "to nothing" in loosened(with_limit(name, lower=before), builders.baseline())[0]


@given(st.sampled_from(sorted(QualityLimits.model_fields)), st.floats(0.5, 2.0))
def test_a_limit_of_quality_is_loosened_exactly_when_it_is_raised(name: str, factor: float) -> None:
    """Each of them is looked at, and named."""
    before = getattr(QualityLimits(), name)
    sentences = loosened(with_quality(), with_quality(**{name: before * factor}))
    assert bool(sentences) == (before * factor > before)
    assert all(f"relative.quality.{name}" in sentence for sentence in sentences)


def test_what_is_taken_away_is_loosened_and_what_is_added_is_not() -> None:
    """A product, a unit, a workload, a judge, quality, a session, a machine that had its own file."""
    old, full = builders.baseline(), builders.baseline(sessions=(builders.session(),))
    listed = builders.portable(machines_with_own_baseline=("x",))
    cases = (
        (
            old,
            old.model_copy(update={"products": ()}),
            "products[seeded-tiny, reference].mean_rtf was removed",
        ),
        (old, with_limit("relative.tail_ratio", unit="percent"), "relative.tail_ratio changed its unit"),
        (old, old.model_copy(update={"workloads": {"short": "aa"}}), "'long' is no longer pinned"),
        (
            old,
            old.model_copy(update={"workloads": {**old.workloads, "short": "0" * 64}}),
            "'short' was changed",
        ),
        (with_quality(), old, "judge 'words' is no longer required"),
        (with_quality(), old, "relative.quality.mos_drop was removed"),
        (full, old, "the session recorded at 2026-04-01T00:00:00+00:00 was removed"),
        (listed, builders.portable(), "x no longer needs its own baseline"),
    )
    for before, after, words in cases:
        assert any(words in sentence for sentence in loosened(before, after)), words
    assert loosened(old, full) == loosened(old, with_quality()) == loosened(builders.portable(), listed) == []


def test_a_product_that_is_held_to_another_model_is_loosened() -> None:
    """The same numbers under another checkpoint or other options are no limits of the first."""
    for change in ({"checkpoint": "box"}, {"options": "fast_cpu"}):
        other = builders.baseline(products=(builders.PRODUCT.model_copy(update=change),))
        assert len(loosened(builders.baseline(), other)) == 4


def test_the_oldest_session_of_a_full_set_makes_room_unseen() -> None:
    """Recording keeps ten; whatever else goes is seen."""
    ten = builders.baseline(sessions=tuple(builders.session(0.2, day) for day in range(10)))
    moved = builders.baseline(sessions=tuple(builders.session(0.2, day) for day in range(1, 11)))
    assert loosened(ten, moved) == []
    emptied = builders.baseline(sessions=tuple(builders.session(0.2, day) for day in range(1, 10)))
    assert len(loosened(ten, emptied)) == 1
    picked = builders.baseline(sessions=tuple(builders.session(0.2, day) for day in (0, *range(2, 11))))
    assert len(loosened(ten, picked)) == 1


# Every file


def changed(name: str, way: str, value: Any) -> dict[str, str]:
    """The committed files with one value of one of them replaced."""
    content = json.loads(COMMITTED[name])
    place = content
    *parents, last = way.split(".")
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    return {**COMMITTED, name: json.dumps(content)}


def test_the_jetsons_limits_cannot_be_loosened_behind_the_portable_file() -> None:
    """A pull request on a hosted machine, which is judged by `portable.json`, changes the Jetson's file."""
    limits = "products.0.limits"
    for way, value in (
        (f"{limits}.mean_rtf.upper", 3.6),
        (f"{limits}.cv.upper", 2.0),
        (f"{limits}.memory_growth.upper", 50.0),
        ("relative.quality.mos_drop", 2.0),
        ("products.0.checkpoint", "box"),
        ("products", []),
    ):
        sentences = loosened_files(COMMITTED, changed("jetson-agx-orin.json", way, value))
        assert sentences, way
        assert all(sentence.startswith("jetson-agx-orin.json: ") for sentence in sentences)


def test_files_that_are_no_baselines_are_left_alone() -> None:
    """Studies and the schema lie in the same folder; unchanged files are not looser."""
    assert loosened_files(COMMITTED, COMMITTED) == []
    assert "schema.json" in COMMITTED
    without = {
        name: text for name, text in COMMITTED.items() if name in ("portable.json", "jetson-agx-orin.json")
    }
    assert loosened_files(COMMITTED, without) == []


def test_a_file_that_is_removed_or_no_longer_a_baseline_is_seen() -> None:
    """Its absence would hand the machine to the portable file; what cannot be read is an error."""
    gone = {name: text for name, text in COMMITTED.items() if name != "jetson-agx-orin.json"}
    assert "was removed" in loosened_files(COMMITTED, gone)[0]
    with pytest.raises(BaselineError, match=r"jetson-agx-orin\.json"):
        loosened_files(COMMITTED, {**COMMITTED, "jetson-agx-orin.json": "{}"})


def test_a_new_file_is_held_to_the_portable_one_that_it_takes_over_from() -> None:
    """Its relative limits stood in for those of the new file until now."""
    before = {"baselines/portable.json": dump(builders.portable(machines_with_own_baseline=("x",)))}
    new = {**before, "baselines/test-cpu.json": dump(builders.baseline())}
    assert loosened_files(before, new) == []
    loose = edited(builders.baseline(), "relative.time_ratio.upper", 9.0)
    (sentence,) = loosened_files(before, {**before, "baselines/test-cpu.json": loose})
    assert "test-cpu.json, which takes over from portable.json: relative.time_ratio upper" in sentence


def test_a_file_of_another_schema_cannot_be_compared_and_that_is_said() -> None:
    """Silence would let a change of the form hide a change of the limits."""
    before = {"portable.json": edited(builders.portable(), "schema_version", 1)}
    (sentence,) = loosened_files(before, {"portable.json": dump(builders.portable())})
    assert "cannot be compared" in sentence
