"""A Jetson fit to measure: full power, locked clocks, cool, and nothing of it unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.gate.data.snapshot import Clock
from engine.gate.preflight import sysfs
from tests.unit.gate.trees import machines
from tests.unit.gate.trees.looking import look, look_after_block, named, seen
from tests.unit.gate.trees.machines import GPU, THERMAL, plant


def test_a_locked_orin_is_fit(tmp_path: Path) -> None:
    """Every check of the board passes; only GPU processes need jtop."""
    result = look(tmp_path, machines.orin())
    assert result.fit
    assert {check for check, status in seen(result).items() if status != "ok"} == {"GPU used by others"}
    assert {"power mode", "CPU clocks", "GPU clocks", "memory clock"} <= seen(result).keys()


def test_an_unlocked_orin_is_unfit_and_told_the_cure(tmp_path: Path) -> None:
    """All three clocks are free, and one command locks them."""
    result = look(tmp_path, machines.orin(locked=False))
    assert not result.fit
    unfit = result.having("unfit")
    assert [finding.check for finding in unfit] == ["CPU clocks", "GPU clocks", "memory clock"]
    assert {finding.cure for finding in unfit} == {"sudo jetson_clocks"}
    assert named(result, "GPU clocks").observed == "GPU free, 306 to 1300 MHz"
    assert named(result, "CPU clocks").observed == "cpu0 free, 730 to 2202 MHz (and 11 more)"


@pytest.mark.parametrize(
    ("celsius", "status"),
    [(74.9, "ok"), (75.0, "warning"), (84.9, "warning"), (85.0, "unfit"), (99.0, "unfit")],
)
def test_heat_is_judged_by_its_bands(tmp_path: Path, celsius: float, status: str) -> None:
    """75 warns, 85 is too hot to measure."""
    assert seen(look(tmp_path, machines.orin(celsius=celsius)))["GPU temperature"] == status


def test_a_sensor_that_is_off_is_replaced_by_the_hottest_point(tmp_path: Path) -> None:
    """An idle Orin reports -256 for its GPU; the junction is never colder than the GPU."""
    files = {**machines.orin(celsius=50.0), f"{THERMAL}/thermal_zone1/temp": "-256000\n"}
    assert named(look(tmp_path, files), "GPU temperature").observed == "52.0 C"


@pytest.mark.parametrize(
    ("millidegrees", "celsius"), [(-41000, None), (-20000, -20.0), (149000, 149.0), (151000, None)]
)
def test_an_impossible_temperature_is_no_reading(
    tmp_path: Path, millidegrees: int, celsius: float | None
) -> None:
    """Drivers report marks instead of errors."""
    zone = {
        f"{THERMAL}/thermal_zone0/type": "gpu-thermal",
        f"{THERMAL}/thermal_zone0/temp": str(millidegrees),
    }
    assert sysfs.read_sysfs(plant(tmp_path, zone)).gpu_temperature == celsius


def test_the_hottest_of_sensors_with_one_name_counts(tmp_path: Path) -> None:
    """Whatever their order."""
    for first, second in ((60000, 80000), (80000, 60000)):
        zones = {
            f"{THERMAL}/thermal_zone0/type": "GPU-therm\n",
            f"{THERMAL}/thermal_zone0/temp": f"{first}\n",
            f"{THERMAL}/thermal_zone1/type": "gpu-therm\n",
            f"{THERMAL}/thermal_zone1/temp": f"{second}\n",
        }
        assert sysfs.read_sysfs(plant(tmp_path, zones)).gpu_temperature == 80.0


def test_without_any_sensor_the_temperature_is_unknown_not_zero(tmp_path: Path) -> None:
    """Nothing read is never a pass."""
    files = {name: text for name, text in machines.orin().items() if "thermal_zone" not in name}
    finding = named(look(tmp_path, files), "GPU temperature")
    assert (finding.status, finding.observed) == ("unknown", "sysfs: no GPU sensor that is on")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_lower_power_mode_is_unfit(tmp_path: Path, number: int) -> None:
    """The cure names the number of MAXN on this board."""
    result = look(tmp_path, {**machines.orin(), "var/lib/nvpmodel/status": f"pmode:{number:04}"})
    finding = named(result, "power mode")
    assert (finding.status, finding.cure, finding.source) == ("unfit", "sudo nvpmodel -m 0", "sysfs")
    assert finding.observed.startswith("MODE_")


@pytest.mark.parametrize(
    ("hidden", "check"),
    [("nvpmodel/status", "power mode"), ("cpufreq", "CPU clocks"), ("devfreq", "GPU clocks")],
)
def test_a_jetson_that_hides_its_state_is_unfit(tmp_path: Path, hidden: str, check: str) -> None:
    """Not to know clocks and mode of the board is no pass."""
    files = {name: text for name, text in machines.orin().items() if hidden not in name}
    finding = named(look(tmp_path, files), check)
    assert finding.status == "unfit"
    assert "sysfs: no " in finding.observed
    assert finding.cure


def test_the_memory_clock_that_only_root_sees_is_no_obstacle(tmp_path: Path) -> None:
    """The daily check need not run as root."""
    files = {name: text for name, text in machines.orin().items() if "debug" not in name}
    result = look(tmp_path, files)
    assert seen(result)["memory clock"] == "unknown"
    assert result.fit


def test_a_clock_below_its_limit_is_throttling_only_after_work(tmp_path: Path) -> None:
    """An idle GPU may rest; one that was busy a moment ago may not."""
    files = {**machines.orin(), f"{GPU}/cur_freq": "918000000\n"}
    assert seen(look(tmp_path, files))["GPU clocks"] == "ok"
    finding = named(look_after_block(tmp_path, files), "GPU clocks")
    assert (finding.status, finding.observed) == ("unfit", "GPU throttled to 918 of 1300 MHz")


@pytest.mark.parametrize(("share", "status"), [(1.0, "ok"), (0.98, "ok"), (0.96, "unfit")])
def test_a_busy_clock_may_be_a_step_below_its_limit(tmp_path: Path, share: float, status: str) -> None:
    """Counters round; throttling is more than that."""
    files = {**machines.orin(), f"{GPU}/cur_freq": f"{int(machines.GPU_MAX * share)}\n"}
    assert seen(look_after_block(tmp_path, files))["GPU clocks"] == status


def test_clocks_locked_below_the_hardware_are_capped(tmp_path: Path) -> None:
    """Minimum equals maximum is not enough when both are low."""
    low = {f"{GPU}/{name}_freq": "612000000\n" for name in ("cur", "min", "max")}
    finding = named(look(tmp_path, {**machines.orin(), **low}), "GPU clocks")
    assert (finding.status, finding.observed) == ("unfit", "GPU capped at 612 of 1300 MHz")


@pytest.mark.parametrize(
    "folder", ["sys/devices/platform/17000000.gpu/devfreq/17000000.gpu", "sys/class/devfreq/17000000.ga10b"]
)
def test_the_gpu_is_found_where_each_release_puts_it(tmp_path: Path, folder: str) -> None:
    """Its folder moved between releases of L4T."""
    files = {name.replace(GPU, folder): text for name, text in machines.orin().items()}
    assert sysfs.read_sysfs(plant(tmp_path, files)).gpu_clocks == (
        Clock("GPU", 1300.5, 1300.5, low=1300.5, hardware_max=1300.5),
    )


def test_throttle_alerts_are_unfit_and_a_fan_is_none(tmp_path: Path) -> None:
    """The fan's cooling state is always above zero."""
    assert named(look(tmp_path, machines.orin()), "throttling").observed == "none"
    finding = named(look(tmp_path, machines.orin(throttled=True)), "throttling")
    assert (finding.status, finding.observed) == ("unfit", "gpu-throttle-alert")


def test_overcurrent_events_warn(tmp_path: Path) -> None:
    """A weak supply shows in the counters, summed."""
    files = {**machines.orin(), "sys/class/hwmon/hwmon3/oc3_event_cnt": "37\n"}
    finding = named(look(tmp_path, files), "power supply")
    assert (finding.status, finding.observed) == ("warning", "37 events")


@pytest.mark.parametrize(
    ("files", "check", "observed"),
    [
        (machines.orin(throttled=True), "throttling", "gpu-throttle-alert"),
        (machines.orin(throttled=True), "GPU clocks", "GPU throttled to 918 of 1300 MHz"),
        (machines.orin(celsius=86.0), "GPU temperature", "86.0 C"),
        (machines.orin(locked=False), "CPU clocks", "cpu0 free, 730 to 2202 MHz (and 11 more)"),
    ],
)
def test_what_begins_half_way_is_seen_after_the_block(
    tmp_path: Path, files: machines.Files, check: str, observed: str
) -> None:
    """Throttling, heat, and clocks that somebody unlocked."""
    assert look_after_block(tmp_path / "before", machines.orin()).fit
    finding = named(look_after_block(tmp_path / "after", files), check)
    assert (finding.status, finding.observed) == ("unfit", observed)
    assert finding.cure
