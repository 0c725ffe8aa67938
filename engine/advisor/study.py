"""A whole study on this machine: profile, candidates, trials in processes of their own, and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.advisor import doctor
from engine.advisor.bench import Bench, Watch
from engine.advisor.candidates import compatible, enumerate_all
from engine.advisor.doctor import DoctorReport
from engine.advisor.jury import Jury
from engine.advisor.recommend import check_numbers, recommend
from engine.advisor.recommend_record import Findings, Report
from engine.advisor.trials import Study
from engine.gate import machine as machines
from engine.gate.data.samples import Arm
from engine.gate.data.workloads import Sentence
from engine.gate.measure import process, revisions
from engine.gate.measure.process import Instrument, Target
from engine.gate.run import find_material
from engine.options import Options

if TYPE_CHECKING:
    from engine.advisor.profiling import Profile

SEED = 7


def study(
    checkpoint: str,
    options: Options,
    text: str,
    *,
    target: float,
    budget: float,
    tried: bool = True,
    watch: Watch = lambda doing, seconds: None,
) -> Report:
    """Profile a configuration on this machine, try the toggles that can work here, and say what to do next.

    Args:
        checkpoint: a name, a folder or a weight file.
        options: the present configuration.
        text: what is spoken, in the checkpoint's first voice.
        target: the real-time factor to reach.
        budget: seconds for all of it; the profile is made in any case.
        tried: whether toggles are tried at all.
        watch: is told what is being done, and after how many seconds.

    Raises:
        EngineError: the checkpoint, the options, the text or a number cannot be used.
    """
    check_numbers(target, budget)
    start = time.monotonic()
    import engine
    from engine.advisor import profiling

    watch("profiling the present configuration", 0.0)
    with engine.load(checkpoint, options) as tts:
        profile = profiling.profile(tts, text)
    machine = machines.describe()
    examined = doctor.report(machine)
    passed = time.monotonic() - start
    findings = Findings(options=str(options), budget=budget, spent=passed)
    if tried and passed < budget:
        ability = doctor.able(machine.features)
        sentence = Sentence(name="text", text=text, seed=SEED)
        found = _tried(
            checkpoint, options, sentence, ability, profile, budget - passed, profile.rtf / target,
            lambda doing, seconds: watch(doing, passed + seconds),
        )  # fmt: skip
        findings = found.model_copy(update={"budget": budget, "spent": time.monotonic() - start})
    return recommend(profile, findings, target, lacks(examined, findings))


def _tried(
    checkpoint: str,
    options: Options,
    sentence: Sentence,
    ability: doctor.Ability,
    profile: Profile,
    budget: float,
    required: float,
    watch: Watch,
) -> Findings:
    """What the trials of all candidates show."""
    with tempfile.TemporaryDirectory(prefix="ishowtts-trials-") as scratch:
        bench, clip_seconds = equipped(checkpoint, options, sentence, ability.device, Path(scratch))
        candidates, refused = enumerate_all(options, ability.device, clip_seconds, ability=ability)
        made = Study(dataclasses.replace(bench, watch=watch), options, profile, budget, required)
        return made.run(candidates, refused)


def equipped(
    checkpoint: str, current: Options, sentence: Sentence, device: str, outputs: Path
) -> tuple[Bench, float]:
    """What real trials are made with, and the seconds of the reference clip."""
    import soundfile

    material = find_material(checkpoint)
    root = revisions.checkout()
    here, dirty = revisions.describe(root)
    checks = doctor.device_checks()

    @contextlib.contextmanager
    def opened(options: Options, seconds: float) -> Iterator[Instrument]:
        arm: Arm = "base" if options == current else "candidate"
        target = Target(root, here, dirty, str(options))
        with (
            process.opener({arm: target}, material, outputs=outputs, timeout=seconds) as open_worker,
            open_worker(arm) as handle,
        ):
            yield handle

    jury = Jury(material, current, opened, outputs)
    bench = Bench(
        sentence,
        opened,
        jury.hear,
        jury.moved,
        lambda options: not compatible(options, device, checks),
    )
    return bench, float(soundfile.info(material.clip).duration)


def lacks(found: DoctorReport, findings: Findings) -> list[str]:
    """What keeps this machine back: its state, packages, and toggles that cannot run or cannot pay here."""
    states = [
        f"{status}: {one.check}, {one.observed}. {one.cure}"
        for status in ("unfit", "warning")
        for one in found.preflight.having(status)
    ]
    packages = [f"missing: {', '.join(one.missing)} ({one.group})" for one in found.packages if one.missing]
    compiler = [] if found.compiler else ["missing: a C++ compiler. Install g++"]
    failed = [f"failed: {trial.name}, {trial.error}" for trial in findings.trials if trial.error]
    toggles = [
        f"{word}: {one.option}={one.value}, {one.reason}"
        for status, word in (("not", "cannot run"), ("price", "slow here"))
        for one in found.toggles
        if one.status == status
    ]
    return [*states, *compiler, *packages, *failed, *toggles]
