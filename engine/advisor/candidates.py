"""Which toggles are worth a trial on this machine, and why the others are not: derived from `Options`.

Each candidate changes one thing on top of the present configuration. What it can touch is data, so that
Amdahl's law bounds its gain before anything is measured: a stage that vanished altogether would save its
share of the time and no more.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Literal, get_args, get_origin, get_type_hints

from engine.advisor import doctor
from engine.errors import EngineError, OptionsError
from engine.gate.data.workloads import Frozen
from engine.options import EPSS_STEPS, Options, planned, searched

STAGES = ("reference", "text", "sampling", "vocoder", "other")
"""`Timings.stages`: every part of a request."""

TOUCHES: Mapping[str, tuple[str, ...]] = {
    "precision": ("sampling",),
    "vocoder_precision": ("vocoder",),
    "int8": ("sampling",),
    "attention": ("sampling",),
    "linears": ("sampling",),
    "vocoder_backend": ("vocoder",),
    "compile": ("sampling", "vocoder"),
    "reference_cache": ("reference",),
    "reference_seconds": ("reference", "text", "sampling"),
    "buckets": ("sampling",),
    "batch": (),
    "first_piece": (),
    "reading": (),
    "nfe": ("sampling",),
    "solver": ("sampling",),
    "schedule": ("sampling",),
    "cfg_strength": ("sampling",),
    "guidance": ("sampling",),
    "guidance_until": ("sampling",),
    "hoist": ("sampling",),
    "graphs": ("sampling", "vocoder"),
    "streams": ("vocoder",),
    "nvtx": (),
}
"""The stages whose time an option can change at all; an option without any serves another call."""

PROVEN_BY: Mapping[str, str] = {"guidance_until": "guidance"}
"""Options without evidence of their own, and the one whose evidence looks at them."""

ELSEWHERE: Mapping[str, str] = {
    "batch": "it serves synthesize_batch: a single request is never batched",
    "first_piece": "it brings stream's first sound forward: the whole text takes no less time",
    "nvtx": "it names what a profiler shows: nothing gets faster",
    "reading": "it changes what is said, not how long the model takes for it",
    "solver": "it changes where the flow is evaluated, not how often: no time to win at the same nfe",
    "schedule": "it changes when the flow is evaluated, not how often; it is tried together with nfe",
    "guidance_until": "it is read with guidance=interval, which is tried with its default",
}
"""Why an option is no candidate by itself."""

NO_GUIDANCE = 0.0
"""The one value of cfg_strength that saves work."""
REFERENCE_SECONDS = 4.0
"""To which a longer clip is cut: what `Options` itself advises."""
DISTRIBUTION = doctor.DISTRIBUTION


class Refused(Frozen):
    """A value that was not tried: its name as one would type it, and the reason."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One change to the present configuration.

    Attributes:
        changes: option -> value, and `name` as one would type them.
        options: the whole set.
        touches: stages whose time it can change.
        floor: the share of their time that must be left (the evaluations that remain); 0 where unknown.
        lossless: by the declaration of the options.
        needs: what it asks for beside a switch: a compilation, an extra, patience with an emulated format.
    """

    changes: Mapping[str, Any]
    options: Options
    touches: tuple[str, ...]
    floor: float
    lossless: bool
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """As one would type it: `nfe=7 schedule=epss`."""
        return typed(self.changes)


def enumerate_all(
    current: Options,
    device: str,
    clip_seconds: float,
    checks: Sequence[doctor.Check] | None = None,
    ability: doctor.Ability | None = None,
) -> tuple[list[Candidate], list[Refused]]:
    """Every option with values worth a trial, and those that cannot work or cannot help, with the reason.

    Args:
        current: the configuration that is to be made faster.
        device: `cpu` or `cuda`.
        clip_seconds: length of the voice's reference clip.
        checks: what may refuse options on a device; the engine's own if not given.
        ability: what the device can do natively; nothing but its kind if not given.
    """
    checks = doctor.device_checks() if checks is None else checks
    ability = ability or doctor.Ability(device)
    found, refused = list[Candidate](), list[Refused]()
    for changes in _worth_trying(current):
        why = _useless(changes, clip_seconds)
        made = why or _made(current, changes, ability, checks)
        if isinstance(made, str):
            refused.append(Refused(name=typed(changes), reason=made))
        else:
            found.append(made)
    refused += [Refused(name=name, reason=why) for name, why in ELSEWHERE.items()]
    if not any(_fewer_evaluations(current)):
        refused.append(Refused(name="nfe", reason=f"no grid of fewer than {current.nfe} steps was searched"))
    return found, refused


def amdahl(stages: Mapping[str, float], touches: Iterable[str], floor: float = 0.0) -> float:
    """The most that a change to some stages can speed up the whole; infinite if they are all of it.

    Args:
        stages: stage -> seconds.
        touches: the stages that change.
        floor: the share of their time that is left at least.
    """
    whole, touched = sum(stages.values()), sum(stages.get(stage, 0.0) for stage in set(touches))
    left = whole - (1 - floor) * touched
    return whole / left if left > 1e-9 * whole else math.inf


def in_turn(candidates: Sequence[Candidate], stages: Mapping[str, float]) -> list[Candidate]:
    """The order of trials: one value of every option before the second of any; of those, what leaves work out
    for sure, then by Amdahl's bound. What has its price goes last: a compilation could take all the time."""
    order = sorted(candidates, key=lambda one: -amdahl(stages, one.touches, one.floor))
    seen: Counter[str] = Counter()
    places = {}
    for one in order:
        places[one.name] = seen[next(iter(one.changes))]
        seen[next(iter(one.changes))] += 1
    return sorted(order, key=lambda one: (bool(one.needs), places[one.name], not one.floor))


def compatible(options: Options, device: str, checks: Sequence[doctor.Check]) -> str:
    """Why this device cannot serve these options, or nothing."""
    try:
        for check in checks:
            check(options, device)
    except EngineError as problem:
        return f"needs {problem.expected}"
    return ""


def typed(changes: Mapping[str, Any]) -> str:
    """Options as one would type them: `hoist=on nfe=7`."""
    return " ".join(
        f"{name}={('on' if value else 'off') if isinstance(value, bool) else value}"
        for name, value in changes.items()
    )


def _worth_trying(current: Options) -> Iterator[dict[str, Any]]:
    """Changes to one option, in the order of their declaration; nfe brings its schedule along."""
    hints = get_type_hints(Options)
    for field in dataclasses.fields(Options):
        if field.name in ELSEWHERE:
            continue
        now = getattr(current, field.name)
        if field.name == "nfe":
            yield from _fewer_evaluations(current)
        elif field.name == "graphs":  # bring along what they cannot do without
            needed = {name: True for name in ("graphs", "buckets", "hoist") if not getattr(current, name)}
            yield from [needed] if "graphs" in needed else [{"graphs": False}]
        else:
            values = [value for value in _values(field.name, hints[field.name]) if value != now]
            yield from ({field.name: value, **_company(value, current)} for value in values)


def _company(value: Any, current: Options) -> dict[str, Any]:
    """What a value brings along: fused kernels stand in the forward pass of `hoist`, and searched guidance
    has times and steps of its own."""
    if value == "fused":
        return {} if current.hoist else {"hoist": True}
    if value != "searched":
        return {}
    fewer = [steps for steps in planned() if steps <= current.nfe]
    wanted = {"schedule": "searched", "nfe": max(fewer, default=current.nfe)}
    return {name: one for name, one in wanted.items() if getattr(current, name) != one}


def _values(name: str, hint: Any) -> tuple[Any, ...]:
    """The values of a choice or a switch, and those of a number that can save time."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if hint is bool:
        return (False, True)
    return {"cfg_strength": (NO_GUIDANCE,), "reference_seconds": (REFERENCE_SECONDS,)}[name]


def _fewer_evaluations(current: Options) -> Iterator[dict[str, Any]]:
    """Fewer evaluations on the best grid there is for so many: a searched one, else a pruned one."""
    grids = searched()
    for steps in sorted({*grids, *EPSS_STEPS}, reverse=True):
        if steps < current.nfe:
            changes = {"nfe": steps, "schedule": "searched" if steps in grids else "epss"}
            yield changes if current.solver == "euler" else {**changes, "solver": "euler"}


def _useless(changes: Mapping[str, Any], clip_seconds: float) -> str:
    """Why a change that works cannot help here, or nothing."""
    longest = changes.get("reference_seconds", 0.0)
    return f"the reference clip has only {clip_seconds:.1f} s" if longest >= clip_seconds else ""


def _made(
    current: Options, changes: Mapping[str, Any], ability: doctor.Ability, checks: Sequence[doctor.Check]
) -> Candidate | str:
    """The candidate, or why there is none."""
    try:
        options = dataclasses.replace(current, **changes)
    except OptionsError as conflict:
        return f"needs {conflict.expected}"
    problem = compatible(options, ability.device, checks)
    if problem:
        return problem
    return Candidate(
        changes=dict(changes),
        options=options,
        touches=tuple(stage for stage in STAGES if any(stage in TOUCHES[name] for name in changes)),
        floor=options.nfe / current.nfe if "nfe" in changes else 0.0,
        lossless=options.only_lossless(current),
        needs=tuple(_needs(changes, ability)),
    )


def _needs(changes: Mapping[str, Any], ability: doctor.Ability) -> Iterator[str]:
    """What a change asks for: a compilation, the extra that is named like its value, a device for it."""
    yield from (why for name, value in changes.items() if (why := doctor.price(name, value, ability)))
    if changes.get("compile", "off") != "off":
        yield "compiles at first use"
    extras = _extras()
    yield from (f"extra {value}" for value in changes.values() if value in extras)


def _extras() -> list[str]:
    """The extras that the package declares; none where it is not installed."""
    try:
        return metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
