"""The doctor: machine, packages, toggles and fitness in one report."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from engine.advisor import doctor
from engine.advisor.doctor import Ability, DoctorReport, Toggle
from engine.errors import DeviceError, EngineError
from engine.gate.data.machine_state import Finding, Preflight
from engine.gate.machine import Machine, describe
from engine.gate.preflight import check as preflight
from engine.options import Compile, Options
from tests.unit.gate.trees import machines
from tests.unit.gate.trees.machines import plant

ORIN = Ability("cuda", (8, 7), 16)
H100 = Ability("cuda", (9, 0), 132)
OLD_GPU = Ability("cuda", (7, 5), 68)
CPU = Ability("cpu", features=("avx2",))


def found(ability: Ability, option: str, value: str) -> Toggle:
    """One toggle, with the checks of a device that can do everything."""
    rows = doctor.toggles(ability, checks=())
    return next(row for row in rows if (row.option, row.value) == (option, value))


def diagnosed(tmp_path: Path, files: dict[str, str]) -> DoctorReport:
    """The report on a tree."""
    machine = describe(plant(tmp_path, files))
    fitness = preflight.check(machine, tmp_path, environ={}, busy=lambda: 0.0, modules={})
    return doctor.report(machine, fitness, tmp_path, checks=())


def printed(report: DoctorReport) -> str:
    """The report as a terminal of 100 columns shows it."""
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(doctor.render(report))
    return capture.get()


def test_every_value_of_every_option_is_in_the_report() -> None:
    """A new toggle needs no line in the doctor."""
    rows = doctor.toggles(CPU, checks=())
    assert {row.option for row in rows} == {field.name for field in dataclasses.fields(Options)}
    assert [row.value for row in rows if row.option == "compile"] == list(get_args(Compile))
    assert [row.value for row in rows if row.option == "reference_cache"] == ["off", "on"]
    assert [row.value for row in rows if row.option == "nfe"] == ["1 to 128"]


def test_what_the_engine_refuses_does_not_work() -> None:
    """The engine's own device checks are asked, and their words are the reason."""

    def refuse(options: Options, device: str) -> None:
        if options.compile != "off":
            raise DeviceError(f"compile on {device}", "a compiler", "Install one")

    rows = {row.value: row for row in doctor.toggles(CPU, checks=[refuse]) if row.option == "compile"}
    assert rows["off"].status == "works"
    assert (rows["default"].status, rows["default"].reason) == ("not", "needs a compiler")


def test_the_engines_own_checks_are_found() -> None:
    """At least that of int8, whose product is a CPU's, and says so."""
    with pytest.raises(EngineError, match="_int_mm"):
        _ = [check(Options(int8="dynamic"), "cuda") for check in doctor.device_checks()]


def test_a_value_that_needs_company_works_and_says_so() -> None:
    """A pruned grid exists for some step counts only."""
    row = found(CPU, "schedule", "epss")
    assert row.status == "works"
    assert row.reason.startswith("needs steps in 5")


def test_the_price_of_a_toggle_depends_on_the_device() -> None:
    """What works but brings nothing is told apart, with the reason."""
    for ability, option, value, status in (
        (CPU, "precision", "fp32", "works"),
        (CPU, "precision", "bf16", "price"),
        (CPU, "vocoder_precision", "fp16", "price"),
        (Ability("cpu", features=("amx_bf16",)), "precision", "bf16", "works"),
        (Ability("cpu", features=("asimdhp",)), "precision", "fp16", "works"),
        (ORIN, "precision", "bf16", "works"),
        (OLD_GPU, "precision", "bf16", "price"),
        (OLD_GPU, "precision", "fp16", "works"),
        (ORIN, "compile", "max-autotune", "price"),  # 16 multiprocessors
        (H100, "compile", "max-autotune", "works"),
        (CPU, "compile", "max-autotune", "works"),
    ):
        row = found(ability, option, value)
        assert row.status == status
        assert bool(row.reason) is (status == "price")


def test_packages_come_from_the_metadata() -> None:
    """Groups by extra; what is asked for and absent is named; other extras are left out."""
    asked = ["pydantic>=2", 'no-such-package; extra == "quality"', 'ruff>=0.9; extra == "dev"', "numpy[x]>=1"]
    groups = {group.group: group for group in doctor.grouped(asked)}
    assert set(groups["engine"].installed) == {"pydantic", "numpy"}
    assert groups["judges (optional)"].missing == ("no-such-package",)
    assert "ruff" not in str(groups)


def test_a_checkout_that_is_not_installed_is_missing() -> None:
    """Then there is no metadata to read the packages from."""
    (group,) = doctor.packages("no-such-distribution")
    assert group.missing == ("no-such-distribution",)


def test_a_compute_device_is_described_as_pytorch_sees_it() -> None:
    """Multiprocessors are counted on CUDA only."""
    torch = pytest.importorskip("torch")
    ability = doctor.able(("avx2",))
    assert ability.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (ability.multiprocessors > 0) is torch.cuda.is_available()


def test_only_unfit_is_exit_code_3(tmp_path: Path) -> None:
    """A warning and an unknown are no refusal."""
    for status, code in (
        ("ok", 0),
        ("warning", 0),
        ("unknown", 0),
        ("unfit", 3),
    ):
        fitness = Preflight(findings=(Finding(check="x", status=status, observed="a", expected="b"),))
        machine = describe(plant(tmp_path, machines.plain_pc()))
        assert doctor.report(machine, fitness, tmp_path, checks=()).exit_code == code


def test_the_report_survives_json(tmp_path: Path) -> None:
    """--json can be read back."""
    report = diagnosed(tmp_path, machines.orin(locked=False))
    assert DoctorReport.model_validate_json(report.model_dump_json()) == report
    assert report.machine_key == "jetson-agx-orin"
    assert report.exit_code == 3


def test_the_tables_fit_100_columns(tmp_path: Path) -> None:
    """Every check, cure and toggle is there, and no line is longer than the terminal."""
    trees = (machines.orin(), machines.orin(locked=False, celsius=90), machines.plain_pc())
    for number, files in enumerate(trees):
        report = diagnosed(tmp_path / str(number), files)
        text = printed(report)
        assert max(map(len, text.splitlines())) <= 100
        for finding in report.preflight.findings:
            assert finding.check in text
        for toggle in report.toggles:
            assert toggle.option in text
        assert report.machine_key in text
        assert ("Not fit to measure" in text) is not report.preflight.fit


def test_brackets_of_the_machine_are_text_and_no_markup(tmp_path: Path) -> None:
    """A process or a model may be called anything."""
    machine = Machine("", "[red]CPU[/]", "x86_64", 1, 1, (), "", False, ())
    finding = Finding(check="x", status="unfit", observed="python [/nothing] (7)", expected="none")
    text = printed(doctor.report(machine, Preflight(findings=(finding,)), tmp_path, checks=()))
    assert "python [/nothing] (7)" in text
    assert "[red]CPU[/]" in text
