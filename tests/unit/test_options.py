"""Options: declared once, checked on construction."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OptionsError
from engine.options import EPSS_STEPS, MAX_NFE, PRESETS, Compile, Options, Precision, Schedule

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
)
VALID = st.builds(
    Options,
    precision=st.sampled_from(get_args(Precision)),
    vocoder_precision=st.sampled_from(get_args(Precision)),
    compile=st.sampled_from(get_args(Compile)),
    reference_cache=st.booleans(),
    nfe=st.sampled_from(EPSS_STEPS),
    schedule=st.sampled_from(get_args(Schedule)),
    cfg_strength=st.floats(0, 10),
)


def test_the_defaults_are_upstreams_own_behaviour() -> None:
    """Nothing is switched on unless it is asked for."""
    assert Options() == Options.reference()
    assert Options().changed() == {}
    assert (Options().nfe, Options().schedule, Options().cfg_strength) == (32, "sway", 2.0)


def test_options_cannot_be_changed_after_they_were_checked() -> None:
    """A checked value stays the value that was checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().nfe = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("precision", "fp8"),
        ("precision", None),
        ("precision", ["fp16"]),
        ("precision", np.array(["fp16", "fp32"])),
        ("vocoder_precision", "int8"),
        ("compile", "on"),
        ("compile", True),
        ("reference_cache", 1),
        ("reference_cache", "on"),
        ("nfe", 0),
        ("nfe", MAX_NFE + 1),
        ("nfe", 7.0),
        ("nfe", True),
        ("nfe", "7"),
        ("schedule", "cosine"),
        ("cfg_strength", -0.1),
        ("cfg_strength", 10.5),
        ("cfg_strength", float("nan")),
        ("cfg_strength", float("inf")),
        ("cfg_strength", None),
        ("cfg_strength", False),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    """The sentence names the option and the value that was given."""
    with pytest.raises(OptionsError) as caught:
        Options(**{name: value})
    assert caught.value.given.startswith(f"{name}=")
    assert caught.value.expected
    assert caught.value.cure


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys((f.name for f in dataclasses.fields(Options)), ANYTHING))
)
def test_any_values_give_options_or_a_named_error(values: dict[str, Any]) -> None:
    """No value of any type escapes as another exception."""
    try:
        options = Options(**values)
    except OptionsError:
        return
    assert all(getattr(options, name) == value for name, value in values.items())


@pytest.mark.parametrize("nfe", range(1, MAX_NFE + 1))
def test_epss_is_refused_where_upstream_has_no_pruned_grid(nfe: int) -> None:
    """Upstream falls back to a uniform grid in silence; here the pair raises and names the cure."""
    if nfe in EPSS_STEPS:
        assert Options(nfe=nfe, schedule="epss").nfe == nfe
        return
    with pytest.raises(OptionsError, match="schedule='epss'") as caught:
        Options(nfe=nfe, schedule="epss")
    assert "sway" in caught.value.cure


def test_the_jetson_preset_is_what_the_jetson_runs() -> None:
    """NFE 8, fp16 with the vocoder, max-autotune, reference cache."""
    assert Options.jetson().changed() == {
        "precision": "fp16",
        "vocoder_precision": "fp16",
        "compile": "max-autotune",
        "reference_cache": True,
        "nfe": 8,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_parsed_by_its_name(name: str) -> None:
    """`parse` and the class method give the same."""
    assert Options.parse(name) == getattr(Options, name)()


@given(VALID)
def test_what_options_print_is_what_they_parse(options: Options) -> None:
    """`str` and `parse` are inverses, so a recorded line can be run again."""
    assert Options.parse(str(options)) == options


@given(VALID)
def test_changed_holds_exactly_what_differs_from_the_reference(options: Options) -> None:
    """The changes, put on the reference, give the options back."""
    assert Options(**options.changed()) == options
    assert all(value != getattr(Options(), name) for name, value in options.changed().items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Options()),
        ("fast_cpu schedule=sway nfe=3", dataclasses.replace(Options.fast_cpu(), schedule="sway", nfe=3)),
        ("nfe=7,schedule=epss", Options(nfe=7, schedule="epss")),
        ("reference_cache=ON cfg_strength=1.5", Options(reference_cache=True, cfg_strength=1.5)),
        ("jetson reference_cache=0", dataclasses.replace(Options.jetson(), reference_cache=False)),
    ],
)
def test_a_preset_and_pairs_combine(text: str, expected: Options) -> None:
    """Pairs change what the preset set."""
    assert Options.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "turbo",
        "nfe",
        "nfe=",
        "nfe=many",
        "nfe=7 fast_cpu",
        "speed=2",
        "reference_cache=yes",
        "cfg_strength=x",
        "=1",
    ],
)
def test_an_unknown_or_ill_spelt_option_is_refused(text: str) -> None:
    """A typing error never means the default."""
    with pytest.raises(OptionsError):
        Options.parse(text)


@given(st.text())
def test_any_line_parses_or_names_its_error(text: str) -> None:
    """No line escapes as another exception."""
    try:
        Options.parse(text)
    except OptionsError:
        return


def test_every_option_declares_its_help_and_whether_it_is_lossless() -> None:
    """The command line and the equivalence tests are derived from these."""
    lossless = {field.name: field.metadata["lossless"] for field in dataclasses.fields(Options)}
    assert [name for name, keeps in lossless.items() if keeps] == ["compile", "reference_cache"]
    assert all(field.metadata["help"] for field in dataclasses.fields(Options))


def test_only_lossless_tells_a_kept_result_from_a_changed_one() -> None:
    """Caches and compilation keep the result; fewer steps do not, whichever side has them."""
    fast = Options.fast_cpu()
    assert Options(compile="default", reference_cache=True).only_lossless(Options())
    assert not fast.only_lossless(Options())
    assert not Options().only_lossless(fast)
    assert fast.only_lossless(dataclasses.replace(fast, reference_cache=False))
