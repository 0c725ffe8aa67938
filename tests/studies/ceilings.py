"""What this machine reaches at best: matrix products in each number format that works on it, and memory.

Not what a data sheet says: the largest rate that torch itself was seen to reach here, in the same process and
with the same threads as the engine. `tests.studies.costs` holds synthesis against it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.errors import DeviceError, UsageError
from engine.gate import machine as machines
from engine.optimizations import int8, int8_cuda
from engine.options import Options

REPEATS, PATIENCE_S = 9, 0.5
"""Runs of each product, and the seconds after which no further one is begun."""
FORMATS = ("fp32", "bf16", "fp16", "int8")
SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Side of the square products tried on each kind of device; the next only if the last was no long wait."""
BUFFER_MB = {"cpu": 256, "cuda": 1024}
"""Copied to measure the memory: larger than any cache."""


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """Rates of one machine.

    Attributes:
        machine, device, threads: where they were measured, and with how many threads of torch.
        flops: FLOP/s by number format; a format that does not work here is left out.
        bandwidth: bytes/s that a copy reads and writes.
    """

    machine: str
    device: str
    threads: int
    flops: Mapping[str, float]
    bandwidth: float

    def __post_init__(self) -> None:
        rates = [*self.flops.values(), self.bandwidth]
        if not self.flops or not all(0 < rate < float("inf") for rate in rates):
            raise UsageError(
                f"ceilings {dict(self.flops)} and {self.bandwidth}",
                "at least one number format, and rates above zero",
                "Measure again",
            )

    @property
    def fastest(self) -> str:
        """The format with the highest rate."""
        return max(self.flops, key=lambda name: self.flops[name])


def measure(device: str = "cpu") -> Ceilings:
    """Measure for a few seconds; the best of several repeats counts.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.

    Raises:
        DeviceError: torch has no such device here.
    """
    import torch

    kind = device.split(":")[0]
    if kind not in SIZES or (kind == "cuda" and not torch.cuda.is_available()):
        raise DeviceError(f"device={device!r}", "cpu, or a cuda device that torch sees", "Use device='cpu'")
    wait = (lambda: torch.cuda.synchronize(device)) if kind == "cuda" else (lambda: None)
    with torch.inference_mode():
        tried = {name: _highest(name, device, SIZES[kind], wait) for name in FORMATS}
        bandwidth = _bandwidth(device, BUFFER_MB[kind], wait)
    found = {name: rate for name, rate in tried.items() if rate}
    return Ceilings(machines.describe().key, device, torch.get_num_threads(), found, bandwidth)


def best(
    run: Callable[[], object],
    wait: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of the fastest of `REPEATS` runs, fewer if they take long, after one that is not counted.

    Args:
        run: what is timed.
        wait: returns once all that was started is done.
        clock: seconds that only grow.
    """
    run()
    wait()
    taken: list[float] = []
    while not taken or (len(taken) < REPEATS and sum(taken) < PATIENCE_S):
        start = clock()
        run()
        wait()
        taken.append(clock() - start)
    return min(taken)


def _highest(name: str, device: str, sizes: Iterable[int], wait: Callable[[], None]) -> float:
    """FLOP/s of the best square product in a number format; 0 where the format does not work here."""
    highest = 0.0
    for size in sizes:
        try:
            seconds = best(_product(name, size, device), wait)
        except (
            RuntimeError,
            DeviceError,
        ):  # torch's own errors for a format or memory it lacks, ours for int8
            break
        highest = max(highest, 2.0 * size**3 / seconds)
        if seconds > PATIENCE_S / REPEATS:
            break
    return highest


def _product(name: str, size: int, device: str) -> Callable[[], object]:
    """A product of two squares in one format: a linear layer, or what `int8=dynamic` runs.

    Raises:
        DeviceError: this device has no 8-bit product.
    """
    import torch
    from torch.nn import functional

    if name == "int8":
        int8.check_device(Options(int8="dynamic"), device)
        if device != "cpu":
            whole = torch.ones(size, size, dtype=torch.int8, device=device)
            return lambda: int8_cuda.product(whole, whole)
        linear = torch.nn.Linear(size, size, bias=False)
        packed = int8.quantized(linear, int8.largest_weight())
        codes = torch.full((size, size), int8.ZERO + 1, dtype=torch.uint8)
        return lambda: int8._product(codes, packed.packed, packed.scales, packed.zeros)
    dtype: Any = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
    generator = torch.Generator(device).manual_seed(0)
    one, other = (torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2))
    return lambda: functional.linear(one, other)


def _bandwidth(device: str, megabytes: int, wait: Callable[[], None]) -> float:
    """Bytes/s of a copy, what is read and what is written together."""
    import torch

    source = torch.ones(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    return 2.0 * megabytes * 2**20 / best(lambda: target.copy_(source), wait)
