"""The TensorRT vocoder: what a machine without it can prove of its export, its key and its refusals."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine import upstream
from engine.errors import DeviceError
from engine.evidence import Observations
from engine.loading import load_weights
from engine.optimizations import vocoder_backend, vocoder_precision, vocoder_tensorrt
from engine.options import Options
from tests.unit.parts import parts

ON = Options(vocoder_backend="tensorrt", vocoder_precision="fp16")


@pytest.fixture(scope="module")
def half(tiny_folder: Path) -> Any:
    """The tiny vocoder, its backbone in fp16."""
    one = upstream.build_vocoder(tiny_folder / "vocos/config.yaml")
    load_weights(one, tiny_folder / "vocos/pytorch_model.bin")
    vocoder_precision.apply(parts(vocos=one.eval()), ON, Observations())
    return one


def test_off_a_card_or_without_the_package_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is loaded, and with what to use instead."""
    with pytest.raises(DeviceError, match="a CUDA device"):
        vocoder_backend.check_device(ON, "cpu")

    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DeviceError, match="without tensorrt"):
        vocoder_backend.check_device(ON, "cuda")


def test_the_exported_network_is_in_the_formats_of_its_weights(half: Any) -> None:
    """An engine that is strongly typed computes as the file says: half of it in fp16, the head in fp32."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the onnx extra")
    import onnx

    file = vocoder_backend.exported(half, "tensorrt")
    kinds = {one.data_type for one in onnx.load(str(file)).graph.initializer}
    assert {onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT} <= kinds
    mel = torch.randn(1, 100, 40) * 2 - 3
    with torch.inference_mode():
        expected = half.head.out(half.backbone(mel).float())
        found = vocoder_backend.OnnxNetwork(vocoder_backend.session(file, "cpu"), Observations())(mel)
    assert float((found - expected).square().sum() / expected.square().sum()) < 1e-3
    plain = copy.deepcopy(half)
    plain.backbone.float()
    assert vocoder_backend._digest(plain) != vocoder_backend._digest(half)


def test_an_engine_is_kept_for_what_it_was_built_of() -> None:
    """Other weights, another card, another TensorRT or another length: another engine."""
    given: tuple[Any, ...] = (b"network", "H100 (9, 0)", "10.3.0", 2812)
    others = [(b"other", *given[1:])]
    others += [
        (*given[:place], other, *given[place + 1 :]) for place, other in ((1, "Orin"), (2, "11"), (3, 9))
    ]
    keys = {vocoder_tensorrt.key(*one) for one in (given, *others)}
    assert len(keys) == 5
    assert vocoder_tensorrt.key(*given) in keys


def test_an_engine_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The second process finds it; a builder that fails leaves nothing."""
    built: list[int] = []

    def build(onnx: bytes, longest: int) -> bytes:
        built.append(longest)
        return b"plan of " + onnx

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vocoder_tensorrt, "card", lambda device: "a card")
    monkeypatch.setattr(vocoder_tensorrt, "package", lambda: SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setattr(vocoder_tensorrt, "build", build)
    (tmp_path / "vocos.onnx").write_bytes(b"network")
    plans = {vocoder_tensorrt.built(tmp_path / "vocos.onnx", "cuda", 2812) for _ in range(3)}
    assert plans == {b"plan of network"}
    assert built == [2812]


def test_the_builder_is_asked_for_every_length_in_the_formats_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From one frame to the longest, strongly typed; what it says of a file it cannot read is passed on."""
    asked: dict[str, Any] = {}

    class Anything:
        def __init__(self, *given: Any) -> None:
            self.num_errors = 1

        def create_network(self, flags: int) -> Any:
            asked["flags"] = flags
            return SimpleNamespace(get_input=lambda index: SimpleNamespace(shape=(-1, 100, -1)))

        def parse(self, onnx: bytes) -> bool:
            return onnx == b"network"

        def get_error(self, index: int) -> str:
            return "no such operator"

        def create_optimization_profile(self) -> Any:
            return SimpleNamespace(set_shape=lambda name, *shapes: asked.update({name: shapes}))

        def create_builder_config(self) -> Any:
            return SimpleNamespace(
                set_memory_pool_limit=lambda *_: None, add_optimization_profile=lambda _: None
            )

        def build_serialized_network(self, network: Any, config: Any) -> bytes:
            return b"plan"

    class Logger(Anything):
        WARNING = 1

    kinds = {"NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=4)}
    pools = {"MemoryPoolType": SimpleNamespace(WORKSPACE=0)}
    made_up = SimpleNamespace(Logger=Logger, Builder=Anything, OnnxParser=Anything, **kinds, **pools)
    monkeypatch.setattr(vocoder_tensorrt, "package", lambda: made_up)
    assert vocoder_tensorrt.build(b"network", 2812) == b"plan"
    assert asked == {"flags": 16, "mel": ((1, 100, 1), (1, 100, 512), (1, 100, 2812))}
    with pytest.raises(DeviceError, match="no such operator"):
        vocoder_tensorrt.build(b"nonsense", 2812)


@pytest.mark.parametrize(
    ("options", "runs", "decodes", "proven"),
    [(ON, 0, 0, None), (ON, 2, 0, True), (ON, 0, 2, False), (ON, 1, 1, False), (Options(), 1, 1, False)],
)
def test_the_proof_is_who_decoded(options: Options, runs: int, decodes: int, proven: bool | None) -> None:
    """Runs of the engine against decodes by torch."""
    observed = Observations()
    observed.note("tensorrt runs", runs)
    observed.note("decodes", decodes)
    assert vocoder_backend.evidence(options, observed).proven is proven
