"""One session of the advisor: profile, candidates, small runs of the gate, and the recommendation."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine.advisor import doctor
from engine.advisor.candidates import compatible, enumerate_all
from engine.advisor.doctor import DoctorReport
from engine.advisor.recommend import check_numbers, recommend
from engine.advisor.recommendation import WORKLOAD, Findings, Recommendation
from engine.advisor.search import Search, Watch
from engine.advisor.small_runs import SmallRuns
from engine.gate import machine as machines
from engine.gate.data.workloads import Sentence
from engine.gate.scene import find_material
from engine.options import Options

if TYPE_CHECKING:
    from engine.advisor.profiling import Profile

SEED = 7


def advise(
    checkpoint: str,
    options: Options,
    text: str,
    *,
    target: float,
    budget: float,
    tried: bool = True,
    watch: Watch = lambda doing, seconds: None,
) -> Recommendation:
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
        findings = _searched(
            checkpoint, options, text, doctor.able(machine.features), profile, budget - passed, target,
            lambda doing, seconds: watch(doing, passed + seconds),
        )  # fmt: skip
        whole = {"budget": budget, "spent": passed + findings.spent}
        findings = findings.model_copy(update=whole)
    return recommend(profile, findings, target, lacks(examined, findings))


def _searched(
    checkpoint: str,
    options: Options,
    text: str,
    ability: doctor.Ability,
    profile: Profile,
    budget: float,
    target: float,
    watch: Watch,
) -> Findings:
    """What small runs of the candidates showed."""
    import soundfile

    material, checks = find_material(checkpoint), doctor.device_checks()
    clip_seconds = float(soundfile.info(material.clip).duration)
    candidates, refused = enumerate_all(options, ability.device, clip_seconds, ability=ability)
    with tempfile.TemporaryDirectory(prefix="ishowtts-advisor-") as scratch:
        sentence = Sentence(name=WORKLOAD, text=text, seed=SEED)
        runs = SmallRuns(material, options, sentence, Path(scratch))
        search = Search(
            runs,
            options,
            profile.stages,
            budget,
            profile.rtf / target,
            lambda together: not compatible(together, ability.device, checks),
            watch,
        )
        return search.run(candidates, refused)


def lacks(examined: DoctorReport, findings: Findings) -> list[str]:
    """What keeps this machine back: its state, packages, and toggles that cannot run or cannot pay here."""
    states = [
        f"{status}: {finding.check}, {finding.observed}. {finding.cure}"
        for status in ("unfit", "warning")
        for finding in examined.preflight.having(status)
    ]
    packages = [
        f"missing: {', '.join(group.missing)} ({group.group})" for group in examined.packages if group.missing
    ]
    compiler = [] if examined.compiler else ["missing: a C++ compiler. Install g++"]
    failed = [f"failed: {trial.name}, {trial.error}" for trial in findings.trials if trial.error]
    toggles = [
        f"{word}: {toggle.option}={toggle.value}, {toggle.reason}"
        for status, word in (("not", "cannot run"), ("price", "slow here"))
        for toggle in examined.toggles
        if toggle.status == status
    ]
    return [*states, *compiler, *packages, *failed, *toggles]
