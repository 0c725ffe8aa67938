"""What machine is this, is it fit to measure, what is installed, and which toggles can work here."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import JsonValue
from rich.console import Group
from rich.table import Table
from rich.text import Text

from engine.errors import EngineError, OptionsError
from engine.gate import machine as machines
from engine.gate.data.machine_state import Preflight
from engine.gate.data.workloads import Frozen
from engine.gate.preflight import check as preflight
from engine.gate.preflight import readers
from engine.options import Options

Check = Callable[[Options, str], object]
"""Raises an `EngineError` where a device (`cpu`, `cuda`) cannot serve the options."""

DISTRIBUTION = "ishowtts-engine"
GROUPS = {"": "engine", "gate": "gate", "quality": "judges (optional)"}
"""The extras whose packages are listed, and what they are for."""
COMPILERS = ("g++", "clang++", "c++")
MANY_MULTIPROCESSORS = 68
"""torch._inductor.utils.is_big_gpu: below, max-autotune does not try its matrix product templates."""
NATIVE_CPU = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "fp16": ("avx512_fp16", "asimdhp"),
}
"""CPU features that compute in the format; without one PyTorch converts to fp32 and back."""
GLANCE = 0.1
"""Seconds for which other programs are watched where an answer at once is worth more than a fine one."""
MORE = "\nWhich toggles work here? Add --toggles: each value is tried on the device."
WORDS = {"works": "works", "price": "at a price", "not": "does not work"}
COLOURS = {
    "ok": "green", "warning": "yellow", "unfit": "red", "unknown": "dim",
    "works": "green", "price": "yellow", "not": "red",
}  # fmt: skip


class Packages(Frozen):
    """The packages of one group: name to version, and those that are absent."""

    group: str
    installed: dict[str, str]
    missing: tuple[str, ...]


class Toggle(Frozen):
    """One value of one option on this machine: `works`, works at a `price`, or does `not` work, and why."""

    option: str
    value: str
    status: Literal["works", "price", "not"]
    reason: str = ""


class DoctorReport(Frozen):
    """Everything the doctor found; without `device` and `toggles` where none was tried."""

    machine_key: str
    machine: dict[str, JsonValue]
    device: str
    compiler: str
    packages: tuple[Packages, ...]
    toggles: tuple[Toggle, ...]
    preflight: Preflight

    @property
    def exit_code(self) -> Literal[0, 3]:
        """0 if the machine is fit to measure, 3 if not."""
        return 0 if self.preflight.fit else 3


@dataclasses.dataclass(frozen=True)
class Ability:
    """What the device can do: kind, CUDA capability, multiprocessors (0 on a CPU), and the CPU's features."""

    device: str
    capability: tuple[int, int] = (0, 0)
    multiprocessors: int = 0
    features: tuple[str, ...] = ()


def report(
    machine: machines.Machine | None = None,
    fitness: Preflight | None = None,
    root: Path = machines.ROOT,
    checks: Sequence[Check] | None = None,
    *,
    tried: bool = True,
) -> DoctorReport:
    """Look at the machine under `root`; uses no network and loads no weights.

    Args:
        machine: from `engine.gate.machine.describe`; described now if not given.
        fitness: a preflight that was made already; made now if not given.
        root: `/`, or a recorded tree.
        checks: what may refuse options on a device; the engine's own if not given.
        tried: whether every value of every toggle is tried on the device, which takes PyTorch and seconds.
    """
    machine = machine or machines.describe(root)
    ability = able(machine.features) if tried else None
    glance = functools.partial(readers.other_cpu_use, GLANCE)
    return DoctorReport(
        machine_key=machine.key,
        machine=machine.facts(),
        device=ability.device if ability else "",
        compiler=next((found for name in COMPILERS if (found := shutil.which(name))), ""),
        packages=packages(),
        toggles=toggles(ability, checks) if ability else (),
        preflight=fitness or preflight.check(machine, root, busy=readers.other_cpu_use if tried else glance),
    )


def able(features: tuple[str, ...]) -> Ability:
    """What PyTorch sees: the first CUDA device, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return Ability("cpu", features=features)
    properties = torch.cuda.get_device_properties(0)
    return Ability(
        "cuda", (properties.major, properties.minor), properties.multi_processor_count, features=features
    )


def packages(distribution: str = DISTRIBUTION) -> tuple[Packages, ...]:
    """The packages that a distribution asks for, or the distribution itself as missing."""
    if not machines.package_version(distribution):
        return (Packages(group=GROUPS[""], installed={}, missing=(distribution,)),)
    return grouped(metadata.requires(distribution) or ())


def grouped(requirements: Iterable[str]) -> tuple[Packages, ...]:
    """Requirements as metadata spells them (`jiwer>=3; extra == "quality"`), by the extras in `GROUPS`."""
    asked: dict[str, dict[str, str]] = {extra: {} for extra in GROUPS}
    for requirement in requirements:
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == ['\"]([\w-]+)", requirement)
        if name and (group := extra[1] if extra else "") in asked:
            asked[group][name[0]] = machines.package_version(name[0])
    return tuple(
        Packages(
            group=GROUPS[extra],
            installed={name: version for name, version in found.items() if version},
            missing=tuple(name for name, version in found.items() if not version),
        )
        for extra, found in asked.items()
    )


def toggles(ability: Ability, checks: Sequence[Check] | None = None) -> tuple[Toggle, ...]:
    """Every value of every option, tried against the engine's own device checks."""
    checks = device_checks() if checks is None else checks
    hints = get_type_hints(Options)
    return tuple(
        _toggle(field.name, value, ability, checks) if len(values) > 1 else _range(field)
        for field in dataclasses.fields(Options)
        for values in [_values(hints[field.name])]
        for value in values
    )


def device_checks() -> tuple[Check, ...]:
    """The `check_device(options, device)` of every optimisation that has one."""
    from engine import optimizations

    names = [module.name for module in pkgutil.iter_modules(optimizations.__path__)]
    modules = [importlib.import_module(f"{optimizations.__name__}.{name}") for name in names]
    return tuple(module.check_device for module in modules if hasattr(module, "check_device"))


def _values(hint: Any) -> tuple[Any, ...]:
    """The values of a choice or a switch; a number counts as one."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return (False, True) if hint is bool else (None,)


def _range(field: dataclasses.Field[Any]) -> Toggle:
    low, high = field.metadata["low"], field.metadata["high"]
    return Toggle(option=field.name, value=f"{low:g} to {high:g}", status="works")


def _toggle(name: str, value: Any, ability: Ability, checks: Sequence[Check]) -> Toggle:
    shown = ("on" if value else "off") if isinstance(value, bool) else str(value)
    try:
        options = Options(**{name: value})
    except OptionsError as conflict:  # it works, in company
        return Toggle(option=name, value=shown, status="works", reason=f"needs {conflict.expected}")
    try:
        for check in checks:
            check(options, ability.device)
    except EngineError as problem:
        return Toggle(option=name, value=shown, status="not", reason=f"needs {problem.expected}")
    reason = price(name, value, ability)
    return Toggle(option=name, value=shown, status="price" if reason else "works", reason=reason)


def price(name: str, value: Any, ability: Ability) -> str:
    """Why a value that works here may bring nothing; empty if nothing is known."""
    if ability.device == "cpu":
        native = NATIVE_CPU.get(value, ()) if name.endswith("precision") else ()
        slow = bool(native) and not set(native) & set(ability.features)
        return f"converted to fp32 and back: this CPU has none of {', '.join(native)}" if slow else ""
    if value == "bf16" and ability.capability < (8, 0):
        return "emulated: native from compute capability 8.0"
    if value == "max-autotune" and ability.multiprocessors < MANY_MULTIPROCESSORS:
        count = ability.multiprocessors
        return f"no matrix product templates: {count} of {MANY_MULTIPROCESSORS} multiprocessors"
    return ""


def render(found: DoctorReport) -> Group:
    """The report as tables for a terminal of 100 columns."""
    tables = [_machine_table(found), _fitness_table(found.preflight)]
    return Group(*tables, _toggle_table(found.toggles) if found.toggles else Text(MORE, "dim"))


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A plain table. Cells are no markup: a process may be called anything."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number < 2 and bool(heading))
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _machine_table(found: DoctorReport) -> Table:
    facts = found.machine
    rows = {
        "key": found.machine_key,
        "name": str(facts["board"] or facts["cpu"]),
        "cores, memory": f"{facts['cores']} {facts['architecture']}, {facts['memory_mb']} MiB",
        "GPU": ", ".join(map(str, facts["gpus"])) if isinstance(facts["gpus"], list) else "",
        "power mode": str(facts["power_mode"]),
        "runs on": found.device,  # only torch knows
        "C++ compiler": found.compiler or "none: install g++",
        **{group.group: _listed(group) for group in found.packages},
    }
    return _table("Machine", ("", ""), [(name, value) for name, value in rows.items() if value])


def _listed(group: Packages) -> str:
    have = ", ".join(f"{name} {version}" for name, version in group.installed.items())
    return have + (f"{'; ' if have else ''}missing: {', '.join(group.missing)}" if group.missing else "")


def _fitness_table(found: Preflight) -> Table:
    rows = [
        (f.check, Text(f.status, COLOURS[f.status]), f.observed, f.expected, f.cure) for f in found.findings
    ]
    title = "Fit to measure" if found.fit else "Not fit to measure"
    return _table(f"\n{title}", ("check", "status", "observed", "expected", "cure"), rows)


def _toggle_table(found: Sequence[Toggle]) -> Table:
    names = [
        t.option if t.option != before else ""
        for t, before in zip(found, ["", *(t.option for t in found)], strict=False)
    ]
    rows = [
        (name, t.value, Text(WORDS[t.status], COLOURS[t.status]), t.reason)
        for name, t in zip(names, found, strict=True)
    ]
    return _table("\nToggles", ("option", "value", "here", "why"), rows)
