"""compile: what a device cannot do is refused, and graphs are counted, not assumed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from engine.errors import CheckpointError, DeviceError, OptionsError
from engine.evidence import Observations
from engine.optimizations import compile
from engine.options import Compile, Options
from tests.unit.parts import model, parts

ON = Options(compile="default")


def test_off_leaves_the_module_alone() -> None:
    """The same object, nothing counted, nothing compiled."""
    whole, observed = parts(model=model(torch.nn.Linear(2, 2))), Observations()
    assert compile.apply(whole, Options(), observed) is whole
    assert not observed.counts


class Block(torch.nn.Module):
    """Something to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return torch.sin(x * self.weight) * scale


def compiled(count: int) -> tuple[list[Block], list[Any]]:
    """Blocks behind one counting backend, and the graphs that it is handed."""
    blocks, graphs = [Block() for _ in range(count)], list[Any]()

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compile.compile_forward(blocks, backend)
    return blocks, graphs


def test_all_blocks_share_one_graph() -> None:
    """Dynamo gives up at its limit: deep models would run half eager."""
    torch._dynamo.reset()
    blocks, graphs = compiled(12)
    for rows in (5, 6, 7):
        x = torch.randn(rows, 3)
        for block in blocks:
            torch.testing.assert_close(block(x), torch.sin(x * block.weight) * 2.0)
    assert len(graphs) <= 2


def test_no_number_of_engines_in_a_process_uses_up_another() -> None:
    """Dynamo counts compilations by code object and gives up in silence at the eighth: each engine has its
    own."""
    torch._dynamo.reset()
    for _ in range(12):
        (block,), graphs = compiled(1)
        block(torch.randn(4, 3))
        assert len(graphs) == 1


def test_no_mode_records_cuda_graphs() -> None:
    """Block by block they would be replayed over each other's outputs."""
    from torch._inductor import list_mode_options

    assert set(compile.MODES) == {*get_args(Compile)} - {"off"}
    for mode in compile.MODES.values():
        assert not list_mode_options(mode).get("triton.cudagraphs")
    with pytest.raises(OptionsError, match="reduce-overhead"):
        Options(compile="reduce-overhead")  # type: ignore[arg-type]


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
    observed.note("evaluations", 1)
    observed.note("fxgraph_cache_hit", 3)
    observed.note("fxgraph_cache_miss", 2)
    assert compile.evidence(ON, observed).observed.endswith("2 compiled here, 3 from the cache on disk")


def test_a_backbone_without_blocks_is_refused() -> None:
    """E2-TTS has none that could be compiled one by one; silence would be a toggle that does nothing."""
    with pytest.raises(OptionsError, match="Load an F5-TTS checkpoint"):
        compile.apply(parts(model=model(torch.nn.Linear(2, 2))), ON, Observations())


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nothing"])
def test_no_folder_for_compiled_code_is_one_sentence(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that takes no files is found before anything is loaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with pytest.raises(CheckpointError, match="XDG_CACHE_HOME"):
        compile.check_device(ON, "cpu")


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
        (ON, 16, 1, False),
        (ON, 8, 2, False),
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
    observed.note("evaluations", 2)
    observed.note("calls", 2)
    observed.add("compilable transformer", 4)
    observed.add("graphs transformer", graphs)
    observed.add("graphs vocoder", decoded)
    observed.add("decodes")
    assert compile.evidence(options, observed).proven is proven
