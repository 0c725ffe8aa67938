"""The screen: fits a terminal, says what was measured, and what is missing."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from engine.advisor.candidates import Refused
from engine.advisor.recommend import recommend
from engine.advisor.recommendation import Findings, Recommendation, Trial
from engine.advisor.screen import ranking, render
from engine.gate.data.machine_state import Finding, Preflight
from tests.unit.advisor.made_up import BAD, WELL, found, idle, profiled, trial
from tests.unit.advisor.test_recommend import checked


def shown(content: Any, width: int = 100) -> str:
    """What a terminal of so many columns shows."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(content)
    return stream.getvalue()


def crowded() -> Recommendation:
    """Thirty toggles of every outcome, a long text, and a machine that lacks much."""
    trials = [
        *(trial(f"fast={number}", {"sampling": 0.5 + 0.02 * number}, sound=WELL) for number in range(12)),
        *(trial(f"slow={number}", {"sampling": 1.5}) for number in range(8)),
        trial("[red]odd", {"vocoder": 1.0}),
        trial("wrong=on", {"sampling": 0.2}, sound=BAD),
        trial("idle=on", {"sampling": 0.2}, **idle("idle", "it was never called")),
        Trial(name="broken=on", options="broken", error="DeviceError: no such kernel"),
    ]
    late = tuple(
        Refused(name=f"late={number} schedule=searched", reason="no time was left in the budget")
        for number in range(40)
    )
    whole = trial("all", {"sampling": 0.4}, runs=3, options="fast=0 " * 12)
    findings = found(*trials, untried=late, parts=("fast=0",), whole=whole, budget=60.0)
    return recommend(
        profiled(), findings, 0.36, [f"unfit: thing {number}, " + "x" * 200 for number in range(9)]
    )


def test_it_fits_one_screen() -> None:
    """A hundred columns and about forty lines, whatever there is to say."""
    for report in (
        crowded(),
        checked({"sampling": 0.5}),
        recommend(profiled(), Findings(options="reference"), 0.36),
    ):
        lines = shown(render(report)).splitlines()
        assert len(lines) <= 43
        assert max(map(len, lines)) <= 100


def test_it_says_where_the_time_goes_and_what_is_asked_for() -> None:
    """RTF, target, required speed-up; a bar as long as the stage's share; operators."""
    text = shown(render(crowded()))
    assert "RTF 0.720  target 0.36: 2.00 times as fast" in text
    bars = {line.split()[0]: line.count("█") for line in text.splitlines() if "%" in line and "█" in line}
    assert bars["sampling"] == 28
    assert bars["vocoder"] == 4
    assert "aten::addmm" in text
    assert "x3.33" in text  # Amdahl's bound of a stage that takes 70 %


def test_the_three_best_are_a_table_and_every_other_toggle_is_named_with_its_outcome() -> None:
    """Faster, worse, slower, idle, failed, late: nothing is left out in silence."""
    text = " ".join(shown(render(crowded())).split())
    for said in (
        "1 fast=0 x1.54",
        "3 fast=2",
        "faster (9) fast=3 x1.4",
        "sounds worse (1) wrong=on",
        "nothing (1) [red]odd x1.00",
        "slower (8) slow=0 x0.74",
        "not engaged (1) idle=on",
        "failed (1) broken=on",
        "no time (40) late=0",
    ):
        assert said in text
    assert "4 fast=3" not in text


def test_the_best_set_shows_promise_and_outcome() -> None:
    """The prediction, what happened, and the error between them."""
    text = " ".join(shown(render(checked({"sampling": 0.5, "vocoder": 0.5}))).split())
    assert "promised x1.67, happened x1.67" in text
    assert "error +0%" in text or "error -0%" in text
    assert "The target is met by the combination." in text
    assert 'nox -s perf -- --options "hoist=True" --against-options "reference"' in text


def test_a_set_that_was_not_run_says_why() -> None:
    """No figure, and the reason in its place."""
    broken = Trial(name="both", options="hoist=True", error="it ran out of memory")
    findings = found(trial("hoist=on", {"sampling": 0.5}), parts=("hoist=on",), whole=broken)
    assert "not run: it ran out of memory" in shown(render(recommend(profiled(), findings, 0.36)))


def test_what_is_missing_is_named_and_the_rest_counted() -> None:
    """The first few, then where the others are."""
    text = shown(render(crowded()))
    assert "unfit: thing 0" in text
    assert "unfit: thing 4" not in text
    assert "and 5 more: ishowtts doctor --toggles" in text


def test_without_trials_it_says_so() -> None:
    """A profile alone is no recommendation."""
    text = shown(render(recommend(profiled(), Findings(options="reference"), 0.36)))
    assert "No toggle was tried." in text
    assert "ishowtts profile --target 0.36" in text


def test_the_ranking_can_be_shown_whole() -> None:
    """Every toggle that spoke, in its place, with its price."""
    report = crowded()
    text = shown(ranking(report), width=140)
    assert len(text.splitlines()) == len(report.rows) + 1
    assert text.splitlines()[-1].split()[:2] == [str(len(report.rows)), "idle=on"]


def test_the_machine_says_what_it_lacks() -> None:
    """Its state first, then packages, what failed, and what cannot run or cannot pay here."""
    from engine.advisor.doctor import DoctorReport, Packages, Toggle
    from engine.advisor.session import lacks

    hot = Finding(check="clocks", status="unfit", observed="not locked", expected="locked", cure="Lock them")
    examined = DoctorReport(
        machine_key="m", machine={}, device="cpu", compiler="",
        packages=(Packages(group="judges", installed={}, missing=("jiwer",)),),
        toggles=(
            Toggle(option="attention", value="cudnn", status="not", reason="needs CUDA"),
            Toggle(option="precision", value="bf16", status="price", reason="converted"),
            Toggle(option="hoist", value="on", status="works"),
        ),
        preflight=Preflight(findings=(hot,)),
    )  # fmt: skip
    failed = Trial(name="broken=on", options="broken", error="no such kernel")
    assert lacks(examined, found(failed)) == [
        "unfit: clocks, not locked. Lock them",
        "missing: a C++ compiler. Install g++",
        "missing: jiwer (judges)",
        "failed: broken=on, no such kernel",
        "cannot run: attention=cudnn, needs CUDA",
        "slow here: precision=bf16, converted",
    ]
