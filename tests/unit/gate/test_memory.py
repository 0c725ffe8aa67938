"""Free memory as the system and the container tell it."""

from __future__ import annotations

from pathlib import Path

from engine.gate.measure.memory import available_mb


def test_the_container_counts_where_it_leaves_less_than_the_system(tmp_path: Path) -> None:
    """MemAvailable, or the limit less what is used, with the file cache that gives way."""
    (tmp_path / "proc").mkdir()
    cgroup = tmp_path / "sys" / "fs" / "cgroup"
    cgroup.mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  2048000 kB\n")
    assert available_mb(tmp_path) == 2000
    mb = 2**20
    (cgroup / "memory.max").write_text(f"{1000 * mb}\n")
    (cgroup / "memory.current").write_text(f"{700 * mb}\n")
    (cgroup / "memory.stat").write_text(f"anon {mb}\nactive_file {mb}\ninactive_file {100 * mb}\n")
    assert available_mb(tmp_path) == 400
    (cgroup / "memory.max").write_text("max\n")
    assert available_mb(tmp_path) == 2000


def test_a_system_that_does_not_tell_is_not_guessed_at(tmp_path: Path) -> None:
    """Without these files nothing is known."""
    assert available_mb(tmp_path) is None
