"""What git says of a checkout, and a base that is checked out for as long as it is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.gate.measure import revisions

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    command = [*GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of one file."""
    git(tmp_path, "init", "-q")
    for text in ("old", "new"):
        (tmp_path / "file.txt").write_text(text)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", text)
    return tmp_path


def test_a_clean_checkout_has_its_commit_and_any_change_makes_it_dirty(repository: Path) -> None:
    """New files count: they may be imported."""
    commit, dirty = revisions.describe(repository)
    assert (len(commit), dirty) == (40, False)
    (repository / "new.py").write_text("")
    assert revisions.describe(repository) == (commit, True)


def test_without_git_a_folder_is_unversioned_and_dirty(tmp_path: Path) -> None:
    """Nothing is ever recorded from it."""
    assert revisions.describe(tmp_path) == (revisions.UNVERSIONED, True)


def test_another_revisions_files_can_be_read(repository: Path) -> None:
    """And a file that it has not is None."""
    assert revisions.show(repository, "HEAD~1", "file.txt") == "old"
    assert revisions.show(repository, "HEAD", "gone.txt") is None


def test_the_base_is_checked_out_and_removed(repository: Path) -> None:
    """Git has no second worktree afterwards."""
    with revisions.worktree(repository, "HEAD~1") as path:
        assert (path / "file.txt").read_text() == "old"
    assert not path.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("ref", ["no-such-ref", "--all", "HEAD~9"])
def test_an_unknown_revision_is_a_usage_error(repository: Path, ref: str) -> None:
    """It names the revision, and nothing is left behind."""
    with pytest.raises(UsageError, match=ref), revisions.worktree(repository, ref):
        pytest.fail("it must not come this far")
