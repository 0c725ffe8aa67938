"""`--cluster`: its address may be left out, its extra may be missing, its share is counted."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import cli, cluster
from engine.errors import UsageError
from engine.flags import Command


def holding(**resources: float) -> Any:
    """A Ray that has these."""
    return SimpleNamespace(cluster_resources=lambda: resources)


def test_an_address_may_follow_the_flag_and_nothing_else_is_taken_for_one() -> None:
    """The next argument, flag or not, is no address unless it looks like one; behind -- nothing is a flag."""
    import typer

    app = typer.Typer()
    seen: list[tuple[str, str | None]] = []

    @app.command(cls=Command)
    def speak(texts: str, cluster: str | None = None, out: str = "") -> None:
        seen.append((texts, cluster))

    for arguments, expected in (
        ("a.jsonl", ("a.jsonl", None)),
        ("a.jsonl --cluster", ("a.jsonl", "local")),
        ("--cluster a.jsonl", ("a.jsonl", "local")),
        ("--cluster --out x a.jsonl", ("a.jsonl", "local")),
        ("a.jsonl --cluster 10.0.0.1:6379", ("a.jsonl", "10.0.0.1:6379")),
        ("--cluster [::1]:6379 a.jsonl", ("a.jsonl", "[::1]:6379")),
        ("--cluster ray://head:10001 a.jsonl", ("a.jsonl", "ray://head:10001")),
        ("--cluster=auto a.jsonl", ("a.jsonl", "auto")),
        ("-- --cluster", ("--cluster", None)),
    ):
        app(arguments.split(), standalone_mode=False)
        assert seen.pop() == expected, arguments


def test_a_missing_extra_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tiny_folder: Path
) -> None:
    """Whoever has not installed Ray is told what to install, and nothing was written."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "Hello."}')
    monkeypatch.setitem(sys.modules, "ray", None)
    more = ["--checkpoint", "seeded-tiny", "--device", "cpu", "--cluster"]
    monkeypatch.setattr(sys, "argv", ["ishowtts", "batch", str(texts), "-o", str(tmp_path / "out"), *more])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    said = capfd.readouterr().err
    assert "expected the extra [cluster]. pip install 'ishowtts-engine[cluster]'." in said
    assert "Traceback" not in said


def test_workers_without_a_cluster_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not silently one process."""
    monkeypatch.setattr(sys, "argv", ["ishowtts", "batch", "a", "-o", str(tmp_path), "--workers", "2"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert (exit_.value.code, "--workers 2 without --cluster" in capfd.readouterr().err) == (2, True)


def test_each_process_has_a_gpu_or_its_cores() -> None:
    """As many processes as there is room for, unless fewer are asked for; more are refused."""
    cpu, gpu = holding(CPU=8.0), holding(CPU=8.0, GPU=2.0)
    for module, device, cores, workers, expected in (
        (cpu, None, None, None, (8, {"num_cpus": 1})),
        (cpu, None, 3, None, (2, {"num_cpus": 3})),
        (cpu, "cpu", 2, 1, (1, {"num_cpus": 2})),
        (gpu, None, None, None, (2, {"num_gpus": 1, "num_cpus": 0})),
        (gpu, "cuda", 4, 1, (1, {"num_gpus": 1, "num_cpus": 0})),
        (gpu, "cpu", 4, None, (2, {"num_cpus": 4})),
    ):
        assert cluster.share(module, device, cores, workers) == expected
    for module, device, cores, workers, sentence in (
        (cpu, None, 3, 3, "at most 2"),
        (cpu, None, 9, None, "8 cores, 9 for each process"),
        (cpu, None, None, 0, "1 or more"),
        (gpu, None, None, 3, "2 GPUs"),
        (cpu, "cuda", None, None, "no GPU"),
    ):
        with pytest.raises(UsageError, match=sentence):
            cluster.share(module, device, cores, workers)


def test_the_environment_of_a_cluster_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """No statistics are sent, the local one is closed to others, and afterwards nothing is left of it."""
    seen: dict[str, str] = {}

    def init(**_: object) -> None:
        seen.update(os.environ)
        raise RuntimeError("no room\nand a page of reasons")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, shutdown=lambda: None))
    before = dict(os.environ)
    for address, sentence in ((cluster.LOCAL, r"a local Ray \(no room\)"), ("auto", r"auto \(no room\)")):
        with pytest.raises(cluster.ClusterError, match=sentence), cluster.joined(address):
            raise AssertionError("it did not start")
        assert dict(os.environ) == before
        assert seen["RAY_USAGE_STATS_ENABLED"] == "0"
    assert len(seen["RAY_AUTH_TOKEN"]) == 64


def test_a_local_ray_that_others_can_reach_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a release of Ray makes of the settings: it is looked at where it listens."""
    address = "192.0.2.1"
    ended: list[bool] = []
    ray = SimpleNamespace(
        init=lambda **_: None,
        shutdown=lambda: ended.append(True),
        nodes=lambda: [{"NodeManagerAddress": address}],
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(cluster.ClusterError, match=address), cluster.joined(cluster.LOCAL):
        raise AssertionError("it was let through")
    assert ended
    address = "127.0.0.1"
    with cluster.joined(cluster.LOCAL) as module:
        assert module is ray


def test_an_address_where_nobody_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ray is asked, which would try for minutes; where somebody answers, Ray is asked."""
    asked: list[str] = []
    ray = SimpleNamespace(init=lambda address, **_: asked.append(address), shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        for refused in (address, f"ray://{address}", "127.0.0.1:99999"):
            with pytest.raises(cluster.ClusterError, match="leave the address out"), cluster.joined(refused):
                raise AssertionError("it was let through")
        assert asked == []
        listener.listen()
        for taken in (address, f"ray://{address}"):
            with cluster.joined(taken):
                assert asked.pop() == taken
