"""compile: what a device cannot do is refused, and graphs are counted, not assumed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine.errors import DeviceError, OptionsError
from engine.evidence import Evaluation, Observations
from engine.optimizations import compile
from engine.options import Options

ON = Options(compile="default")


def test_off_leaves_the_module_alone() -> None:
    """The same object, nothing counted, nothing compiled."""
    module, observed = torch.nn.Linear(2, 2), Observations()
    assert compile.apply(module, Options(), observed) is module
    assert module._compiled_call_impl is None
    assert not observed.counts


def test_all_blocks_share_one_backend() -> None:
    """Dynamo compiles again for each backend object and gives up at its limit: deep models would run half
    eager."""
    blocks = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(12))
    seen = []
    for block in blocks:
        block.compile = lambda backend, dynamic: seen.append((backend, dynamic))  # type: ignore[method-assign]
    model = SimpleNamespace(transformer=SimpleNamespace(transformer_blocks=blocks))
    compile.apply(model, ON, Observations())
    assert len(seen) == 12
    assert len({id(backend) for backend, _ in seen}) == 1
    assert all(dynamic for _, dynamic in seen)


@pytest.mark.parametrize("chosen", [False, True])
def test_what_is_compiled_is_kept_where_a_boot_leaves_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: bool
) -> None:
    """In the cache folder, unless somebody chose another; torch's own place is emptied at every boot."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "elsewhere"))
    if not chosen:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    compile.check_device(Options(), "cpu")
    assert ("TORCHINDUCTOR_CACHE_DIR" in os.environ) == chosen
    compile.check_device(ON, "cuda")
    expected = tmp_path / ("elsewhere" if chosen else "ishowtts/compiled")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(expected)


def test_the_proof_says_what_came_from_the_disk() -> None:
    """So that a second process that compiles again is seen."""
    observed = Observations()
    observed.sampled([], {"fp32"})
    observed.note("evaluations", 1)
    observed.note("fxgraph_cache_hit", 3)
    observed.note("fxgraph_cache_miss", 2)
    assert compile.evidence(ON, observed).observed.endswith("2 compiled here, 3 from the cache on disk")


def test_a_backbone_without_blocks_is_refused() -> None:
    """E2-TTS has none that could be compiled one by one; silence would be a toggle that does nothing."""
    with pytest.raises(OptionsError, match="Load an F5-TTS checkpoint"):
        compile.apply(SimpleNamespace(transformer=torch.nn.Linear(2, 2)), ON, Observations())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_reduce_overhead_is_refused_where_it_would_do_nothing(device: str) -> None:
    """CUDA graphs need CUDA."""
    options = Options(compile="reduce-overhead")
    if device == "cuda":
        compile.check_device(options, device)
        return
    with pytest.raises(OptionsError, match="compile='default'"):
        compile.check_device(options, device)


def test_a_cpu_without_a_compiler_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out at the first request, it would be a traceback from the depths."""
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def absent() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", absent)
    compile.check_device(Options(), "cpu")
    with pytest.raises(DeviceError, match="compile='off'"):
        compile.check_device(ON, "cpu")


@pytest.mark.parametrize(
    ("options", "graphs", "decoded", "proven"),
    [
        (ON, 8, 1, True),
        (ON, 7, 1, False),
        (ON, 8, 0, False),
        (ON, 0, 0, False),
        (Options(), 0, 0, True),
        (Options(), 1, 0, False),
    ],
)
def test_the_proof_is_a_graph_for_every_call(
    options: Options, graphs: int, decoded: int, proven: bool
) -> None:
    """Four blocks, two evaluations, one decode; one graph short is a silent fallback."""
    observed = Observations()
    assert compile.evidence(options, observed).proven is None
    observed.sampled([Evaluation(0.0, 0, (2,)), Evaluation(0.5, 1, (2,))], {"fp32"})
    observed.add("compilable transformer", 4)
    observed.add("graphs transformer", graphs)
    observed.add("graphs vocoder", decoded)
    observed.add("decodes")
    assert compile.evidence(options, observed).proven is proven
