"""Plays audio with a program that is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.audio import Audio
from engine.errors import OutputError, UsageError

PLAYERS = {
    "aplay": ("-q",),
    "paplay": (),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error"),
    "afplay": (),
}
"""Programs that play a WAV, and their arguments before its name; the first that is there is taken."""


def player() -> list[str]:
    """The command that plays a WAV here, but for its name.

    Raises:
        UsageError: there is none.
    """
    for name, arguments in PLAYERS.items():
        path = shutil.which(name)
        if path:
            return [path, *arguments]
    raise UsageError(
        "--play without a player",
        f"one of {', '.join(PLAYERS)} on the PATH",
        "Install one (alsa-utils has aplay), or write a file with -o",
    )


def play(audio: Audio, command: list[str]) -> None:
    """Play the audio, and wait until it was heard.

    Raises:
        OutputError: the player failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        audio.save(path)
        played = subprocess.run([*command, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, check=False)  # fmt: skip
    if played.returncode:
        reason = " ".join(played.stderr.decode(errors="replace").split())[-200:]
        raise OutputError(
            f"{command[0]} exiting with {played.returncode} ({reason})",
            "a sound device",
            "Write a file with -o",
        )
