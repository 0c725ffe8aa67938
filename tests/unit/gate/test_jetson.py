"""The Jetson's scripts and units: run against recorded trees and stand-ins for NVIDIA's tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.gate.preflight import readers
from tests.unit.gate.trees import machines
from tests.unit.gate.trees.machines import plant

FOLDER = Path(__file__).parents[3] / "deploy" / "jetson"
BASH = shutil.which("bash") or ""
ANALYZE = shutil.which("systemd-analyze") or ""

pytestmark = pytest.mark.skipif(not BASH, reason="bash is not installed")

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
    assert f'ExecStart="{nox}" --session perf' in gate
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
