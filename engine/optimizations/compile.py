"""torch.compile of the functions that really run: each transformer block and the vocoder's backbone.

Compiling a whole model object compiles only its `forward`, which sampling never calls. Here each block's own
`forward` is compiled, and one compilation serves all blocks. Dynamo gives up in silence at the eighth
compilation of one code object, and counts them by process: each engine compiles a copy of the code, so that
no number of engines in a process uses up another's.

No mode records CUDA graphs: recorded block by block, they are replayed over each other's outputs
(pytorch/pytorch#152887). `max-autotune` is Inductor's `max-autotune-no-cudagraphs`; `graphs` records whole
evaluations of what is compiled here.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from typing import Any

from engine.errors import DeviceError, OptionsError
from engine.evidence import Evidence, Observations
from engine.files import writable_cache
from engine.optimizations import Parts
from engine.options import Options

LOOKUPS = ("fxgraph_cache_hit", "fxgraph_cache_miss")
"""Inductor's names for a graph found in its cache on disk, and for one that had to be compiled."""

MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Inductor's name of each mode."""


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Compile the repeated blocks of the transformer, and the vocoder's backbone, in place.

    Sequence lengths are dynamic: a new length does not compile again. The vocoder is left alone where torch
    does not run it.

    Raises:
        OptionsError: the backbone has no repeated blocks to compile (E2-TTS).
    """
    if options.compile == "off":
        return parts
    blocks = getattr(parts.model.transformer, "transformer_blocks", None)
    if blocks is None:
        raise OptionsError(
            f"compile with the backbone {type(parts.model.transformer).__name__}",
            "a DiT",
            "Load an F5-TTS checkpoint, or compile='off'",
        )
    compile_forward(list(blocks), _counting_backend(options.compile, "transformer", seen))
    seen.add("compilable transformer", len(blocks))
    if options.vocoder_backend == "torch":
        compile_forward([parts.vocos.backbone], _counting_backend(options.compile, "vocoder", seen))
    return parts


def compile_forward(modules: list[Any], backend: Callable[[Any, Any], Any]) -> None:
    """Compile the `forward` of modules of one class: one code object and one backend for all of them.

    Dynamo compiles again for every other backend that it meets.
    """
    import torch

    forward = type(modules[0]).forward
    copied = types.FunctionType(
        forward.__code__.replace(), forward.__globals__, forward.__name__, forward.__defaults__
    )
    copied.__kwdefaults__ = forward.__kwdefaults__
    compiled = torch.compile(copied, backend=backend, dynamic=True)
    for module in modules:
        module.forward = types.MethodType(compiled, module)


def _counting_backend(mode: str, part: str, seen: Observations) -> Callable[[Any, Any], Any]:
    """Inductor in the given mode; where each graph came from is counted, and every execution of it."""
    from torch._dynamo.utils import counters
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    def backend(graph: Any, inputs: Any) -> Any:
        before = {name: counters["inductor"][name] for name in LOOKUPS}
        compiled: Any = compile_fx(graph, inputs, config_patches=list_mode_options(MODES[mode]))
        for name in LOOKUPS:
            seen.add(name, counters["inductor"][name] - before[name])

        @functools.wraps(compiled)
        def run(*arguments: Any) -> Any:
            seen.add(f"graphs {part}")
            return compiled(*arguments)

        return run

    return backend


def check_device(options: Options, device: str) -> None:
    """Refuse what this device cannot do, before anything is loaded, and settle where compiled code is kept.

    That is our cache folder, unless `TORCHINDUCTOR_CACHE_DIR` names another. Torch's own choice, made as soon
    as its compiler is imported, is /tmp, which is empty after a boot.

    Raises:
        DeviceError: no C++ compiler for a CPU.
        CheckpointError: no folder to keep compiled code in.
    """
    if options.compile == "off":
        return
    if not os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(writable_cache("compiled"))
    if device != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise DeviceError(
            f"compile={options.compile!r} without a C++ compiler",
            "g++ or clang++ on the PATH",
            "Install one, or use compile='off'",
        ) from error


def evidence(options: Options, seen: Observations) -> Evidence:
    """Compiled graphs that ran, against the calls that should have gone through one each.

    Dynamo falls back to plain execution in silence when it gives up on a function; then graphs are missing
    here. A call that failed, as when memory runs out, may have run some graphs more.
    """
    counts = seen.counts
    if not counts["evaluations"]:
        return Evidence(None, "no evaluation yet")
    ran, blocks = counts["graphs transformer"], max(1, counts["compilable transformer"])
    if options.compile == "off":
        return Evidence(ran == 0, f"{ran} compiled graphs ran")
    due = seen.ran("calls", "transformer") * blocks
    decoded, decodes = counts["graphs vocoder"], seen.ran("decodes", "vocoder")
    kept, made = (counts[name] for name in LOOKUPS)
    whole = ran == due or (ran > due and counts["failed batches"] > 0)
    return Evidence(
        whole and decoded == decodes,
        f"{ran} compiled transformer graphs ran in {due} block calls, "
        f"{decoded} vocoder graphs in {decodes} decodes; {made} compiled here, {kept} from the cache on disk",
    )
