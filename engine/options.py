"""Every optimisation is one field of `Options`: declared once, checked on construction."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from engine.errors import OptionsError

Precision = Literal["fp32", "bf16", "fp16"]
Compile = Literal["off", "default", "max-autotune"]
Schedule = Literal["uniform", "sway", "epss", "searched"]
Solver = Literal["euler", "midpoint", "heun"]
Int8 = Literal["off", "dynamic", "fused"]
Attention = Literal["auto", "math", "flash", "efficient", "cudnn", "fused"]
Linears = Literal["auto", "onednn"]
VocoderBackend = Literal["torch", "onnx", "tensorrt"]
Reading = Literal["auto", "raw", "chat"]
Guidance = Literal["packed", "separate", "interval", "reuse", "searched"]

EPSS_STEPS = (5, 6, 7, 10, 12, 16)
"""Step counts for which upstream's `get_epss_timesteps` has a pruned grid; it falls back silently for
others."""

EPSS_LAST = {5: 1 / 2, 6: 1 / 2, 7: 3 / 4, 10: 7 / 8, 12: 7 / 8, 16: 7 / 8}
"""Where the last step of each pruned grid begins, before it is swayed."""

GRIDS = Path(__file__).with_name("grids.json")
"""Time grids found by search, with the record of how they were found (`nox -s study -- grids` writes it)."""

PLANS = Path(__file__).with_name("plans.json")
"""Time grids with the strength of guidance at each step (`nox -s study -- plans` writes it)."""

SOLVER_STAGES = {"euler": 1, "midpoint": 2, "heun": 2}
"""Function evaluations that one step of each solver costs."""

NO_GUIDANCE = 1e-5
"""Guidance strengths below this evaluate the conditional half only: upstream's own threshold."""

MAX_NFE = 128


@functools.cache
def searched() -> dict[int, tuple[float, ...]]:
    """Searched grids: Euler steps -> times from 0 to 1, one more than steps."""
    record = json.loads(GRIDS.read_text(encoding="utf8"))
    return {int(steps): tuple(grid) for steps, grid in record["grids"].items()}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where Euler's steps lie, and how strongly each is guided.

    Attributes:
        times: from 0 to 1, one more than steps.
        strengths: of each step; 0 where it is not guided and costs half.
    """

    times: tuple[float, ...]
    strengths: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Sequences that go through the transformer, two for each guided step."""
        return sum(1 + (strength > 0) for strength in self.strengths)


@functools.cache
def planned() -> dict[int, Plan]:
    """Searched plans: Euler steps -> times and strengths."""
    record = json.loads(PLANS.read_text(encoding="utf8"))
    return {
        int(steps): Plan(tuple(plan["times"]), tuple(plan["strengths"]))
        for steps, plan in record["plans"].items()
    }


def _toggle(
    default: Any,
    help: str,
    *,
    lossless: bool | tuple[str, ...],
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare one option with its help, whether it keeps the result (or which values do), and its range."""
    return dataclasses.field(
        default=default, metadata={"help": help, "lossless": lossless, "low": low, "high": high}
    )


@dataclasses.dataclass(frozen=True)
class Options:
    """What is switched on. The defaults are upstream's own behaviour: slow and trusted.

    Raises:
        OptionsError: a value is not one of its choices, is out of range, or conflicts with another.
    """

    precision: Precision = _toggle("fp32", "number format of the transformer", lossless=False)
    vocoder_precision: Precision = _toggle(
        "fp32", "number format of the vocoder's backbone (its inverse STFT stays fp32)", lossless=False
    )
    int8: Int8 = _toggle(
        "off",
        "8-bit weights and activations in the transformer's blocks, scaled as they come; fused: with norms, "
        "gates and activations in the same pass (CPU)",
        lossless=False,
    )
    attention: Attention = _toggle(
        "auto",
        "the kernel that torch's attention is held to, or fused: our own, in bf16 (CPU)",
        lossless=("auto", "math", "flash", "efficient", "cudnn"),
    )
    linears: Linears = _toggle(
        "auto", "the library that multiplies fp32 linears: torch's choice or oneDNN (CPU)", lossless=True
    )
    vocoder_backend: VocoderBackend = _toggle(
        "torch", "what runs the vocoder's network: torch, ONNX Runtime, or TensorRT (CUDA)", lossless=True
    )
    compile: Compile = _toggle(
        "off", "torch.compile of the transformer's blocks and the vocoder", lossless=True
    )
    reference_cache: bool = _toggle(
        False, "keep conditioned reference clips, keyed by content", lossless=True
    )
    reference_seconds: float = _toggle(
        0.0,
        "longest reference clip: a longer one is cut at a silence, with its words; 0 keeps it whole",
        lossless=False,
        low=0.0,
        high=19.0,
    )
    buckets: bool = _toggle(False, "pad sequences up to a few lengths, masked (DiT backbones)", lossless=True)
    batch: int = _toggle(
        1, "sequences of synthesize_batch that are sampled together at most", lossless=True, low=1, high=16
    )
    first_piece: int = _toggle(
        0,
        "bytes of the first piece of a longer text, 30 or more; 0: like any other piece",
        lossless=False,
        low=0,
        high=1000,
    )
    reading: Reading = _toggle(
        "auto",
        "how texts are read: raw as upstream does, chat with figures, names and signs in words, auto as the "
        "checkpoint says",
        lossless=False,
    )
    nfe: int = _toggle(32, "function evaluations of the flow per piece", lossless=False, low=1, high=MAX_NFE)
    solver: Solver = _toggle(
        "euler", "of the flow; a step of midpoint or heun costs two evaluations", lossless=False
    )
    schedule: Schedule = _toggle(
        "sway",
        "time grid: uniform, sway, epss (pruned, with sway), or searched (found on the voice in the box)",
        lossless=False,
    )
    cfg_strength: float = _toggle(
        2.0, "classifier-free guidance strength; 0 switches guidance off", lossless=False, low=0.0, high=10.0
    )
    guidance: Guidance = _toggle(
        "packed",
        "its two halves in one batch or separate, only during an interval, reused every second time, or "
        "searched: at the steps and as strongly as was found best (with schedule=searched)",
        lossless=("packed", "separate"),
    )
    guidance_until: float = _toggle(
        0.5, "time at which guidance='interval' ends", lossless=False, low=0.01, high=1.0
    )
    hoist: bool = _toggle(
        False, "compute once what does not change from step to step (DiT backbones)", lossless=True
    )

    graphs: bool = _toggle(
        False,
        "one CUDA graph a length and batch, around whole evaluations (with buckets and hoist)",
        lossless=True,
    )

    streams: bool = _toggle(
        False,
        "the vocoder and page-locked copies beside the sampling of the next piece (CUDA)",
        lossless=True,
    )
    nvtx: bool = _toggle(
        False, "stages and evaluations named in NVIDIA's profilers; nothing gets faster (CUDA)", lossless=True
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check(field, hints[field.name], getattr(self, field.name))
        for clash, cause, cure in CONFLICTS:
            if clash(self):
                raise OptionsError(str(self), cause, cure)

    @classmethod
    def reference(cls) -> Options:
        """Upstream's behaviour: 32 steps, sway grid, fp32, nothing compiled, nothing cached."""
        return cls()

    @classmethod
    def jetson(cls) -> Options:
        """The set for a Jetson AGX Orin: NFE 8, fp16 with the vocoder, max-autotune, reference cache."""
        return cls(
            precision="fp16", vocoder_precision="fp16", compile="max-autotune", reference_cache=True, nfe=8
        )

    @classmethod
    def fast_cpu(cls) -> Options:
        """The fast set for this machine's CPU: 4 searched steps, nothing computed twice, and our own kernels
        where they can be built; elsewhere fp32 (DiT backbones)."""
        from engine import native

        steps = cls(reference_cache=True, hoist=True, nfe=4, schedule="searched", guidance="searched")
        return steps if native.missing() else dataclasses.replace(steps, int8="fused", attention="fused")

    @property
    def steps(self) -> int:
        """Solver steps of a piece."""
        return self.nfe // SOLVER_STAGES[self.solver]

    @property
    def guided(self) -> bool:
        """Whether the unconditional half is needed at all."""
        return self.cfg_strength >= NO_GUIDANCE

    @property
    def fused(self) -> bool:
        """Whether kernels of our own are asked for, which are for CPUs."""
        return "fused" in (self.int8, self.attention)

    @property
    def last_time(self) -> float:
        """When the flow of a piece is evaluated for the last time, from 0 (noise) to 1."""
        if self.solver == "heun":
            return 1.0
        start = EPSS_LAST[self.steps] if self.schedule == "epss" else 1 - 1 / self.steps
        end = 1.0
        if self.schedule == "searched":
            start = self.searched_times[-2]
        elif self.schedule != "uniform":
            start = 1 - math.cos(math.pi / 2 * start)
        return (start + end) / 2 if self.solver == "midpoint" else start

    @property
    def searched_times(self) -> tuple[float, ...]:
        """The times of a searched schedule: those of the plan where guidance was searched with them."""
        return planned()[self.nfe].times if self.guidance == "searched" else searched()[self.nfe]

    def changed(self) -> dict[str, Any]:
        """The fields that differ from upstream's behaviour."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    def only_lossless(self, other: Options) -> bool:
        """Whether the two sets differ by nothing that may change the result beyond rounding."""
        for field in dataclasses.fields(self):
            pair = getattr(self, field.name), getattr(other, field.name)
            keeps = field.metadata["lossless"]
            if pair[0] != pair[1] and not (keeps if isinstance(keeps, bool) else set(pair) <= set(keeps)):
                return False
        return True

    def __str__(self) -> str:
        """The changed fields, as one would type them: `nfe=7 schedule=epss`."""
        return " ".join(f"{name}={value}" for name, value in self.changed().items()) or "reference"

    @classmethod
    def parse(cls, text: str) -> Options:
        """Options from a preset's name, `name=value` pairs, or both: `fast_cpu compile=off`.

        Raises:
            OptionsError: an unknown preset or field, or a value that does not fit.
        """
        words = text.replace(",", " ").split()
        base = cls()
        if words and "=" not in words[0]:
            if words[0] not in PRESETS:
                raise OptionsError(
                    f"preset {words[0]!r}",
                    f"one of {', '.join(PRESETS)}",
                    "Name a preset, or write name=value",
                )
            base = getattr(cls, words.pop(0))()
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for word in words:
            name, _, value = word.partition("=")
            if name not in hints:
                raise OptionsError(
                    f"option {word!r}", f"name=value with a name of {', '.join(hints)}", "Correct it"
                )
            values[name] = _from_text(name, hints[name], value)
        return dataclasses.replace(base, **values)


PRESETS = ("reference", "jetson", "fast_cpu")

CONFLICTS: tuple[tuple[Callable[[Options], bool], str, str], ...] = (
    (
        lambda o: o.nfe % SOLVER_STAGES[o.solver] != 0,
        "an even nfe with solver='midpoint' or 'heun', whose steps take two evaluations",
        "Add or drop one evaluation, or use solver='euler'",
    ),
    (
        lambda o: o.schedule == "epss" and o.steps not in EPSS_STEPS,
        f"steps in {', '.join(map(str, EPSS_STEPS))} with schedule='epss' (no pruned grid exists for others)",
        "Use an nfe that gives one of those step counts, or schedule='sway'",
    ),
    (
        lambda o: o.schedule == "searched" and not (o.solver == "euler" and o.nfe in searched()),
        "solver='euler' and an nfe that has been searched with schedule='searched'",
        "Use one of the step counts in engine/grids.json, or schedule='sway'",
    ),
    (
        lambda o: o.guidance != "packed" and not o.guided,
        "a cfg_strength above 0 with any guidance but 'packed': at 0 there is none to arrange",
        "Raise cfg_strength, or use guidance='packed'",
    ),
    (
        lambda o: o.guidance != "interval" and "guidance_until" in o.changed(),
        "guidance='interval' with a guidance_until of one's own: nothing else reads it",
        "Add guidance='interval', or leave guidance_until at its default",
    ),
    (
        lambda o: o.guidance == "interval" and o.last_time < o.guidance_until,
        "guidance='interval' to end before the last evaluation: else it saves nothing",
        "Lower guidance_until, raise nfe, or use guidance='packed'",
    ),
    (
        lambda o: o.guidance == "interval" and o.guidance_until >= 1.0,
        "a guidance_until below 1: guidance that never ends saves nothing",
        "Lower guidance_until, or use guidance='packed'",
    ),
    (
        lambda o: o.guidance == "searched" and not (o.schedule == "searched" and o.nfe in planned()),
        "schedule='searched' and an nfe that has been searched with guidance='searched'",
        "Use one of the step counts in engine/plans.json, or guidance='packed'",
    ),
    (
        lambda o: o.guidance == "searched" and "cfg_strength" in o.changed(),
        "no cfg_strength of one's own with guidance='searched', which has a strength for each step",
        "Drop one of the two",
    ),
    (
        lambda o: o.guidance == "reuse" and o.nfe < 2,
        "two evaluations or more with guidance='reuse', which reuses the first one's direction",
        "Raise nfe, or use guidance='packed'",
    ),
    (
        lambda o: o.fused and not o.hoist,
        "hoist with int8='fused' or attention='fused', which stand in the forward pass that it brings",
        "Add hoist=True",
    ),
    (
        lambda o: o.int8 == "fused" and o.precision != "fp32",
        "precision='fp32' with int8='fused', which rounds by itself",
        "Drop one of the two",
    ),
    (
        lambda o: o.fused and (o.precision == "fp16" or o.compile != "off"),
        "compile='off' and fp32 or bf16 with int8='fused' or attention='fused': kernels of our own",
        "Drop one of the two",
    ),
    (
        lambda o: o.linears != "auto" and (o.precision != "fp32" or o.compile != "off" or o.int8 != "off"),
        "precision='fp32', compile='off' and int8='off' with linears: it multiplies plain fp32 linears",
        "Drop one of the two",
    ),
    (
        lambda o: o.attention == "math" and o.compile != "off",
        "another attention than 'math' with compile, which takes that one apart",
        "Use attention='auto', or compile='off'",
    ),
    (
        lambda o: o.vocoder_backend == "onnx" and o.vocoder_precision != "fp32",
        "vocoder_precision='fp32' with vocoder_backend='onnx', which is exported in fp32",
        "Drop one of the two",
    ),
    (
        lambda o: o.graphs and not (o.buckets and o.hoist),
        "buckets and hoist with graphs: a graph is of one length, and records what never makes the host wait",
        "Add buckets=True hoist=True, or use graphs=False",
    ),
    (
        lambda o: o.streams and o.vocoder_backend == "onnx",
        "vocoder_backend='torch' or 'tensorrt' with streams: ONNX Runtime makes the host wait",
        "Use one of them, or streams=False",
    ),
    (
        lambda o: 0 < o.first_piece < 30,
        "0 or at least 30 bytes for first_piece (a piece of a word or two is stretched)",
        "Use first_piece=40, or 0 to leave it out",
    ),
    (
        lambda o: 0 < o.reference_seconds < 1,
        "0 or at least 1 second for reference_seconds",
        "Use reference_seconds=4, or 0 to keep the whole clip",
    ),
)
"""Pairs that cannot work together on any machine: test, what was expected, cure. `load` adds the device's
own."""


def _check(field: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    """Raise unless `value` fits the declaration of `field`."""
    given = f"{field.name}={value!r}"
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise OptionsError(given, f"one of {', '.join(get_args(hint))}", "Choose one of them")
        return
    allowed = (int, float) if hint is float else (hint,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise OptionsError(given, f"a value of type {hint.__name__}", "Pass one")
    low, high = field.metadata["low"], field.metadata["high"]
    if low is not None and not low <= value <= high:  # NaN fails too
        raise OptionsError(given, f"a number from {low} to {high}", "Choose one in that range")


def _from_text(name: str, hint: Any, value: str) -> Any:
    """The typed value that `value` spells."""
    try:
        if hint is bool:
            return {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}[
                value.lower()
            ]
        return hint(value) if hint in (int, float) else value
    except (KeyError, ValueError):
        raise OptionsError(
            f"{name}={value}",
            "on or off" if hint is bool else f"a value of type {hint.__name__}",
            "Correct it",
        ) from None
