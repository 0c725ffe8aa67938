"""The ONNX vocoder: the same sound from another runtime, exported once, refused where it cannot run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import upstream
from engine.errors import CheckpointError, DeviceError
from engine.evidence import Observations
from engine.loading import load_weights
from engine.optimizations import vocoder_backend
from engine.options import Options
from engine.vocoder import VocosVocoder
from tests.unit.parts import parts

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the onnx extra")

ON = Options(vocoder_backend="onnx")
NMSE = 1e-3


@pytest.fixture(scope="module")
def vocos(tiny_folder: Path) -> Any:
    """The tiny vocoder."""
    one = upstream.build_vocoder(tiny_folder / "vocos/config.yaml")
    load_weights(one, tiny_folder / "vocos/pytorch_model.bin")
    return one.eval()


@pytest.fixture(scope="module")
def exported(vocos: Any) -> Path:
    """Its file."""
    return vocoder_backend.exported(vocos)


def test_off_hands_back_the_vocoder_itself(vocos: Any) -> None:
    """Nothing is exported, nothing is opened."""
    observed = Observations()
    whole = parts(vocoder=VocosVocoder(vocos, observed))
    assert vocoder_backend.apply(whole, Options(), observed) is whole
    assert not observed.counts


@pytest.mark.parametrize(("batch", "frames"), [(1, 2), (1, 64), (1, 517), (3, 100)])
def test_the_sound_is_torchs(vocos: Any, exported: Path, batch: int, frames: int) -> None:
    """Any length and any batch from one file."""
    observed = Observations()
    plain = VocosVocoder(vocos, observed)
    other = vocoder_backend.apply(parts(vocos=vocos), ON, observed).vocoder
    mel = torch.randn(batch, 100, frames) * 2 - 3
    with torch.inference_mode():
        expected, wave = plain.decode(mel), other.decode(mel)
    assert wave.shape == expected.shape
    assert float((wave - expected).square().sum() / expected.square().sum()) < NMSE


def test_a_magnitude_beyond_its_ceiling_is_cut_as_upstream_cuts_it(vocos: Any) -> None:
    """The head's safeguard is part of the sound."""
    hidden = torch.randn(1, 20, vocos.head.out.in_features) * 300
    with torch.inference_mode():
        spectrum = vocos.head.out(hidden)
        assert spectrum[..., :513].max() > 10  # exp(4.6) is the ceiling
        decoded = vocoder_backend.SpectralVocoder(
            vocoder_backend.OnnxNetwork(Session(spectrum), Observations()), vocos.head.istft
        ).decode(hidden)
        assert torch.allclose(decoded, vocos.head(hidden), rtol=1e-4, atol=1e-3)


class Session:
    """Answers with one spectrum."""

    def __init__(self, spectrum: torch.Tensor) -> None:
        self.spectrum = spectrum

    def run(self, *_: Any) -> list[Any]:
        return [self.spectrum.numpy()]

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_the_file_is_made_once_for_the_same_weights(
    vocos: Any, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another object with these weights finds it; other weights do not."""
    import copy

    def unwanted(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(vocoder_backend, "_export", unwanted)
    twin = copy.deepcopy(vocos)
    assert vocoder_backend.exported(twin) == exported
    with torch.no_grad():
        twin.head.out.bias[3] += 1
    with pytest.raises(AssertionError):
        vocoder_backend.exported(twin)


def test_an_export_that_fails_leaves_no_file(
    vocos: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half a file would be found by the next process."""

    def full(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vocoder_backend, "_export", full)
    with pytest.raises(CheckpointError, match="XDG_CACHE_HOME"):
        vocoder_backend.exported(vocos)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    vocos: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    """Found before anything is written."""
    real = importlib.import_module

    def fake(name: str) -> Any:
        if name == missing:
            raise ImportError(name)
        return real(name)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vocoder_backend.importlib, "import_module", fake)  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match=r"\[onnx\]") as caught:
        vocoder_backend.apply(parts(vocos=vocos), ON, Observations())
    assert missing in caught.value.given


def test_a_gpu_that_the_runtime_does_not_know_is_refused(exported: Path) -> None:
    """It would fall back to the CPU in silence."""
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        vocoder_backend.session(exported, "cuda")


@pytest.mark.parametrize(
    ("options", "runs", "decodes", "proven"),
    [
        (ON, 0, 0, None),
        (ON, 2, 0, True),
        (ON, 0, 2, False),
        (ON, 1, 1, False),
        (Options(), 0, 2, True),
        (Options(), 1, 1, False),
    ],
)
def test_the_proof_is_who_decoded(options: Options, runs: int, decodes: int, proven: bool | None) -> None:
    """Runs of the session against decodes by torch."""
    observed = Observations()
    if runs:
        observed.add("onnx CPUExecutionProvider", runs)
    observed.add("decodes", decodes)
    assert vocoder_backend.evidence(options, observed).proven is proven
