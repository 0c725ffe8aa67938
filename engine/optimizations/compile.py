"""torch.compile of the functions that really run: each transformer block and the vocoder's backbone.

Compiling a whole model object compiles only its `forward`, which sampling never calls. Here each block's own
call is compiled in place. The blocks share one code object, so one compilation serves all of them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from engine.errors import DeviceError, OptionsError
from engine.evidence import Evidence, Observations
from engine.options import Options
from engine.voices.seeded import cache

LOOKUPS = ("fxgraph_cache_hit", "fxgraph_cache_miss")
"""Inductor's names for a graph found in its cache on disk, and for one that had to be compiled."""


def apply(module: Any, options: Options, observed: Observations) -> Any:
    """Compile the repeated blocks of an upstream `CFM`, or the backbone of a `Vocos`, in place.

    Sequence lengths are dynamic: a new length does not compile again.

    Raises:
        OptionsError: the backbone has no repeated blocks to compile (E2-TTS).
    """
    if options.compile == "off":
        return module
    part, blocks = (
        ("vocoder", [module.backbone]) if hasattr(module, "backbone") else ("transformer", _blocks(module))
    )
    # One backend for all blocks: Dynamo compiles again for every other backend it meets, and gives up at the
    # eighth.
    backend = _counting_backend(options.compile, part, observed)
    for block in blocks:
        block.compile(backend=backend, dynamic=True)
    observed.add(f"compilable {part}", len(blocks))
    return module


def _blocks(model: Any) -> list[Any]:
    blocks = getattr(model.transformer, "transformer_blocks", None)
    if blocks is None:
        raise OptionsError(
            f"compile with the backbone {type(model.transformer).__name__}",
            "a DiT",
            "Load an F5-TTS checkpoint, or compile='off'",
        )
    return list(blocks)


def _counting_backend(mode: str, part: str, observed: Observations) -> Callable[[Any, Any], Any]:
    """Inductor in the given mode; where each graph came from is counted, and every execution of it."""
    from torch._dynamo.utils import counters
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    def backend(graph: Any, inputs: Any) -> Any:
        before = {name: counters["inductor"][name] for name in LOOKUPS}
        compiled: Any = compile_fx(graph, inputs, config_patches=list_mode_options(mode))
        for name in LOOKUPS:
            observed.add(name, counters["inductor"][name] - before[name])

        @functools.wraps(compiled)
        def run(*arguments: Any) -> Any:
            observed.add(f"graphs {part}")
            return compiled(*arguments)

        return run

    return backend


def check_device(options: Options, device: str) -> None:
    """Refuse what this device cannot do, before anything is loaded, and settle where compiled code is kept.

    That is our cache folder, unless `TORCHINDUCTOR_CACHE_DIR` names another. Torch's own choice, made as soon
    as its compiler is imported, is /tmp, which is empty after a boot.

    Raises:
        OptionsError: `reduce-overhead` without CUDA, where it would do nothing.
        DeviceError: no C++ compiler for a CPU.
    """
    if options.compile == "off":
        return
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache() / "compiled"))
    if device != "cpu":
        return
    if options.compile == "reduce-overhead":
        raise OptionsError(
            "compile='reduce-overhead' on a CPU",
            "CUDA: its gain is CUDA graphs",
            "Use compile='default' on a CPU",
        )
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


def evidence(options: Options, observed: Observations) -> Evidence:
    """Compiled graphs that ran, against the calls that should have gone through one.

    Dynamo falls back to plain execution in silence when it gives up on a function; then graphs are missing
    here.
    """
    if not observed.counts["evaluations"]:
        return Evidence(None, "no evaluation yet")
    ran = observed.counts["graphs transformer"]
    if options.compile == "off":
        return Evidence(ran == 0, f"{ran} compiled graphs ran")
    due = observed.counts["evaluations"] * max(1, observed.counts["compilable transformer"])
    decoded, decodes = observed.counts["graphs vocoder"], observed.counts["decodes"]
    kept, made = (observed.counts[name] for name in LOOKUPS)
    return Evidence(
        ran >= due and decoded >= decodes,
        f"{ran} compiled transformer graphs ran in {due} block calls, "
        f"{decoded} vocoder graphs in {decodes} decodes; {made} compiled here, {kept} from the cache on disk",
    )
