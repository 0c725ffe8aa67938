"""The instrument: one process that loads an engine, speaks what it is told, and reports every call.

Stand-alone: the standard library, torch (which every engine brings), and `import engine`, of which it calls
`load`, `Options.parse`, `Voice`, `synthesize` and `evidence`; through HTTP also `serve.local.serving`. The
gate copies this file and runs the copy on both sides of a comparison with PYTHONPATH set to the side's
checkout, so each revision is measured by the same instrument.

One JSON object a line. The first line on stdin says what to load; each further line is one call, which may
bring its own clip and transcript, or asks for the call's work to be counted; at the end of the input the
worker says what it observed. Whatever libraries print goes to stderr.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import hashlib
import http.client
import importlib
import json
import os
import platform
import re
import resource
import sys
import time
from importlib import metadata
from typing import Any, TextIO

PACKAGES = ("torch", "torchaudio", "f5-tts", "vocos", "numpy")
MB = 2.0**20
KEPT = 500
"""Waves kept in a folder. Reproducible code gives one for each request; other code must not fill the disk."""


def main() -> None:
    """Serve one job, from stdin to stdout."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not break the protocol
    serve(sys.stdin, replies)


def serve(requests: TextIO, replies: TextIO) -> None:
    """Load what the first line of `requests` describes, then answer the others one by one."""
    job = json.loads(requests.readline())
    start = time.perf_counter()
    import engine

    options = engine.Options.parse(job["options"])
    tts = engine.load(job["checkpoint"], options, device=job["device"])
    voice = engine.Voice(job["clip"], job["clip_text"])
    loaded = time.perf_counter() - start
    _answer(replies, describe(engine, tts, options) | {"load_seconds": loaded})
    with Served(tts, voice, job) if job.get("through") == "http" else contextlib.nullcontext(tts) as speaker:
        answer_all(requests, replies, engine, tts, speaker, voice, job)


def answer_all(
    requests: TextIO, replies: TextIO, engine: Any, tts: Any, speaker: Any, voice: Any, job: dict[str, Any]
) -> None:
    """Answer every request, timed with `speaker` and counted with the engine itself; then what was seen."""
    first, observed = 0.0, None
    for line in requests:
        request = json.loads(line)
        own = engine.Voice(request["clip"], request["clip_text"]) if "clip" in request else voice
        if request.get("count"):
            observed = observed or observe(tts, first)  # being counted leaves traces in the evidence
            _answer(replies, count(tts, own, request))
            continue
        reply = call(speaker, own, request, job["outputs"])
        first = first or reply["seconds"]
        _answer(replies, reply)
    _answer(replies, observed or observe(tts, first))


class Served:
    """An engine behind the service of its own revision: `synthesize` asks `POST /api/tts` of this process.

    Only the job's own voice is asked for there, since a request can name no file; another one is spoken
    directly, for the judges of quality.
    """

    def __init__(self, tts: Any, voice: Any, job: dict[str, Any]) -> None:
        self._tts, self._voice, self._job = tts, voice, job
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Served:
        local = importlib.import_module("engine.serve.local")  # of the revision that is measured
        serving = local.serving(self._tts, self._job["clip"], self._job["clip_text"])
        host, port = self._open.enter_context(serving)
        self._client = self._open.enter_context(contextlib.closing(http.client.HTTPConnection(host, port)))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def synthesize(self, text: str, voice: Any, seed: int, speed: float) -> Any:
        """The speech, as the engine gives it: 16 bits a sample, and the server's time beside its own."""
        if voice is not self._voice:
            return self._tts.synthesize(text, voice, seed=seed, speed=speed)
        start = time.perf_counter()
        body = json.dumps({"text": text, "seed": seed, "speed": speed, "format": "pcm"})
        self._client.request("POST", "/api/tts", body, {"content-type": "application/json"})
        response = self._client.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"POST /api/tts answered {response.status}: {content[:300]!r}")
        return Heard(content, response.headers["server-timing"], time.perf_counter() - start)


class Heard:
    """Speech that came over HTTP, with the names that the engine's own has."""

    RATE = 24_000

    def __init__(self, content: bytes, timing: str, seconds: float) -> None:
        self._content, self._timing, self._seconds = content, timing, seconds
        self.seconds = len(content) / 2 / self.RATE
        self.timings = self

    @property
    def samples(self) -> array.array[float]:
        """float32, within -1 and 1."""
        return array.array("f", (value / 32768 for value in array.array("h", self._content)))

    def stages(self) -> dict[str, float]:
        """Seconds of the stages that the server names, and what went beside them: queue, wire, encoding."""
        named = re.findall(r"([\w-]+);dur=([\d.]+)", self._timing)
        stages = {name: float(milliseconds) / 1000 for name, milliseconds in named}
        stages["service"] = self._seconds - sum(stages.values())
        return stages


def observe(tts: Any, first: float) -> dict[str, Any]:
    """What the process has seen by now: evidence, peaks of memory, and the seconds of its first call."""
    return {
        "evidence": {name: [proof.proven, proof.observed] for name, proof in tts.evidence().items()},
        "first_call_seconds": first,
        "peak_host_mb": _peak_mb(),
        "peak_device_mb": _device_mb("max_memory_allocated"),
    }


def describe(engine: Any, tts: Any, options: Any) -> dict[str, Any]:
    """What was loaded, from where, and with which versions."""
    checkpoint = tts.checkpoint
    found = {name: version for name in PACKAGES if (version := _version(name))}
    return {
        "root": os.path.dirname(os.path.dirname(os.path.abspath(engine.__file__))),  # noqa: PTH100, PTH120
        "code": _code(os.path.dirname(os.path.abspath(engine.__file__))),  # noqa: PTH100, PTH120
        "options": options.changed(),
        "weights": hashlib.sha256(checkpoint.digest().encode()).hexdigest(),
        "trained": checkpoint.trained,
        "versions": {"python": platform.python_version(), **found},
        "threads": _threads(),
        "device_total_mb": _device_total_mb(),
    }


def _code(folder: str) -> str:
    """Hash of the package, sources, kernels and tables: a checkout may be edited while it is measured."""
    digest = hashlib.sha256()
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(where, name)  # noqa: PTH118
            with open(path, "rb") as file:  # noqa: PTH123
                content = hashlib.sha256(file.read()).hexdigest()
            digest.update(f"{os.path.relpath(path, folder)} {content}\n".encode())
    return digest.hexdigest()


def call(tts: Any, voice: Any, request: dict[str, Any], outputs: str | None) -> dict[str, Any]:
    """Speak once. Seconds are wall time around `synthesize`, with a GPU's work finished before and after."""
    _synchronise()
    start = time.perf_counter()
    audio = tts.synthesize(request["text"], voice, seed=request["seed"], speed=request["speed"])
    _synchronise()
    seconds = time.perf_counter() - start
    samples = audio.samples.tobytes()
    digest = hashlib.sha256(samples).hexdigest()
    if outputs is not None:
        _keep(outputs, digest, samples)
    return {
        "seconds": seconds,
        "audio_seconds": audio.seconds,
        "stages": {name: max(0.0, value) for name, value in audio.timings.stages().items()},
        "host_mb": _host_mb(),
        "device_mb": _device_mb("memory_allocated"),
        "output": digest,
    }


def count(tts: Any, voice: Any, request: dict[str, Any]) -> dict[str, int]:
    """What one call costs, counted and not timed: the same on every run of the same code and packages.

    `operators`: dispatched below autograd, composite ones as the parts that they stand for. `flops`: those of
    matrix products, convolutions and attention, as torch's flop counter has them. `allocated_bytes`: of the
    storage of every output that shares none with an argument of its operator. `evaluations`: of the flow, as
    `progress` is told. `rows`: of all that went through the transformer, as the engine counts them.

    Compiled code is counted as the operators that it was made from: Dynamo stands back from a dispatch mode.
    """
    seen = _rows(tts)
    tally = {"operators": 0, "flops": 0, "allocated_bytes": 0, "evaluations": 0}

    def advance(progress: object) -> None:
        tally["evaluations"] += 1

    with _counting(tally):
        tts.synthesize(request["text"], voice, seed=request["seed"], speed=request["speed"], progress=advance)
    return tally | {"rows": _rows(tts) - seen}


def _rows(tts: Any) -> int:
    """Rows that went through the transformer since the engine was loaded.

    Every revision counts them beside its other evidence, in an attribute of its own name.
    """
    counts = [part.counts for part in vars(tts).values() if hasattr(part, "counts")]
    if not counts:
        raise RuntimeError("this engine does not count the rows that go through its transformer")
    return int(counts[0]["rows"])


def _counting(tally: dict[str, int]) -> Any:
    """A dispatch mode that adds every operator to `tally`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry, sdpa_flop_count

    attention: Any = sdpa_flop_count
    mode: Any = TorchDispatchMode

    def storages(values: Any) -> dict[int, int]:
        """Address and bytes of the storage of every tensor among some values."""
        flat = torch.utils._pytree.tree_leaves(values)
        strided = [leaf for leaf in flat if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided]
        return {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in strided}

    class Counting(mode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            with self:  # inference mode leaves composite operators whole
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
            given = storages((args, kwargs))
            out = func(*args, **kwargs)
            fresh = storages(out)
            tally["operators"] += 1
            tally["allocated_bytes"] += sum(size for place, size in fresh.items() if place not in given)
            flops = flop_registry.get(func.overloadpacket)
            if flops is not None:
                tally["flops"] += int(flops(*args, **kwargs, out_val=out))
            elif func.overloadpacket.__name__.startswith("_scaled_dot_product"):
                tally["flops"] += int(attention(*(heads.shape for heads in args[:3])))
            return out

    return Counting()


def _keep(folder: str, digest: str, samples: bytes) -> None:
    """Keep one wave as raw float32, named by its hash, so that its quality can be judged later."""
    path = os.path.join(folder, f"{digest}.f32")  # noqa: PTH118
    if not os.path.exists(path) and len(os.listdir(folder)) < KEPT:  # noqa: PTH110, PTH208
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(samples)


def _synchronise() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


class _Malloc(ctypes.Structure):
    """The answer of glibc's `mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _hoarded_mb() -> float:
    """Memory that the C library keeps although nobody uses it, MiB; 0 where it does not tell (before glibc
    2.33)."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return 0.0
    ask.restype = _Malloc
    return float(ask().fordblks) / MB


def _host_mb() -> float:
    """Resident memory in use, MiB; the peak where the system does not tell the present one.

    What the C library hoards goes up and down by megabytes and would hide a leak. It is taken off the figure,
    not given back: a process that has to fetch its pages again is slower than one in production.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB
    except FileNotFoundError:
        return _peak_mb()
    return resident - min(_hoarded_mb(), resident / 2)


def _peak_mb() -> float:
    unit = 1.0 if sys.platform == "darwin" else 1024.0  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def _device_mb(reading: str) -> float | None:
    """One of torch.cuda's memory counters, MiB; None without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(getattr(torch.cuda, reading)()) / MB


def _device_total_mb() -> float | None:
    """Memory of the device in use, MiB; None without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.mem_get_info()[1]) / MB


def _threads() -> int:
    """Threads that torch computes with."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _answer(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
