"""Every toggle proves itself by observation: on it is proven, and with its work taken away it is
disproven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from engine import Engine, Options, Voice, sampler, text
from engine.loading import load
from engine.optimizations import (
    attention,
    batch,
    buckets,
    compile,
    first_piece,
    guidance,
    hoist,
    int8,
    precision,
    reference_cache,
    reference_seconds,
    vocoder_backend,
    vocoder_precision,
)

TEXT = "Hello there, chat!"
MODULES = {
    "precision": precision,
    "vocoder_precision": vocoder_precision,
    "int8": int8,
    "attention": attention,
    "vocoder_backend": vocoder_backend,
    "compile": compile,
    "reference_cache": reference_cache,
    "hoist": hoist,
    "reference_seconds": reference_seconds,
    "buckets": buckets,
    "batch": batch,
    "first_piece": first_piece,
}
COMPILED = {"compile": "default", "int8": "dynamic", "attention": "flash", "buckets": True, "hoist": True}
"""Where the work is done inside compiled code, it has to be seen all the same."""
CASES = [
    ("precision", {"precision": "bf16"}),
    ("precision", {"precision": "fp16"}),
    ("vocoder_precision", {"vocoder_precision": "bf16"}),
    ("vocoder_precision", {"vocoder_precision": "fp16"}),
    ("int8", {"int8": "dynamic"}),
    ("attention", {"attention": "math"}),
    ("attention", {"attention": "flash"}),
    ("vocoder_backend", {"vocoder_backend": "onnx"}),
    ("compile", {"compile": "default"}),
    ("compile", COMPILED),
    *(pytest.param(name, COMPILED, marks=pytest.mark.slow) for name in COMPILED if name != "compile"),
    ("reference_cache", {"reference_cache": True}),
    ("buckets", {"buckets": True}),
    ("hoist", {"hoist": True}),
    ("hoist", {"hoist": True, "guidance": "reuse", "solver": "heun"}),
    ("guidance", {"guidance": "separate"}),
    ("guidance", {"guidance": "interval", "nfe": 8}),
    ("guidance", {"guidance": "reuse"}),
    ("guidance", {"cfg_strength": 0.0}),
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
        monkeypatch.setattr(module, "apply", lambda target, *_: target)
        return
    grid = sampler.time_grid
    if name == "guidance":
        real = guidance.apply
        monkeypatch.setattr(guidance, "apply", lambda evaluate, _, times: real(evaluate, Options(), times))
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
    monkeypatch.setattr(module, "apply", lambda target, options, *rest: real(target, on, *rest))
    assert proofs(tiny(), voice)[name] is False


def test_a_silent_fall_back_to_eager_is_seen(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Dynamo gives up at its limit without an error; the graphs are missing."""
    with torch._dynamo.config.patch(recompile_limit=0):
        assert proofs(tiny(compile="default"), voice)["compile"] is False


def test_compiling_the_object_that_is_never_called_is_seen(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old fault: `torch.compile(model)`, and then `model.sample` runs the plain one."""

    def whole(module: Any, options: Options, observed: Any) -> Any:
        module.compile()
        return module

    monkeypatch.setattr(compile, "apply", whole)
    one = load("seeded-tiny", Options(nfe=2, compile="default"), device="cpu")
    assert proofs(one, voice)["compile"] is False


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
    assert set(engine.evidence()) == {*MODULES, "guidance", "solver", "nfe", "schedule"}


def test_time_spent_elsewhere_stays_under_two_percent(tiny: Callable[..., Engine]) -> None:
    """On a request of realistic length the stages explain the total; the best of three, on a busy machine."""
    one = tiny(nfe=16)
    shares = []
    for _ in range(3):
        timings = one.synthesize("Hello there, chat, how are you all doing today?").timings
        shares.append(timings.other / timings.total)
    assert min(shares) < 0.02
    assert text.SHORT_BYTES == 10
