"""Options: declared once, checked on construction."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import native, sampler
from engine.errors import OptionsError
from engine.options import (
    EPSS_STEPS,
    MAX_NFE,
    PRESETS,
    SOLVER_STAGES,
    Compile,
    Options,
    Precision,
    planned,
    searched,
)

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
    int8=st.sampled_from(("off", "dynamic")),
    compile=st.sampled_from(get_args(Compile)),
    reference_cache=st.booleans(),
    nfe=st.sampled_from(EPSS_STEPS),
    schedule=st.sampled_from(("uniform", "sway", "epss")),
    guidance=st.sampled_from(("packed", "separate")),
    hoist=st.booleans(),
    cfg_strength=st.floats(0.1, 10),
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


def test_a_bad_value_is_refused_by_name() -> None:
    """The sentence names the option and the value that was given."""
    for name, value in (
        ("precision", "fp8"),
        ("precision", None),
        ("precision", ["fp16"]),
        ("precision", np.array(["fp16", "fp32"])),
        ("vocoder_precision", "int8"),
        ("int8", True),
        ("int8", "static"),
        ("attention", "sage"),
        ("vocoder_backend", "tvm"),
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
        ("solver", "rk4"),
        ("guidance", "off"),
        ("guidance_until", 0.0),
        ("guidance_until", 1.1),
        ("hoist", "on"),
        ("cfg_strength", -0.1),
        ("cfg_strength", 10.5),
        ("cfg_strength", float("nan")),
        ("cfg_strength", float("inf")),
        ("cfg_strength", None),
        ("cfg_strength", False),
    ):
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


def test_epss_is_refused_where_upstream_has_no_pruned_grid() -> None:
    """Upstream falls back to a uniform grid in silence; here the pair raises and names the cure."""
    for nfe in range(1, MAX_NFE + 1):
        if nfe in EPSS_STEPS:
            assert Options(nfe=nfe, schedule="epss").nfe == nfe
            continue
        with pytest.raises(OptionsError, match="schedule='epss'") as caught:
            Options(nfe=nfe, schedule="epss")
        assert "sway" in caught.value.cure


def test_a_pair_that_cannot_work_is_refused_with_its_cure() -> None:
    """Compilation takes the plain attention apart, and the exported vocoder has one format."""
    for values, cure in (
        ({"attention": "math", "compile": "default"}, "attention='auto'"),
        ({"vocoder_backend": "onnx", "vocoder_precision": "fp16"}, "Drop one"),
    ):
        with pytest.raises(OptionsError) as caught:
            Options(**values)
        assert cure in caught.value.cure
        for name in values:
            Options(**{name: values[name]})


@pytest.mark.parametrize("solver", ["midpoint", "heun"])
@given(nfe=st.integers(1, MAX_NFE))
def test_two_stages_need_an_even_number_of_evaluations(solver: Any, nfe: int) -> None:
    """`nfe` stays the number of evaluations, so half a step is refused."""
    if nfe % 2 == 0:
        assert Options(nfe=nfe, solver=solver).steps == nfe // 2
        return
    with pytest.raises(OptionsError, match="even nfe"):
        Options(nfe=nfe, solver=solver)


def test_epss_looks_at_the_steps_and_not_the_evaluations() -> None:
    """A pruned grid of ten steps serves the midpoint rule at twenty evaluations, and seven do not."""
    assert Options(nfe=20, solver="midpoint", schedule="epss").steps == 10
    with pytest.raises(OptionsError, match="schedule='epss'"):
        Options(nfe=16, solver="midpoint", schedule="epss")


def test_guidance_cannot_be_arranged_where_there_is_none() -> None:
    """At strength 0 these would do nothing, so they are refused."""
    for guidance in (
        "separate",
        "interval",
        "reuse",
    ):
        with pytest.raises(OptionsError, match="cfg_strength above 0") as caught:
            Options(guidance=guidance, cfg_strength=0.0)
        assert "packed" in caught.value.cure


def test_an_end_of_the_interval_needs_an_interval() -> None:
    """A number that nothing reads is refused."""
    for guidance in (
        "packed",
        "separate",
        "reuse",
    ):
        with pytest.raises(OptionsError, match="guidance='interval'"):
            Options(guidance=guidance, guidance_until=0.3)


def test_what_can_never_be_seen_to_work_is_refused() -> None:
    """No clip is that long, and guidance that never ends or is never reused saves nothing."""
    for values in (
        {"guidance": "reuse", "nfe": 1},
        {"guidance": "interval", "nfe": 1},
        {"guidance": "interval", "nfe": 2},
        {"guidance": "interval", "guidance_until": 1.0},
        {"guidance": "interval", "guidance_until": 0.9, "nfe": 7, "schedule": "epss"},
        {"guidance": "interval", "guidance_until": 1.0, "nfe": 8, "solver": "heun"},
        {"reference_seconds": 20.0},
    ):
        with pytest.raises(OptionsError):
            Options(**values)


@given(
    steps=st.sampled_from(EPSS_STEPS),
    solver=st.sampled_from(("euler", "midpoint", "heun")),
    schedule=st.sampled_from(("uniform", "sway", "epss")),
)
def test_the_last_time_is_that_of_the_sampler(steps: int, solver: Any, schedule: Any) -> None:
    """Options know it without torch."""
    options = Options(nfe=steps * SOLVER_STAGES[solver], solver=solver, schedule=schedule)
    times = sampler.evaluation_times(sampler.time_grid(options, "cpu"), sampler.SOLVERS[solver])
    assert float(times[-1]) == pytest.approx(options.last_time, abs=1e-6)


def test_only_packed_and_separate_guidance_are_interchangeable() -> None:
    """The others change the result."""
    packed, separate, reuse = (Options(guidance=name) for name in ("packed", "separate", "reuse"))  # type: ignore[arg-type]
    assert packed.only_lossless(separate)
    assert not packed.only_lossless(reuse)


def test_a_grid_that_was_not_searched_is_refused() -> None:
    """Without a grid for that step count, or with another solver than the search's."""
    with pytest.raises(OptionsError, match="searched"):
        Options(nfe=33, schedule="searched")
    for steps in searched():
        assert Options(nfe=steps, schedule="searched").steps == steps
        with pytest.raises(OptionsError, match="searched"):
            Options(nfe=2 * steps, schedule="searched", solver="midpoint")


def test_a_plan_that_was_not_searched_is_refused() -> None:
    """It has its own times and strengths, for some step counts alone."""
    for steps, plan in planned().items():
        options = Options(nfe=steps, schedule="searched", guidance="searched")
        assert options.last_time == plan.times[-2]
        assert steps <= plan.rows <= 2 * steps
        for wrong in ({"schedule": "sway"}, {"nfe": 40}, {"cfg_strength": 3.0}, {"solver": "heun"}):
            with pytest.raises(OptionsError, match="searched"):
                Options(**{"nfe": steps, "schedule": "searched", "guidance": "searched", **wrong})  # type: ignore[arg-type]


def test_the_fast_set_has_our_kernels_where_they_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing that rounds where they cannot: every CPU can serve it."""
    monkeypatch.setattr(native, "missing", lambda: "no C++ compiler")
    plain = Options.fast_cpu()
    monkeypatch.setattr(native, "missing", lambda: "")
    fused = Options.fast_cpu()
    assert {"int8", "attention"}.isdisjoint(plain.changed())
    assert fused == dataclasses.replace(plain, int8="fused", attention="fused")


def test_the_jetson_preset_is_what_the_jetson_runs() -> None:
    """NFE 8, fp16 with the vocoder, max-autotune, reference cache."""
    assert Options.jetson().changed() == {
        "precision": "fp16",
        "vocoder_precision": "fp16",
        "compile": "max-autotune",
        "reference_cache": True,
        "nfe": 8,
    }


def test_a_preset_is_parsed_by_its_name() -> None:
    """`parse` and the class method give the same."""
    for name in PRESETS:
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


def test_a_preset_and_pairs_combine() -> None:
    """Pairs change what the preset set."""
    for text, expected in (
        ("", Options()),
        ("fast_cpu reference_cache=off", dataclasses.replace(Options.fast_cpu(), reference_cache=False)),
        ("nfe=7,schedule=epss", Options(nfe=7, schedule="epss")),
        ("reference_cache=ON cfg_strength=1.5", Options(reference_cache=True, cfg_strength=1.5)),
        ("jetson reference_cache=0", dataclasses.replace(Options.jetson(), reference_cache=False)),
    ):
        assert Options.parse(text) == expected


def test_an_unknown_or_ill_spelt_option_is_refused() -> None:
    """A typing error never means the default."""
    for text in (
        "turbo",
        "nfe",
        "nfe=",
        "nfe=many",
        "nfe=7 fast_cpu",
        "speed=2",
        "reference_cache=yes",
        "cfg_strength=x",
        "=1",
    ):
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
    assert {name for name, keeps in lossless.items() if keeps} == {
        "attention",
        "linears",
        "vocoder_backend",
        "compile",
        "reference_cache",
        "buckets",
        "batch",
        "guidance",
        "hoist",
        "graphs",
        "streams",
        "nvtx",
    }
    assert all(field.metadata["help"] for field in dataclasses.fields(Options))


def test_only_lossless_tells_a_kept_result_from_a_changed_one() -> None:
    """Caches and compilation keep the result; fewer steps do not, whichever side has them."""
    fast = Options.fast_cpu()
    assert Options(compile="default", reference_cache=True).only_lossless(Options())
    assert not fast.only_lossless(Options())
    assert not Options().only_lossless(fast)
    assert fast.only_lossless(dataclasses.replace(fast, reference_cache=False))
