"""What git knows: which revision this is, what another one held, and a checkout of it while it is needed."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import UsageError

UNVERSIONED = "unversioned"


def checkout() -> Path:
    """The folder that holds the engine that is running."""
    import engine

    return Path(str(engine.__file__)).resolve().parents[1]


def describe(root: Path) -> tuple[str, bool]:
    """The commit checked out in `root`, and whether anything differs. Without git: unversioned, dirty."""
    found = _git(root, "rev-parse", "HEAD")
    if found.returncode:
        return UNVERSIONED, True
    status = _git(root, "status", "--porcelain")
    return found.stdout.strip(), bool(status.returncode or status.stdout.strip())


def resolve(root: Path, ref: str) -> str:
    """The commit that `ref` names.

    Raises:
        UsageError: no such commit here, or no git.
    """
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found.returncode:
        raise UsageError(
            f"--against {ref}", f"a commit that git knows in {root}", "Check the name, or fetch it: git fetch"
        )
    return found.stdout.strip()


def show(root: Path, ref: str, path: str) -> str | None:
    """The text that `path` (relative to `root`) had at `ref`; None where there was none.

    Raises:
        UsageError: there is a repository, and git cannot say.
    """
    found = _git(root, "show", f"{ref}:./{path}")
    if found.returncode and (root / ".git").exists():
        resolve(root, ref)  # git answers, so it is the path that is not there
    return None if found.returncode else found.stdout


@contextlib.contextmanager
def worktree(root: Path, ref: str) -> Iterator[Path]:
    """A checkout of `ref` in a temporary folder, removed on the way out, whatever happened.

    Raises:
        UsageError: no such commit, or it cannot be checked out.
    """
    commit = resolve(root, ref)
    with tempfile.TemporaryDirectory(prefix="ishowtts-base-") as scratch:
        path = Path(scratch) / "checkout"
        made = _git(root, "worktree", "add", "--detach", "--quiet", str(path), commit)
        if made.returncode:
            raise UsageError(
                f"git worktree of {ref}: {made.stderr.strip()}",
                "a checkout",
                "Free space, or git worktree prune",
            )
        try:
            yield path
        finally:
            _git(root, "worktree", "remove", "--force", str(path))


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The answer of git in `root`; a missing git answers like a folder without a repository."""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", "git is not installed")
