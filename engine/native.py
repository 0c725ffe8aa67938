"""The CPU kernels of `kernels.cpp`: built once on the machine, found again by what they were built from."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CheckpointError, DeviceError
from engine.files import cache

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = Path(__file__).with_name("kernels.cpp")
STABLE = (2, 10)
"""The first torch whose stable interface has what the kernels use; its headers are read in a second."""
NAMESPACE = "ishowtts_cpu"
"""Where torch's dispatcher has the operations: `project`, `merge`, `feed` and `attention`."""
HEAD = 64
"""Width of a head, and of a tile."""
FLAGS = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16")
"""What the processor must have, as Linux names it."""
COMPILE = (
    "-O3", "-std=c++20", "-shared", "-fPIC", "-ffp-contract=fast", "-mavx512f", "-mavx512bw", "-mavx512dq",
    "-mavx512vl", "-mavx512vnni", "-mavx512bf16", "-mfma", "-Wno-ignored-attributes",
)  # fmt: skip


def missing() -> str:
    """What this machine lacks for the kernels, in words; empty where they can be built."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        return f"{platform.system()} on {platform.machine()}"
    lacking = [flag for flag in FLAGS if flag not in _processor_flags()]
    if lacking:
        return f"a processor without {lacking[0]}"
    if _compiler() is None:
        return "no C++ compiler"
    torch = metadata.version("torch")
    if tuple(map(int, torch.split(".")[:2])) < STABLE:
        return f"torch {torch}"
    if not _keeps():
        return "a cache that cannot be written"
    return ""


def _keeps() -> bool:
    """Whether what is built can be kept in the cache."""
    try:
        places = (cache() / "kernels", *(cache() / "kernels").parents)
        return os.access(next(place for place in places if place.exists()), os.W_OK)
    except (CheckpointError, OSError):
        return False


def _processor_flags() -> Sequence[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8", errors="replace").splitlines()
    except OSError:
        return ()
    return next((line.split() for line in lines if line.startswith("flags")), ())


def _compiler() -> str | None:
    named = os.environ.get("CXX", "").split()
    names = (*named[:1], "c++", "g++", "clang++")
    return next((found for name in names if (found := shutil.which(name))), None)


def check() -> None:
    """Refuse what cannot be built here, without building it.

    Raises:
        DeviceError: the machine lacks something.
    """
    if missing():
        raise _unsupported(missing())


@functools.cache
def operations() -> Any:
    """The operations, built on first use: some seconds, once for each torch and source.

    Raises:
        DeviceError: the machine lacks something, or the compiler fails.
    """
    check()
    import torch

    torch.ops.load_library(str(_library()))  # type: ignore[no-untyped-call]
    made = getattr(torch.ops, NAMESPACE)
    _count_products(made)
    return made


def _count_products(made: Any) -> None:
    """Tell torch's flop counter what the operations multiply: work is counted with them as without."""
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    if made.project in flop_registry:
        return

    def linear(rows: Sequence[int], panels: Sequence[int]) -> int:
        return 2 * rows[0] * rows[1] * panels[0] * panels[1] * panels[2] * panels[3]

    register_flop_formula(made.project)(lambda x, a, b, packed, *_, **__: linear(x, packed))
    register_flop_formula(made.merge)(lambda x, y, a, packed, *_, **__: linear(x, packed))
    register_flop_formula(made.feed)(
        lambda x, a, b, c, rise, d, e, f, fall, *_, **__: linear(x, rise) + linear(x, fall)
    )
    register_flop_formula(made.attention)(lambda q, *_, **__: 4 * q[0] * q[1] * q[2] * q[2] * q[3])


def _library() -> Path:
    """The shared library, built if it is not there: whole or not at all, safe against a second builder."""
    import torch

    compiler = _compiler()
    if compiler is None:
        raise _unsupported("no C++ compiler")
    made_of = (SOURCE.read_text(encoding="utf8"), torch.__version__, compiler, *COMPILE)
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    target = cache() / "kernels" / f"kernels-{key}.so"
    if target.is_file():
        return target
    scratch = target.with_name(f".{uuid.uuid4().hex}.so")
    home = Path(torch.__file__).parent
    places = [f"-I{home / 'include'}", str(SOURCE), f"-L{home / 'lib'}", "-ltorch", "-ltorch_cpu"]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [compiler, *COMPILE, *places, "-o", str(scratch)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if "error" in line), "it failed")
            raise _unsupported(f"{Path(compiler).name}: {first[-160:]}")
        scratch.replace(target)
    except OSError as error:
        raise _unsupported(f"a cache that cannot be written ({error.strerror})") from error
    finally:
        scratch.unlink(missing_ok=True)
    return target


def _unsupported(what: str) -> DeviceError:
    return DeviceError(
        f"fused kernels on {what}",
        "Linux on x86 with AVX-512, VNNI and bf16, a C++ compiler, torch 2.10 or later, and a cache to write",
        "Use attention='auto' and int8='dynamic' or 'off'",
    )


def pack(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A linear layer's weights [outputs, inputs] in 8 bits, as the kernels take them.

    Returns:
        Panels [outputs / 64, inputs / 4, 64, 4] int8; -128 times the sum of each output's codes, [outputs]
        int32; scales and bias, [outputs] float32.
    """
    import torch

    weight = weight.detach().float()
    scales = weight.abs().amax(dim=1).div(127).clamp_min(torch.finfo(torch.float32).tiny)
    codes = (weight / scales[:, None]).round().to(torch.int8)
    outputs, inputs = codes.shape
    panels = codes.view(outputs // HEAD, HEAD, inputs // 4, 4).transpose(1, 2).contiguous()
    offset = codes.sum(dim=1, dtype=torch.int32).mul(-128)
    zeros = torch.zeros(outputs) if bias is None else bias.detach().float()
    return panels, offset, scales, zeros.contiguous()
