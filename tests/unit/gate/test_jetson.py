"""The Jetson's scripts and units: run against recorded trees and stand-ins for NVIDIA's tools."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.gate.baselines import select
from engine.gate.data.limits import Product
from engine.gate.preflight import readers
from engine.gate.request import Request
from tests.unit.gate.trees import machines
from tests.unit.gate.trees.machines import plant

FOLDER = Path(__file__).parents[3] / "deploy" / "jetson"
BASH = shutil.which("bash") or ""
ANALYZE = shutil.which("systemd-analyze") or ""

pytestmark = pytest.mark.skipif(not BASH, reason="bash is not installed")

A_WEEK_OLD = "0123456789abcdef0123456789abcdef01234567"
NVPMODEL = """#!{bash}
if [[ "$1" == -q ]]; then
  mode=MODE_30W
  [[ "$(<"$ROOT/var/lib/nvpmodel/status")" == *0000 ]] && mode=MAXN
  echo "NV Power Mode: $mode"
else
  read -r answer
  [[ "$answer" == no && -z "${{STUCK:-}}" ]] && echo "pmode:000$2" >"$ROOT/var/lib/nvpmodel/status"
fi
"""
JETSON_CLOCKS = """#!{bash}
[[ -n "${{STUCK:-}}" ]] && exit 0
for cpu in "$ROOT"/sys/devices/system/cpu/cpu*/cpufreq; do
  cp "$cpu/scaling_max_freq" "$cpu/scaling_min_freq"
done
for gpu in "$ROOT"/sys/devices/platform/bus@0/*/devfreq/*; do cp "$gpu/max_freq" "$gpu/min_freq"; done
"""


def stand_ins(folder: Path, **scripts: str) -> str:
    """A PATH whose first entry holds the scripts."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(text.format(bash=BASH))
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def lock(
    tmp_path: Path, *, user: int = 0, mode: int = 2, stuck: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run lock-clocks.sh on an unlocked Orin under `tmp_path`."""
    files = {**machines.orin(locked=False), "var/lib/nvpmodel/status": f"pmode:{mode:04}\n"}
    path = stand_ins(
        tmp_path / "bin", id=f"#!{{bash}}\necho {user}\n", nvpmodel=NVPMODEL, jetson_clocks=JETSON_CLOCKS
    )
    root = plant(tmp_path / "root", files)
    environ = {"PATH": path, "ROOT": str(root), **({"STUCK": "1"} if stuck else {})}
    return subprocess.run(
        [BASH, FOLDER / "lock-clocks.sh"], env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("mode", [0, 2])
def test_the_script_locks_mode_and_clocks(tmp_path: Path, mode: int) -> None:
    """From any mode, and preflight's own reader agrees afterwards."""
    done = lock(tmp_path, mode=mode)
    assert (done.returncode, done.stdout) == (0, "lock-clocks: MAXN, 13 clocks locked\n"), done.stderr
    found = readers.read(tmp_path / "root")
    clocks = [*found.first("cpu_clocks")[0], *found.first("gpu_clocks")[0]]
    assert all(clock.low == clock.high for clock in clocks)
    assert found.first("power_mode")[0] == "MAXN"


@pytest.mark.parametrize(
    ("mode", "complaint"), [(0, "13 of 13 clocks are not locked"), (2, "the mode is not MAXN")]
)
def test_the_script_fails_when_nothing_changed(tmp_path: Path, mode: int, complaint: str) -> None:
    """NVIDIA's tools report success either way, so the result is looked at."""
    done = lock(tmp_path, mode=mode, stuck=True)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_the_script_needs_root(tmp_path: Path) -> None:
    """It says how to call it."""
    done = lock(tmp_path, user=1000)
    assert done.returncode == 2
    assert "sudo" in done.stderr


def test_the_script_refuses_a_plain_pc(tmp_path: Path) -> None:
    """Without nvpmodel there is nothing to lock."""
    path = stand_ins(tmp_path / "bin", id="#!{bash}\necho 0\n")
    done = subprocess.run(
        [BASH, FOLDER / "lock-clocks.sh"], env={"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nvpmodel is missing" in done.stderr


def flags(command: str) -> dict[str, str]:
    """The flags of a command line with their values; switches have none."""
    words = shlex.split(command)
    named = [place for place, word in enumerate(words) if word.startswith("--")]
    return {
        words[place]: words[place + 1] if place + 1 < len(words) and place + 1 not in named else ""
        for place in named
    }


def product_of(command: str) -> Product | None:
    """The product of the board whose limits what a command measures is held to."""
    baseline = select.load(FOLDER.parents[1] / "baselines" / "jetson-agx-orin.json")
    given = flags(command)
    selection = select.Selection(baseline, Path(), "")
    return selection.product(given["--checkpoint"], given["--options"])


def test_the_daily_check_measures_a_product_that_has_limits() -> None:
    """And some hundred calls of it, so that growth of memory shows; never the voice in the box."""
    unit = (FOLDER / "ishowtts-gate.service").read_text()
    (command,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert "--session perf --" in command
    given = flags(command)
    assert "--limits" in given
    assert product_of(command) is not None
    request = Request(limits_only=True, runs=int(given["--runs"]), blocks=int(given["--blocks"]))
    settings = request.settings(compared=False)
    assert settings.plan.blocks_max * request.runs * len(request.workloads) >= 300
    assert product_of(command.replace("F5TTS_v1_Base", "box")) is None


def workflow(tmp_path: Path, *arguments: str, **codes: int) -> tuple[int, list[str]]:
    """Run workflow.sh with stand-ins that end with these codes: the exit code, and what was called."""
    heard = tmp_path / "heard"
    heard.unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "bin", ignore_errors=True)
    told = {
        name: f'#!{{bash}}\necho "{name} $*" >>{heard}\nexit {codes.get(name, 0)}\n'
        for name in ("nox", "ishowtts")
    }
    path = stand_ins(tmp_path / "bin", git=f"#!{{bash}}\necho {A_WEEK_OLD}\n", **told)
    environ = {"PATH": path, "ISHOWTTS": str(tmp_path / "bin" / "ishowtts")}
    command = [BASH, str(FOLDER / "workflow.sh"), *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, heard.read_text().splitlines() if heard.exists() else []


def test_week_month_and_quarter_are_one_command_each(tmp_path: Path) -> None:
    """Each measures the product; what is named there exists."""
    from tests.studies.__main__ import STUDIES

    weekly = workflow(tmp_path, "weekly")[1]
    assert [line.split(" --")[0] for line in weekly] == ["nox -s tests", "nox -s perf", "ishowtts profile"]
    assert product_of(weekly[1]) is not None
    assert flags(weekly[1])["--against"] == A_WEEK_OLD
    assert "F5TTS_v1_Base" in weekly[2]
    monthly = workflow(tmp_path, "monthly")[1]
    studies = [line.split()[4] for line in monthly if "study" in line]
    assert len(studies) >= 4
    assert set(studies) <= STUDIES.keys()
    assert all("F5TTS_v1_Base" in line for line in monthly if "study" in line)
    assert monthly[-1] == "nox -s history"
    (quarterly,) = workflow(tmp_path, "quarterly")[1]
    assert quarterly.startswith("nox -s record --")
    assert product_of(quarterly) is not None


def test_a_workflow_runs_to_its_end_and_leaves_with_the_worst_code(tmp_path: Path) -> None:
    """2 over 1 over 3 over 0; a word that it does not know runs nothing."""
    for nox, ishowtts, code in (
        (0, 0, 0),
        (3, 0, 3),
        (3, 1, 1),
        (1, 3, 1),
        (2, 1, 2),
        (1, 2, 2),
        (143, 1, 2),
    ):
        done, heard = workflow(tmp_path, "weekly", nox=nox, ishowtts=ishowtts)
        assert (done, len(heard)) == (code, 3)
    assert workflow(tmp_path, "yearly") == (2, [])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("0", None),
        ("1", "regression"),
        ("2", "baseline"),
        ("3", "undecided"),
        ("143", "broke off"),
        (None, "broke off"),
    ],
)
def test_the_alert_tells_each_exit_code(tmp_path: Path, code: str | None, words: str | None) -> None:
    """Every code but 0 reaches the log and the hook."""
    heard = tmp_path / "heard"
    speak = "#!{bash}\n" + f'echo "$@" >>{heard}\n'
    path = stand_ins(tmp_path / "bin", logger=speak, hook=speak)
    environ = {"PATH": path, "HOOK": str(tmp_path / "bin/hook"), **({"EXIT_STATUS": code} if code else {})}
    subprocess.run([BASH, FOLDER / "alert.sh"], env=environ, check=True)
    said = heard.read_text().splitlines() if heard.exists() else []
    if words is None:
        assert said == []
    else:
        assert len(said) == 2
        assert all(words in line for line in said)
        assert said[1].startswith(f"{code or 'unknown'} ")


def install(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run install.sh into a folder."""
    environ = {"PATH": os.environ["PATH"], "DESTDIR": str(tmp_path / "dest")}
    command = [BASH, str(FOLDER / "install.sh"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def files_below(folder: Path) -> set[str]:
    """All files, by name."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_installing_fills_in_every_blank_and_removing_leaves_nothing(tmp_path: Path) -> None:
    """User, project and nox are this machine's."""
    nox = shutil.which("true") or ""
    assert install(tmp_path, nox).returncode == 0
    assert files_below(tmp_path) == {
        "ishowtts-gate.service",
        "ishowtts-gate.timer",
        "ishowtts-lock-clocks.service",
        "ishowtts-lock-clocks",
        "journald@ishowtts.conf",
    }
    gate = next(tmp_path.rglob("ishowtts-gate.service")).read_text()
    assert "@" not in gate.replace("journald@", "")
    assert f'ExecStart="{nox}" --session perf -- --limits' in gate
    assert install(tmp_path, "--remove").returncode == 0
    assert files_below(tmp_path) == set()


def test_installing_without_nox_says_what_to_give(tmp_path: Path) -> None:
    """Nothing is written then."""
    done = install(tmp_path, "/no/such/nox")
    assert done.returncode == 2
    assert "command -v nox" in done.stderr
    assert files_below(tmp_path) == set()


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """Verified as installed, with the script where systemd can find it."""
    assert install(tmp_path, shutil.which("true") or "").returncode == 0
    script = next(tmp_path.rglob("ishowtts-lock-clocks"))
    units = sorted((tmp_path / "dest/etc/systemd/system").iterdir())
    for unit in units:
        unit.write_text(unit.read_text().replace("/usr/local/sbin/ishowtts-lock-clocks", str(script)))
    done = subprocess.run([ANALYZE, "verify", *units], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "ishowtts" in line] == []
    assert done.returncode == 0, done.stderr
