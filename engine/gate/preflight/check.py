"""Is this machine fit to measure? An unfit machine gives "undecided", never a pass or a fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.gate.data.machine_state import AfterBlock, Finding, Preflight, Status
from engine.gate.data.snapshot import Readings
from engine.gate.machine import ROOT, Machine
from engine.gate.preflight import readers
from engine.gate.preflight.rules import AFTER_BLOCK, CHECKS, Scene
from engine.gate.preflight.speaking_rate import check_reference

__all__ = ["AfterBlock", "Finding", "Preflight", "Status", "after_block", "check", "check_reference"]


def check(
    machine: Machine,
    root: Path = ROOT,
    *,
    readings: Readings | None = None,
    environ: Mapping[str, str] | None = None,
    busy: Callable[[], float | None] = readers.other_cpu_use,
    reference: tuple[str, float] | None = None,
    modules: Mapping[str, Any] | None = None,
) -> Preflight:
    """Look at everything that can spoil a timing on this machine.

    Args:
        machine: from `engine.gate.machine.describe`.
        root: `/`, or a recorded tree.
        readings: what the sources said; read now if not given.
        environ: the environment variables; this process's if not given.
        busy: the share (0 to 1) of the CPU that other processes use now; None where it cannot be told.
        reference: transcript of the reference clip and the clip's seconds, to check the speaking rate.
        modules: what is loaded; this process's if not given. PyTorch is asked, and never loaded for it.
    """
    scene = Scene(
        machine=machine,
        root=root,
        readings=readings or readers.read(root),
        environ=os.environ if environ is None else environ,
        after_block=False,
        busy=busy(),
        torch=(sys.modules if modules is None else modules).get("torch"),
    )
    findings = [finding for look in CHECKS for finding in look(scene)]
    if reference is not None:
        findings.append(check_reference(*reference))
    return Preflight(findings=tuple(findings))


def after_block(
    block: int,
    machine: Machine,
    root: Path = ROOT,
    *,
    read: Callable[[Path], Readings] = readers.read,
    busy: Callable[[], float | None] = readers.other_cpu_use,
) -> AfterBlock:
    """Look again at what may have changed during a block: clocks, heat, throttling, and what others do.

    The gate's own processes have just ended, so locked clocks had no reason to fall: one below its limit is
    throttled. (On an idle machine it is not: clocks may rest.)

    Args:
        block: the block that has just ended, from 0.
        machine: from `engine.gate.machine.describe`.
        root: `/`, or a recorded tree.
        read: how the sources are read.
        busy: the share of the CPU that others used during the block, as a `readers.CpuMeter` tells it.
    """
    scene = Scene(machine, root, read(root), environ={}, after_block=True, busy=busy(), torch=None)
    return AfterBlock(block=block, findings=tuple(one for look in AFTER_BLOCK for one in look(scene)))
