"""The service's unit, its install script, and what watches it, as far as this machine has the tools."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from engine.evidence import Evidence
from engine.options import Options

FOLDER = Path(__file__).parents[3] / "deploy" / "service"
RULES = FOLDER / "prometheus" / "ishowtts.rules.yml"
DASHBOARD = FOLDER / "grafana" / "ishowtts.json"
TOOLS = {name: shutil.which(name) or "" for name in ("bash", "systemd-analyze", "promtool", "true")}
EXPOSURE = 20
"""Highest exposure that `systemd-analyze security` may find, in tenths: 100 is a process that may do all."""

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""

needs_bash = pytest.mark.skipif(not TOOLS["bash"], reason="bash is not installed")
needs_analyze = pytest.mark.skipif(not TOOLS["systemd-analyze"], reason="systemd-analyze is not installed")


class Quiet:
    """An engine on a card, with a toggle on, that has spoken nothing: the least that all gauges need."""

    device = "cuda:0"
    options = Options(hoist=True)

    def evidence(self) -> dict[str, Evidence]:
        """Nothing was seen yet."""
        return {"hoist": Evidence(None, "nothing spoken")}

    def counts(self) -> collections.Counter[str]:
        """Nothing was counted yet."""
        return collections.Counter()


def declared() -> dict[str, set[str]]:
    """Every series that the service tells, by the name that a query uses, with its labels."""
    metrics = pytest.importorskip("engine.serve.metrics", reason="needs the extra [serve]")
    speaker = SimpleNamespace(engine=Quiet(), ready=True, waiting=0)
    registry = metrics.Metrics(lambda: speaker).registry
    found: dict[str, set[str]] = {"ishowtts_temperature_celsius": {"sensor"}}  # not every machine has one
    for collector in set(registry._collector_to_names):
        names = getattr(collector, "_labelnames", ())
        for family in collector.collect():
            base = {label for sample in family.samples for label in sample.labels} | set(names)
            ends = {"counter": ("_total",), "histogram": ("_sum", "_count", "_bucket")}.get(
                family.type, ("",)
            )
            for end in ends:
                labels = {*base, "le"} if end == "_bucket" else base - {"le"}
                found.setdefault(family.name + end, set()).update(labels)
    return found


def rules() -> list[dict[str, Any]]:
    """All alert and recording rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    """Each query of the rules and the dashboard, with where it stands."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def test_rules_and_dashboard_ask_for_metrics_that_the_service_declares() -> None:
    """Every name, and every label that a query selects or groups by; nothing declared is left unseen."""
    known = declared()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set()
    for place, query in queries():
        names = set(re.findall(r"\bishowtts_\w+", query))
        assert names <= known.keys(), place
        assert set(re.findall(r"\bishowtts:[\w:]+", query)) <= recorded, place
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
        for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query):
            labels |= {label.strip() for label in group.split(",")}
        allowed = SCRAPED.union(*(known[name] for name in names))
        assert labels <= allowed, place
        used |= names
    assert {name for name in known if not name.endswith(("_sum", "_count"))} <= used


def test_the_alerts_hold_the_limits_that_were_agreed() -> None:
    """RTF 0.30 and 0.35 for five minutes, 75 and 85 degrees; each alert is graded and says what to do."""
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    for name, end, severity, lasts in (
        ("IshowttsSlow", "> 0.30", "warning", None),
        ("IshowttsTooSlow", "> 0.35", "critical", "5m"),
        ("IshowttsWarm", "> 75", "warning", "1m"),
        ("IshowttsHot", "> 85", "critical", None),
    ):
        rule = alerts[name]
        assert rule["expr"].endswith(end), name
        assert (rule["labels"]["severity"], rule.get("for")) == (severity, lasts), name
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"warning", "critical"}, name
        assert {"summary", "action"} == rule["annotations"].keys(), name
        assert name in (FOLDER / "README.md").read_text(), name


@pytest.mark.skipif(not TOOLS["promtool"], reason="promtool is not installed")
def test_prometheus_accepts_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    """By Prometheus' own unit tests of rules, on made-up series."""
    plan = tmp_path / "rules_test.yml"
    text = (Path(__file__).parent / "rules_test.yml").read_text()
    plan.write_text(text.replace("RULES", str(RULES)))
    for arguments in (
        ["check", "config", str(RULES.parent / "prometheus.yml")],
        ["test", "rules", str(plan)],
    ):
        done = subprocess.run([TOOLS["promtool"], *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_the_service_where_it_is() -> None:
    """The route of the metrics and the port by default; the rules file is the one beside it."""
    content = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    (job,) = content["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("ishowtts", "/api/metrics")
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
    assert content["rule_files"] == [RULES.name]


def test_the_dashboard_is_whole() -> None:
    """Panels have an id, a description and a data source that can be chosen, and do not overlap."""
    board = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_the_configuration_that_is_installed_changes_nothing() -> None:
    """It is a file to write into; as it comes, the service's defaults hold."""
    config = pytest.importorskip("engine.serve.config", reason="needs the extra [serve]")
    installed, plain = config.read(FOLDER / "ishowtts.toml", {}), config.read(None, {})
    assert installed.model_dump() == plain.model_dump()


def install(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run install.sh into a folder."""
    environ = {"PATH": os.environ["PATH"], "DESTDIR": str(tmp_path / "dest")}
    command = [TOOLS["bash"], str(FOLDER / "install.sh"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def below(tmp_path: Path) -> set[str]:
    """All files of the installation, from its root."""
    root = tmp_path / "dest"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


UNIT = "etc/systemd/system/ishowtts.service"
GPU = "etc/systemd/system/ishowtts.service.d/gpu.conf"
CONFIG = "etc/ishowtts/ishowtts.toml"
INSTALLED = {
    UNIT,
    CONFIG,
    "etc/systemd/journald@ishowtts-serve.conf",
    "etc/sysusers.d/ishowtts.conf",
}


@needs_bash
def test_installing_writes_the_unit_and_undoing_leaves_only_what_is_the_operators(tmp_path: Path) -> None:
    """The command is filled in; the configuration stays until it is purged."""
    assert install(tmp_path, TOOLS["true"]).returncode == 0
    assert below(tmp_path) == INSTALLED
    unit = (tmp_path / "dest" / UNIT).read_text()
    assert f'ExecStart="{TOOLS["true"]}" serve --config /{CONFIG}' in unit
    assert "@ISHOWTTS@" not in unit
    undone = install(tmp_path, "--undo")
    assert undone.returncode == 0, undone.stderr
    assert "--purge" in undone.stdout
    assert below(tmp_path) == {CONFIG}
    assert install(tmp_path, "--undo", "--purge").returncode == 0
    assert below(tmp_path) == set()
    assert install(tmp_path, "--undo").returncode == 0  # twice does no harm


@needs_bash
def test_installing_again_keeps_an_operators_configuration(tmp_path: Path) -> None:
    """And renews the unit."""
    install(tmp_path, TOOLS["true"])
    for name in (CONFIG, UNIT):
        (tmp_path / "dest" / name).write_text("# mine\n")
    assert install(tmp_path, TOOLS["true"]).returncode == 0
    assert (tmp_path / "dest" / CONFIG).read_text() == "# mine\n"
    assert "ExecStart" in (tmp_path / "dest" / UNIT).read_text()


@needs_bash
def test_a_gpus_devices_are_opened_only_where_there_is_one(tmp_path: Path) -> None:
    """NVIDIA's cards and a Jetson; undoing takes the drop-in and leaves an operator's own."""
    for number, device in enumerate(("nvidiactl", "nvmap")):
        home = tmp_path / str(number)
        (home / "dest" / "dev").mkdir(parents=True)
        (home / "dest" / "dev" / device).touch()
        install(home, TOOLS["true"])
        assert "PrivateDevices=no" in (home / "dest" / GPU).read_text()
        assert "@" not in (home / "dest" / GPU).read_text()
        own = (home / "dest" / GPU).with_name("own.conf")
        own.write_text("[Service]\nNice=5\n")
        assert install(home, "--undo", "--purge").returncode == 0
        assert below(home) == {f"dev/{device}", str(own.relative_to(home / "dest"))}


@needs_bash
def test_a_dry_run_names_every_file_and_writes_none(tmp_path: Path) -> None:
    """To install as well as to undo."""
    said = install(tmp_path, "--dry-run", TOOLS["true"])
    assert said.returncode == 0
    assert {line.split("/dest/")[1] for line in said.stdout.splitlines()} == INSTALLED
    assert below(tmp_path) == set()
    install(tmp_path, TOOLS["true"])
    said = install(tmp_path, "--dry-run", "--undo", "--purge")
    assert all(name in said.stdout for name in (UNIT, "etc/ishowtts"))
    assert below(tmp_path) == INSTALLED


@needs_bash
def test_what_cannot_be_installed_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """No command, one that is not there, one by a relative name, an unknown flag, a purge of nothing."""
    for arguments in ((), ("/no/such/ishowtts",), ("ishowtts",), ("--purg",), ("--purge", TOOLS["true"])):
        done = install(tmp_path, *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("install: "), arguments
        assert below(tmp_path) == set(), arguments


def test_the_unit_restarts_what_a_restart_can_mend() -> None:
    """A failure does; a wrong configuration (exit code 2) is left alone."""
    unit = (FOLDER / "ishowtts.service").read_text()
    for line in ("Restart=on-failure", "RestartPreventExitStatus=2", "User=ishowtts", "NoNewPrivileges=yes"):
        assert line in unit.splitlines(), line
    namespace = re.search(r"^LogNamespace=(.+)$", unit, re.MULTILINE)
    assert namespace is not None
    assert (FOLDER / f"journald@{namespace[1]}.conf").is_file()


@needs_bash
@needs_analyze
def test_systemd_accepts_the_unit_and_finds_it_closed_off(tmp_path: Path) -> None:
    """Verified as installed; with a GPU's drop-in too, which opens little."""
    (tmp_path / "dest" / "dev").mkdir(parents=True)
    (tmp_path / "dest" / "dev" / "nvidiactl").touch()
    assert install(tmp_path, TOOLS["true"]).returncode == 0
    unit = tmp_path / "dest" / UNIT
    for limit in (EXPOSURE + 5, EXPOSURE):  # the second time without the drop-in
        done = subprocess.run(
            [TOOLS["systemd-analyze"], "verify", unit], capture_output=True, text=True, check=False
        )
        assert [line for line in done.stderr.splitlines() if "ishowtts" in line] == []
        assert done.returncode == 0, done.stderr
        judged = [TOOLS["systemd-analyze"], "security", "--offline=yes", f"--threshold={limit}", unit]
        done = subprocess.run(judged, capture_output=True, text=True, check=False)
        if "unrecognized option" in done.stderr:
            pytest.skip("this systemd-analyze judges no files (it is older than 250)")
        assert done.returncode == 0, done.stdout + done.stderr
        (tmp_path / "dest" / GPU).unlink(missing_ok=True)
