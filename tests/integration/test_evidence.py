"""Every toggle proves itself by observation: on it is proven, and with its work taken away it is
disproven."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from engine import Engine, Options, Voice, dit, native, sampler, text
from engine.loading import STEPS, load
from engine.optimizations import (
    compile,
    hoist,
)
from engine.options import planned, searched
from tests.unit import card

TEXT = "Hello there, 9 of you!"
MODULES = {step.__name__.rpartition(".")[2]: step for step in STEPS}
COMPILED = {"compile": "default", "int8": "dynamic", "attention": "flash", "buckets": True, "hoist": True}
"""Where the work is done inside compiled code, it has to be seen all the same."""
CARD = {"graphs": True, "buckets": True, "hoist": True, "streams": True, "nvtx": True}
"""What needs a card; a made-up one."""
FUSED = {"int8": "fused", "attention": "fused", "hoist": True}
"""The kernels of our own."""
needs_kernels = pytest.mark.skipif(bool(native.missing()), reason=f"kernels: {native.missing()}")
CASES = [
    ("precision", {"precision": "bf16"}),
    ("precision", {"precision": "fp16"}),
    ("vocoder_precision", {"vocoder_precision": "bf16"}),
    ("vocoder_precision", {"vocoder_precision": "fp16"}),
    ("int8", {"int8": "dynamic"}),
    *(pytest.param(name, FUSED, marks=needs_kernels) for name in ("int8", "attention")),
    pytest.param("attention", {**FUSED, "int8": "off", "precision": "bf16"}, marks=needs_kernels),
    ("linears", {"linears": "onednn"}),
    ("attention", {"attention": "math"}),
    ("attention", {"attention": "flash"}),
    ("vocoder_backend", {"vocoder_backend": "onnx"}),
    ("compile", {"compile": "default"}),
    ("compile", COMPILED),
    *(pytest.param(name, COMPILED, marks=pytest.mark.slow) for name in COMPILED if name != "compile"),
    ("reference_cache", {"reference_cache": True}),
    ("buckets", {"buckets": True}),
    ("reading", {"reading": "chat"}),
    ("hoist", {"hoist": True}),
    ("hoist", {"hoist": True, "guidance": "reuse", "solver": "heun"}),
    *((name, CARD) for name in ("graphs", "streams", "nvtx")),
    ("guidance", {"guidance": "separate"}),
    ("guidance", {"guidance": "interval", "nfe": 8}),
    ("guidance", {"guidance": "reuse"}),
    *(("guidance", {"nfe": n, "schedule": "searched", "guidance": "searched"}) for n in planned()),
    ("guidance", {"cfg_strength": 0.0}),
    ("cfg_strength", {"cfg_strength": 5.0}),
    ("cfg_strength", {"cfg_strength": 0.5, "guidance": "reuse", "precision": "bf16"}),
    ("solver", {"solver": "midpoint", "nfe": 4}),
    ("solver", {"solver": "heun", "nfe": 4}),
    ("nfe", {"nfe": 3}),
    ("schedule", {"nfe": 5, "schedule": "epss"}),
    ("schedule", {"nfe": 5, "schedule": "uniform"}),
    ("schedule", {"nfe": 5, "schedule": "sway"}),
    *(("schedule", {"nfe": steps, "schedule": "searched"}) for steps in searched()),
]


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    """Dynamo counts compilations by process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a case. The ONNX vocoder is exported by packages that are an extra."""
    if "vocoder_backend" in request.param:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason="needs the onnx extra")
    found: dict[str, Any] = request.param
    if found.keys() & card.TOGGLES:
        card.insert(request.getfixturevalue("monkeypatch"))
    return found


def proofs(one: Engine, voice: Voice) -> dict[str, bool | None]:
    """What is proven after two requests."""
    for seed in range(2):
        one.synthesize(TEXT, voice, seed=seed)
    return {name: proof.proven for name, proof in one.evidence().items()}


def switch_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the toggle's work by nothing, leaving the options as they are."""
    if name in MODULES:
        module: ModuleType = MODULES[name]
        monkeypatch.setattr(module, "apply", lambda parts, *_: parts)
        return
    grid, guided = sampler.time_grid, sampler.Guided
    if name in ("guidance", "cfg_strength"):

        def other(evaluate: Any, asked: Options, *rest: Any) -> Any:
            instead = Options() if name == "guidance" else dataclasses.replace(asked, cfg_strength=2.0)
            return guided(evaluate, instead, *rest)

        monkeypatch.setattr(sampler, "Guided", other)
        return
    if name == "solver":  # as many evaluations, all by Euler
        monkeypatch.setattr(sampler, "solver", lambda options: sampler.SOLVERS["euler"])
        monkeypatch.setattr(
            sampler, "time_grid", lambda options, device: grid(Options(nfe=options.nfe), device)
        )
        return

    def wrong(options: Options, device: Any) -> Any:
        if name == "nfe":
            return grid(Options(nfe=4), device)
        other: Any = "uniform" if options.schedule == "sway" else "sway"
        return grid(Options(nfe=options.nfe, schedule=other), device)

    monkeypatch.setattr(sampler, "time_grid", wrong)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str, indirect=["options"])
def test_on_is_proven(tiny: Callable[..., Engine], voice: Voice, name: str, options: dict[str, Any]) -> None:
    """Two real requests, and everything that was asked for was seen to happen."""
    assert set(proofs(tiny(**options), voice).values()) == {True}


@pytest.mark.parametrize(("name", "options"), CASES, ids=str, indirect=["options"])
def test_on_without_its_work_is_disproven(
    tiny: Callable[..., Engine],
    voice: Voice,
    name: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The options say on, nothing was done: only an observation can tell."""
    switch_off(name, monkeypatch)
    seen = proofs(tiny(**options), voice)
    assert seen.pop(name) is False
    if options.get("cfg_strength") == 0 or options.get("guidance") == "searched":
        # guided after all or otherwise, and so by a strength nobody asked for
        assert {seen.pop(other) for other in ("guidance", "cfg_strength") if other in seen} == {False}
    assert set(seen.values()) == {True}


def test_off_is_proven_too(engine: Engine, voice: Voice) -> None:
    """Upstream's own behaviour was seen: fp32, no graph, no cache, the counted steps on the sway grid."""
    assert set(proofs(engine, voice).values()) == {True}


@pytest.mark.parametrize("name", ["precision", "vocoder_precision", "int8", "compile"])
def test_a_toggle_that_works_unasked_is_disproven(
    tiny: Callable[..., Engine], voice: Voice, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off and yet at work: the reference would be no reference."""
    module = MODULES[name]
    real = module.apply
    value = {"int8": "dynamic", "compile": "default"}.get(name, "bf16")
    on = Options(nfe=2, **{name: value})  # type: ignore[arg-type]
    monkeypatch.setattr(module, "apply", lambda parts, options, seen: real(parts, on, seen))
    assert proofs(tiny(), voice)[name] is False


def test_a_silent_fall_back_to_eager_is_seen(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Dynamo gives up at its limit without an error; the graphs are missing."""
    with torch._dynamo.config.patch(recompile_limit=0):
        assert proofs(tiny(compile="default"), voice)["compile"] is False


def test_compiling_the_object_that_is_never_called_is_seen(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old fault: `torch.compile(model)`, and then `model.sample` runs the plain one."""

    def whole(parts: Any, options: Options, seen: Any) -> Any:
        parts.model.compile()
        return parts

    monkeypatch.setattr(compile, "apply", whole)
    one = load("seeded-tiny", Options(nfe=2, compile="default"), device="cpu")
    assert proofs(one, voice)["compile"] is False


@pytest.mark.parametrize("options", [{"hoist": True}, {"hoist": True, "buckets": True}], ids=str)
def test_hoisting_that_keeps_nothing_is_seen(
    tiny: Callable[..., Engine], voice: Voice, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call goes the hoisted way, and computes again what it should have kept."""
    real = dit._HoistedBatch.__call__

    def forgetful(self: Any, *given: Any) -> Any:
        self._given.clear()
        return real(self, *given)

    monkeypatch.setattr(dit._HoistedBatch, "__call__", forgetful)
    assert proofs(tiny(nfe=4, **options), voice)["hoist"] is False


def test_times_that_are_embedded_in_every_step_are_seen(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half of what hoisting saves."""
    real = dit.Hoisted.forward

    def wasteful(self: Any, *given: Any) -> Any:
        self._transformer.time_embed(self._times)
        return real(self, *given)

    monkeypatch.setattr(dit.Hoisted, "forward", wasteful)
    assert proofs(tiny(hoist=True), voice)["hoist"] is False


@pytest.mark.parametrize("name", ["midpoint", "heun"])
def test_a_solver_that_returns_eulers_result_is_seen(
    tiny: Callable[..., Engine], voice: Voice, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It evaluates the flow as often, at the right times, and throws every second value away."""
    at = sampler.SOLVERS[name].at

    def lazy(flow: Any, x: Any, step: Any, first: int) -> Any:
        start = flow(x, first)
        flow(x + at[1] * step * start, first + 1)
        return x + step * start

    monkeypatch.setitem(sampler.SOLVERS, name, sampler.Solver(at, lazy))
    assert proofs(tiny(nfe=8, solver=name), voice)["solver"] is False


def test_a_cache_with_one_key_for_all_is_seen(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody hears the wrong voice for it."""
    samples, rate = voice.read()
    other = Voice(samples[::-1].copy(), voice.text, rate)
    expected = engine.synthesize(TEXT, other).samples.tobytes()
    monkeypatch.setattr(Voice, "digest", lambda self: "the same for all")
    one = tiny(reference_cache=True)
    for speaker in (voice, voice):
        one.synthesize(TEXT, speaker)
    assert one.synthesize(TEXT, other).samples.tobytes() == expected
    assert one.evidence()["reference_cache"].proven is False


def test_requests_that_differ_from_their_engine_are_proven_too(
    tiny: Callable[..., Engine], voice: Voice
) -> None:
    """Each batch is judged by what its own request asked for."""
    one = tiny(nfe=4)
    one.synthesize(TEXT, voice, nfe=3, cfg_strength=1.0)
    one.synthesize(TEXT, voice, cfg_strength=0.0)
    assert set(proofs(one, voice).values()) == {True}
    assert one.unproven() == []


def test_what_was_asked_for_and_not_seen_is_one_sentence(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever does not read tables of proofs."""
    monkeypatch.setattr(hoist, "apply", lambda parts, *_: parts)
    one = tiny(hoist=True)
    one.synthesize(TEXT, voice)
    (sentence,) = one.unproven()
    assert sentence.startswith("hoist=True was not seen to work (0 of ")


def test_evidence_says_what_was_seen(tiny: Callable[..., Engine], voice: Voice) -> None:
    """In words, for the table that a person reads."""
    one = tiny(reference_cache=True)
    proofs(one, voice)
    seen = {name: proof.observed for name, proof in one.evidence().items()}
    assert seen["precision"] == "products in fp32"
    assert seen["reference_cache"].startswith("1 hits and 1 misses in 2 requests, 1 clips in ")
    assert seen["nfe"] == "2 evaluations a piece"
    assert seen["schedule"].startswith("evaluated at t = 0.000 0.293")


def test_the_proofs_are_of_every_toggle(engine: Engine) -> None:
    """No option that changes how fast it runs is without one."""
    names = {field.name for field in dataclasses.fields(Options)}
    assert set(engine.evidence()) == names - {"guidance_until"}


def test_time_spent_elsewhere_stays_under_two_percent(tiny: Callable[..., Engine]) -> None:
    """On a request of realistic length the stages explain the total; the best of three, on a busy machine."""
    one = tiny(nfe=16)
    shares = []
    for _ in range(3):
        timings = one.synthesize("Hello there, chat, how are you all doing today?").timings
        shares.append(timings.other / timings.total)
    assert min(shares) < 0.02
    assert text.SHORT_BYTES == 10
