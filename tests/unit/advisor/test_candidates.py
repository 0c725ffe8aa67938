"""Candidates: every option has values worth a trial, or a reason why not."""

from __future__ import annotations

import dataclasses

import pytest

from engine.advisor.candidates import ELSEWHERE, TOUCHES, enumerate_all, in_turn
from engine.advisor.doctor import Ability
from engine.errors import DeviceError
from engine.options import Options
from tests.unit.advisor.made_up import COSTS


def test_every_option_is_a_candidate_or_says_why_not() -> None:
    """None is forgotten: each option has its stages, and values or a reason."""
    fields = {field.name for field in dataclasses.fields(Options)}
    assert set(TOUCHES) == fields
    for current in (Options(), Options.fast_cpu(), Options.jetson()):
        found, refused = enumerate_all(current, "cpu", 8.0, checks=())
        named = {word.split("=")[0] for one in (*found, *refused) for word in one.name.split()}
        assert named == fields
        assert all(one.options != current for one in found)


def test_a_candidate_is_built_on_the_present_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other toggles stay, and whether it is lossless is seen from there."""
    monkeypatch.setattr("engine.advisor.candidates._extras", lambda: ["gate", "onnx"])
    present = Options(hoist=True, nfe=7, schedule="epss")
    found = {one.name: one for one in enumerate_all(present, "cpu", 1.8, checks=())[0]}
    assert found["reference_cache=on"].options == dataclasses.replace(present, reference_cache=True)
    assert found["reference_cache=on"].lossless
    assert found["hoist=off"].options == Options(nfe=7, schedule="epss")
    assert not found["nfe=6 schedule=searched"].lossless
    assert found["nfe=6 schedule=searched"].floor == pytest.approx(6 / 7)
    assert "nfe=8 schedule=searched" not in found
    assert found["compile=default"].needs == ("compiles at first use",)
    assert found["vocoder_backend=onnx"].needs == ("extra onnx",)


def test_one_value_of_every_option_goes_first_and_what_has_a_price_last() -> None:
    """Within that less work first, then by bound: many step counts do not use up all other options' time."""
    able = Ability("cpu", features=("avx2",))
    found, _ = enumerate_all(Options(), "cpu", 1.8, checks=(), ability=able)
    names = [one.name for one in in_turn(found, COSTS)]
    cheap = names[: names.index("nfe=5 schedule=searched")]
    assert {"int8=dynamic", "hoist=on", "buckets=on", "nfe=4 schedule=searched"} <= set(cheap)
    places = [cheap.index(name) for name in ("nfe=4 schedule=searched", "int8=dynamic", "reference_cache=on")]
    assert places == sorted(places)
    priced = {one.name for one in found if one.needs}
    assert set(names[-len(priced) :]) == priced
    assert {"compile=default", "precision=bf16", "vocoder_precision=fp16"} <= priced


def test_what_cannot_work_or_help_is_refused_with_the_reason() -> None:
    """A conflict, a device that cannot, a clip that is too short, an option of another call."""

    def check(options: Options, device: str) -> None:
        if options.int8 != "off":
            raise DeviceError("int8 on cuda", "a CPU", "Use another")

    present = Options(vocoder_precision="bf16")
    refused = {one.name: one.reason for one in enumerate_all(present, "cuda", 1.8, checks=(check,))[1]}
    assert refused["int8=dynamic"] == "needs a CPU"
    assert refused["vocoder_backend=onnx"].startswith("needs vocoder_precision='fp32'")
    assert refused["reference_seconds=4.0"] == "the reference clip has only 1.8 s"
    assert set(ELSEWHERE) <= set(refused)
