"""Ray, where it is asked for: joined at an address, or started here, out of reach of any other machine."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from engine.errors import EngineError, UsageError

LOCAL = "local"
"""In place of an address: a Ray of one's own on this machine."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1"}
"""No statistics are sent to Ray's makers, and an ordinary end by SIGTERM prints no stack."""
KNOCK_SECONDS = 10.0
"""How long a cluster has to take a connection."""
STORE_BYTES = 256 << 20
"""Of the local object store: texts go in and audio comes out, a few of each at a time."""


class ClusterError(EngineError):
    """Ray is missing, cannot be reached, or did not start as it should."""


def ray() -> Any:
    """The package, imported when it is needed.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"--cluster without Ray ({error})",
            "the extra [cluster]",
            "pip install 'ishowtts-engine[cluster]'",
        ) from error
    return ray


@contextlib.contextmanager
def prepared(address: str) -> Iterator[None]:
    """The environment that Ray is imported and started in, for as long as the context lasts.

    Ray reads it when it is imported: whoever imports it before `joined` does it within this. A local Ray
    listens on loopback alone; its token keeps this machine's other users out, and is kept nowhere.
    """
    token = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)
    closed = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    variables = {**QUIET, **(closed if address == LOCAL else {})}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def joined(address: str, cpus: int | None = None) -> Iterator[Any]:
    """Ray, connected for as long as the context lasts.

    Args:
        address: of a cluster, as `ray.init` takes it; `LOCAL` starts one here and ends it afterwards.
        cpus: cores of the local one; by default those that this process may use.

    Raises:
        ClusterError: Ray is missing, nobody answers there, or a local one would be open to other machines.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(prepared(address))
        module = ray()
        stack.callback(module.shutdown)
        # Ray prints what dies to stdout, where a program may be reading.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if address == LOCAL:
            _start(module, cpus, stack)
        else:
            _join(module, address)
        yield module


def _start(module: Any, cpus: int | None, stack: contextlib.ExitStack) -> None:
    """Start a Ray on this machine, with files in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: it holds sockets, whose paths may have 107 bytes
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.callback(module.shutdown)
    try:
        module.init(
            num_cpus=cpus or len(os.sched_getaffinity(0)), object_store_memory=STORE_BYTES,
            include_dashboard=False, log_to_driver=False, logging_level="error", _temp_dir=folder,
        )  # fmt: skip
    except Exception as error:  # it raises plain ones too, as where starting takes too long
        raise ClusterError(
            f"a local Ray ({_first_line(error)})",
            "one that starts",
            "Try again once the machine is less busy, and see that memory and disk have room",
        ) from error
    for node in module.nodes():
        if not ipaddress.ip_address(node["NodeManagerAddress"]).is_loopback:
            raise ClusterError(
                f"a local Ray at {node['NodeManagerAddress']}",
                "one that no other machine can reach",
                "Import ray within engine.cluster.prepared",
            )


def _join(module: Any, address: str) -> None:
    """Join the cluster at an address, once something answers there: Ray itself tries for minutes."""
    try:
        if named := re.fullmatch(r"(?:ray://)?\[?([^\]]+?)\]?:(\d+)/?", address):
            socket.create_connection((named[1], int(named[2])), KNOCK_SECONDS).close()
        module.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"--cluster {address} ({_first_line(error)})",
            "the address of a Ray that runs, such as 10.0.0.1:6379, or none",
            "Start one there by `ray start --head`, or leave the address out for a local one",
        ) from error


def share(
    module: Any, device: str | None, cores: int | None, workers: int | None
) -> tuple[int, dict[str, Any]]:
    """How many processes there shall be, and what each needs: one GPU, or some cores.

    Args:
        module: Ray, connected.
        device: where models run; by default on GPUs where the cluster has any.
        cores: of each process that runs on the CPU; by default one.
        workers: by default as many as the cluster has room for.

    Raises:
        UsageError: more than the cluster has, now and later.
    """
    held = module.cluster_resources()
    gpus, cpus = int(held.get("GPU", 0)), int(held.get("CPU", 0))
    if device not in (None, "cpu") and not gpus:
        raise UsageError(
            f"--device {device} on a cluster with no GPU", "one that has some", "Use --device cpu"
        )
    on_gpu = device != "cpu" and gpus > 0
    need: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": cores or 1}
    room = gpus if on_gpu else cpus // (cores or 1)
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}", "1 or more", "Give the number of processes")
    if room < (workers or 1):
        kind = f"{gpus} GPUs" if on_gpu else f"{cpus} cores, {cores or 1} for each process"
        raise UsageError(
            f"--workers {workers or 1} on a cluster of {kind}",
            f"at most {room}",
            "Ask for fewer, or add machines",
        )
    return workers or room, need


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
