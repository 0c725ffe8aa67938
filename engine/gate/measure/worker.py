"""The instrument: one process that loads an engine, speaks what it is told, and reports every call.

Stand-alone: the standard library and `import engine`, of which it calls `load`, `synthesize` and `evidence`.
The gate copies this file and runs the copy on both sides of a comparison with PYTHONPATH set to the side's
checkout, so each revision is measured by the same instrument.

One JSON object a line. The first line on stdin says what to load; each further line is one call, which may
bring its own clip and transcript; at the end of the input the worker says what it observed. Whatever
libraries print goes to stderr.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
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
    for line in requests:
        request = json.loads(line)
        own = engine.Voice(request["clip"], request["clip_text"]) if "clip" in request else voice
        _answer(replies, call(tts, own, request, job["outputs"]))
    proofs = {name: [proof.proven, proof.observed] for name, proof in tts.evidence().items()}
    device_peak = _device_mb("max_memory_allocated")
    _answer(replies, {"evidence": proofs, "peak_host_mb": _peak_mb(), "peak_device_mb": device_peak})


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
    }


def _code(folder: str) -> str:
    """Hash of the package's sources: a checkout may be edited while it is measured."""
    digest = hashlib.sha256()
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(name for name in names if name.endswith(".py")):
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
    _trim()
    return {
        "seconds": seconds,
        "audio_seconds": audio.seconds,
        "stages": {name: max(0.0, value) for name, value in audio.timings.stages().items()},
        "host_mb": _host_mb(),
        "device_mb": _device_mb("memory_allocated"),
        "output": digest,
    }


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


def _trim() -> None:
    """Give free pages back, where the C library can (glibc). Else what it happens to hoard hides a leak."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _host_mb() -> float:
    """Resident memory, MiB; the peak where the system does not tell the present one."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB
    except FileNotFoundError:
        return _peak_mb()


def _peak_mb() -> float:
    unit = 1.0 if sys.platform == "darwin" else 1024.0  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def _device_mb(reading: str) -> float | None:
    """One of torch.cuda's memory counters, MiB; None without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(getattr(torch.cuda, reading)()) / MB


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
