"""What git knows: which revision this is, what another one held, what to compare with, and checkouts of both.

Whatever calls the gate may itself be called by git: in a hook git names its own index and repository in the
environment. None of that reaches the commands here, and none of them writes to the user's index or runs a
hook.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from engine.errors import UsageError

UNVERSIONED = "unversioned"
SCRATCH = "ishowtts-checkout-"
FOLDERS = ("older", "newer")
"""Names of the base's and the candidate's checkouts: of one length, since a path's length moves the stack."""
OF_ANOTHER_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE",
    "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_NAMESPACE", "GIT_QUARANTINE_PATH", "GIT_CONFIG",
)  # fmt: skip
"""Variables by which git tells a hook which repository and which index it works on."""
REMOTE_DEFAULT = "refs/remotes/origin/HEAD"
DEFAULT_BRANCHES = ("origin/main", "origin/master", "main", "master")
UNSHALLOW = "Fetch the rest of the history: git fetch --unshallow"


class Base(NamedTuple):
    """The commit to compare with, and why: `3f2a91c4d0, merge base of main`. No commit: why there is none."""

    commit: str | None
    said: str


def checkout() -> Path:
    """The folder that holds the engine that is running."""
    import engine

    return Path(str(engine.__file__)).resolve().parents[1]


def describe(root: Path) -> tuple[str, bool]:
    """The commit checked out in `root`, and whether anything differs. Without git: unversioned, dirty.

    Raises:
        UsageError: there is a repository, and git refuses to read it.
    """
    if not _is_repository(root):
        return UNVERSIONED, True
    answer = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    if answer.returncode:
        return UNVERSIONED, True  # nothing is committed yet
    status = _git(root, "status", "--porcelain")
    return answer.stdout.strip(), bool(status.returncode or status.stdout.strip())


def resolve(root: Path, ref: str, flag: str = "--against") -> str:
    """The commit that `ref` names.

    Raises:
        UsageError: no such commit here, no git, or a repository that git refuses to read. The message names
            the flag that `ref` came with.
    """
    commit = _commit(root, ref)
    if commit is None:
        raise UsageError(
            f"{flag} {ref}",
            f"a commit that git knows in {root}",
            UNSHALLOW if _is_shallow(root) else "Check the name, or fetch it: git fetch",
        )
    return commit


def show(root: Path, ref: str, path: str) -> str | None:
    """The text that `path` (relative to `root`) had at `ref`; None where there was none.

    Raises:
        UsageError: there is a repository, and git cannot say.
    """
    answer = _git(root, "show", f"{ref}:./{path}")
    if answer.returncode and _is_repository(root):
        resolve(root, ref)  # git answers, so it is the path that is not there
    return None if answer.returncode else answer.stdout


def texts(root: Path, ref: str, folder: str, suffix: str = ".json") -> dict[str, str]:
    """Name to text of the files that stood directly in `folder` (relative to `root`) at `ref`.

    Raises:
        UsageError: no such commit, or git cannot say.
    """
    listed = _git(root, "ls-tree", "--name-only", "-z", resolve(root, ref), f"./{folder}/")
    paths = [path for path in listed.stdout.split("\0") if path.endswith(suffix)]
    return {Path(path).name: show(root, ref, path) or "" for path in paths}


def default_base(root: Path, head: str = "HEAD", *, dirty: bool) -> Base:
    """What a candidate is compared with where nobody says.

    It is the merge base with the default branch. On that branch itself, or where the candidate has no commit
    of its own, it is the commit before, or the candidate's own commit where uncommitted changes are judged.

    Args:
        root: the checkout.
        head: the candidate's revision.
        dirty: whether uncommitted changes belong to the candidate.

    Raises:
        UsageError: the history that is needed is not here, or git refuses to read the repository.
    """
    if not _is_repository(root) or (commit := _commit(root, head)) is None:
        return Base(None, f"no base: git knows no commit of {root}")
    branch = _default_branch(root)
    if branch is not None and not _is_on(root, head, branch):
        shared = _git(root, "merge-base", commit, branch).stdout.strip()
        if not shared and _is_shallow(root):
            raise UsageError(f"a shallow clone, whose history does not reach {branch}", "a base", UNSHALLOW)
        if shared and shared != commit:
            return Base(shared, f"{_short(shared)}, merge base of {branch}")
    if dirty:
        return Base(commit, f"{_short(commit)}, {head}: the uncommitted changes are judged")
    parent = _commit(root, f"{head}~1")
    if parent is not None:
        return Base(parent, f"{_short(parent)}, {head}~1: the commit before")
    if _is_shallow(root):
        raise UsageError(f"a shallow clone without {head}~1", "a base to compare with", UNSHALLOW)
    return Base(None, f"no base: {_short(commit)} is the first commit")


@contextlib.contextmanager
def worktree(root: Path, ref: str) -> Iterator[Path]:
    """A checkout of `ref` in a temporary folder, removed on the way out, whatever happened.

    Where `root` is a folder of its repository, so is what is given.

    Raises:
        UsageError: no such commit, or it cannot be checked out.
    """
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        path = Path(scratch) / FOLDERS[0]
        with _checked_out(root, ref, path, changes=False, flag="--against") as folder:
            yield folder


@contextlib.contextmanager
def worktrees(root: Path, base: str | None, candidate: str | None) -> Iterator[tuple[Path | None, Path]]:
    """Checkouts of base and candidate side by side, so that path, file system and caches are alike.

    Args:
        root: the checkout that asks.
        base: a revision; None: no checkout of one.
        candidate: a revision; None: what `root` holds now, its uncommitted changes included.

    Raises:
        UsageError: no such commit, or it cannot be checked out.
    """
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch, contextlib.ExitStack() as stack:
        older, newer = (Path(scratch) / name for name in FOLDERS)
        wanted = _checked_out(root, candidate or "HEAD", newer, changes=candidate is None, flag="--candidate")
        now = stack.enter_context(wanted)
        before = None
        if base is not None:
            before = stack.enter_context(_checked_out(root, base, older, changes=False, flag="--against"))
        yield before, now


@contextlib.contextmanager
def _checked_out(root: Path, ref: str, path: Path, *, changes: bool, flag: str) -> Iterator[Path]:
    """A worktree at `path`. Its entry is removed even where making it failed half-way."""
    commit = resolve(root, ref, flag)
    prefix = _git(root, "rev-parse", "--show-prefix").stdout.strip()
    try:
        made = _git(root, "worktree", "add", "--detach", "--quiet", str(path), commit)
        if made.returncode:
            raise UsageError(
                f"git worktree of {ref}: {made.stderr.strip()}",
                "a checkout",
                "Do what git says, or free space",
            )
        if changes:
            _copy_changes(root, path / prefix)
        yield path / prefix
    finally:
        _git(root, "worktree", "remove", "--force", "--force", str(path))  # twice: locked while it is made


def _copy_changes(root: Path, target: Path) -> None:
    """Make a checkout of HEAD hold the files of `root` as they are on the disk now."""
    tracked = _git(
        root, "diff-index", "--name-only", "--no-renames", "--relative", "-z", "HEAD"
    ).stdout.split("\0")
    fresh = _git(root, "ls-files", "--others", "--exclude-standard", "-z").stdout.split("\0")
    for name in filter(None, tracked):  # all at first: what was a file may be a folder now, and vice versa
        if not (target / name).is_dir() or (target / name).is_symlink():
            (target / name).unlink(missing_ok=True)
    for name in filter(None, dict.fromkeys([*tracked, *fresh])):
        source, copy = root / name, target / name
        if source.is_symlink() or source.is_file():  # a repository inside this one is no part of it
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)


def _default_branch(root: Path) -> str | None:
    """The repository's default branch: what the remote calls so, else main or master."""
    remote = _git(root, "symbolic-ref", "--quiet", "--short", REMOTE_DEFAULT).stdout.strip()
    names = [remote, *DEFAULT_BRANCHES] if remote else [*DEFAULT_BRANCHES]
    return next((name for name in names if _commit(root, name) is not None), None)


def _is_on(root: Path, head: str, branch: str) -> bool:
    """Whether `head` is the default branch itself, as a local branch of that name."""
    current = _git(root, "rev-parse", "--abbrev-ref", head).stdout.strip()
    return current == branch.removeprefix("origin/")


def _commit(root: Path, ref: str) -> str | None:
    """The commit that `ref` names, or None.

    Raises:
        UsageError: there is a repository, and git refuses to read it.
    """
    answer = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if answer.returncode:
        _is_repository(root)
    return None if answer.returncode else answer.stdout.strip()


def _is_repository(root: Path) -> bool:
    """Whether git answers in `root`.

    Raises:
        UsageError: there is a repository, and git refuses to read it: its own words.
    """
    answer = _git(root, "rev-parse", "--git-dir")
    if not answer.returncode:
        return True
    if any((folder / ".git").exists() for folder in (root, *root.parents)) and answer.stderr.strip():
        raise UsageError(
            f"git in {root}: {answer.stderr.strip()}", "a repository that git reads", "Do as it says"
        )
    return False


def _is_shallow(root: Path) -> bool:
    return _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"


def _short(commit: str) -> str:
    return commit[:10]


def own_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment (this process's if not given) without what git tells its hooks about the repository
    that called them."""
    inherited = os.environ if environment is None else environment
    return {name: value for name, value in inherited.items() if name not in OF_ANOTHER_REPOSITORY}


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The answer of git in `root`; a missing git answers like a folder without a repository.

    No hook runs, and no optional lock is taken: a question must not write to the user's index.
    """
    command = ["git", "-C", str(root), "-c", f"core.hooksPath={os.devnull}", *arguments]
    environment = own_environment() | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="surrogateescape", check=False, env=environment
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", "")
