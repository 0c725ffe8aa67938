"""The command `ishowtts serve`: its flags, and one call."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from engine.errors import UsageError
from engine.flags import toggle_flags

if TYPE_CHECKING:
    from engine.serve.config import Config


@functools.partial(toggle_flags, without=("batch",))
def serve(
    toggles: dict[str, Any],
    config: Annotated[Path | None, typer.Option(help="a TOML file with any of these settings")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on (127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on (8000)")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="name, folder or weight file (box)")] = None,
    vocoder: Annotated[Path | None, typer.Option(help="a folder with a Vocos")] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; by default CUDA where it is there and no toggle is CPU-only"),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads")] = None,
    voice: Annotated[str | None, typer.Option(help="who speaks where a request names nobody")] = None,
    batch: Annotated[int | None, typer.Option(help="requests sampled together at most (4)")] = None,
    batch_wait_ms: Annotated[float | None, typer.Option(help="wait for others to join (5)")] = None,
    queue: Annotated[int | None, typer.Option(help="requests that may wait (64)")] = None,
    overload: Annotated[str | None, typer.Option(help="refuse (the default) or drop_oldest")] = None,
    deadline_seconds: Annotated[float | None, typer.Option(help="later than that is 504 (30)")] = None,
    max_characters: Annotated[int | None, typer.Option(help="longest text (1000)")] = None,
    uploads: Annotated[
        bool | None, typer.Option("--uploads/--no-uploads", help="take clips with requests")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="listen beyond this machine without a key")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="speak on a Ray cluster, such as 10.0.0.1:6379; without an address on one started here",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(help="of --cluster, a GPU or --threads cores (1) each: 2, or 1-4 as requests come (1)"),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="show the settings that result, and end")
    ] = False,
) -> None:
    """Serve speech over HTTP: POST /api/tts, a page at /, OpenAI's /v1/audio/speech, and /docs.

    \b
    ishowtts serve
    ishowtts serve --cluster --replicas 2
    curl -s localhost:8000/api/tts -H 'content-type: application/json' -d '{"text": "Hello!"}' -o hello.wav

    Settings come from the file, then from the environment (ISHOWTTS_SERVE_PORT=9000), then from flags; what
    comes later wins. The API key has no flag, since others can read a process's flags: use the environment.
    """
    flags = {
        "host": host, "port": port, "checkpoint": checkpoint, "vocoder": vocoder, "device": device,
        "threads": threads, "voice": voice, "batch": batch, "batch_wait_ms": batch_wait_ms, "queue": queue,
        "overload": overload, "deadline_seconds": deadline_seconds, "max_characters": max_characters,
        "uploads": uploads, "log_level": log_level, "insecure": insecure,
        "preset": toggles.pop("preset", None),
    }  # fmt: skip
    if replicas is not None and cluster is None:
        raise UsageError(f"--replicas {replicas} without --cluster", "both", "Add --cluster")
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        from engine.serve import server
        from engine.serve.config import read
    except ImportError as error:
        raise UsageError(
            f"serve without {error.name}", "the packages of the extra [serve]", "pip install '.[serve]'"
        ) from error
    settings = read(config, {**given, **({"toggles": toggles} if toggles else {})})
    if print_config:
        Console(soft_wrap=True, highlight=False, markup=False).print(settings.shown())
        return
    if cluster is None:
        server.run(settings)
    else:
        _run_on_cluster(settings, cluster, replicas)


def _run_on_cluster(settings: Config, address: str, replicas: str | None) -> None:
    """Serve with the replicas of a cluster."""
    from engine.cluster import prepared, ray
    from engine.serve import server

    with prepared(address):
        ray()
        from engine.serve.cluster import ClusterSpeaker, Where

        server.run(settings, functools.partial(ClusterSpeaker, Where.parse(address, replicas)))


COMMANDS = (serve,)
