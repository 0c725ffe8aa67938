"""What git says of a checkout, what a candidate is compared with, and checkouts for as long as needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.gate.measure import revisions

GIT = (
    *("git", "-c", "user.name=t", "-c", "user.email=t@example.org"),
    *("-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"),
)
PROJECT = Path(__file__).parents[3]


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, whatever repository calls the tests."""
    command = [*GIT, "-C", str(folder), *arguments]
    environment = revisions.own_environment()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(folder: Path, text: str, name: str = "file.txt") -> str:
    """Commit a file with this text; the commit."""
    (folder / name).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", text)
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of one file, on main."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    commit(folder, "old")
    commit(folder, "new")
    return folder


def test_a_clean_checkout_has_its_commit_and_any_change_makes_it_dirty(repository: Path) -> None:
    """New files count: they may be imported."""
    head, dirty = revisions.describe(repository)
    assert (len(head), dirty) == (40, False)
    (repository / "new.py").write_text("")
    assert revisions.describe(repository) == (head, True)


def test_without_git_a_folder_is_unversioned_and_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is ever recorded from it, and it has no base; the same where git is not installed."""
    for path in (os.environ["PATH"], str(tmp_path)):
        monkeypatch.setenv("PATH", path)
        assert revisions.describe(tmp_path) == (revisions.UNVERSIONED, True)
        assert revisions.default_base(tmp_path, dirty=True).commit is None


def test_another_revisions_files_can_be_read(repository: Path) -> None:
    """One by one or a whole folder; a file that it has not is None."""
    assert revisions.show(repository, "HEAD~1", "file.txt") == "old"
    assert revisions.show(repository, "HEAD", "gone.txt") is None
    (repository / "limits").mkdir()
    for name in ("a.json", "b.json", "c.md"):
        (repository / "limits" / name).write_text(name)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "limits")
    assert revisions.texts(repository, "HEAD", "limits") == {"a.json": "a.json", "b.json": "b.json"}
    assert revisions.texts(repository, "HEAD~1", "limits") == {}


def test_the_base_is_checked_out_and_removed(repository: Path) -> None:
    """Git has no second worktree afterwards, whatever happened in between."""
    with pytest.raises(RuntimeError), revisions.worktree(repository, "HEAD~1") as path:  # noqa: PT012
        assert (path / "file.txt").read_text() == "old"
        raise RuntimeError("the measurement failed")
    assert not path.exists()
    assert only_one_worktree(repository)


def only_one_worktree(repository: Path) -> bool:
    """Whether no entry was left behind."""
    return len(git(repository, "worktree", "list", "--porcelain").split("\n\n")) == 2


def test_an_unknown_revision_is_a_usage_error(repository: Path) -> None:
    """It names the revision, and nothing is left behind."""
    for ref in ("no-such-ref", "--all", "HEAD~9"):
        with pytest.raises(UsageError, match=ref), revisions.worktree(repository, ref):
            pytest.fail("it must not come this far")


def test_both_arms_run_from_checkouts_with_paths_of_one_length(repository: Path) -> None:
    """The candidate too, so that caches and file system are alike; both are gone afterwards."""
    with revisions.worktrees(repository, "HEAD~1", "HEAD") as (base, candidate):
        assert base is not None
        assert [path.joinpath("file.txt").read_text() for path in (base, candidate)] == ["old", "new"]
        assert len(str(base)) == len(str(candidate))
        assert base.parent == candidate.parent
    assert only_one_worktree(repository)
    assert not candidate.exists()


def test_uncommitted_changes_are_judged_and_the_index_stays_as_it_was(repository: Path) -> None:
    """Changed, staged, new, removed, renamed, executable and linked files; ignored ones are left out."""
    for name in ("removed.txt", "renamed.txt", "folder", "touched.txt"):
        commit(repository, name, name)
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "file.txt").write_text("staged")
    git(repository, "add", "file.txt", ".gitignore")
    (repository / "file.txt").write_text("newer than what is staged")
    (repository / "removed.txt").unlink()
    git(repository, "mv", "renamed.txt", "other name.txt")
    (repository / "folder").unlink()
    (repository / "folder").mkdir()
    (repository / "folder" / "ünïcode\n.sh").write_text("run")
    (repository / "folder" / "ünïcode\n.sh").chmod(0o755)
    (repository / "link").symlink_to("nowhere")
    (repository / "noise.log").write_text("ignored")
    os.utime(repository / "touched.txt", (1e9, 1e9))  # git would note in the index that it is the same
    index = (repository / ".git" / "index").read_bytes()
    assert revisions.describe(repository)[1]
    with revisions.worktrees(repository, None, None) as (base, candidate):
        assert base is None
        files = sorted(path.relative_to(candidate) for path in candidate.rglob("*") if not path.is_dir())
        assert [str(path) for path in files] == [
            ".git", ".gitignore", "file.txt", "folder/ünïcode\n.sh", "link", "other name.txt", "touched.txt",
        ]  # fmt: skip
        assert (candidate / "file.txt").read_text() == "newer than what is staged"
        assert (candidate / "folder" / "ünïcode\n.sh").stat().st_mode & 0o100
        assert (candidate / "link").is_symlink()
    assert (repository / ".git" / "index").read_bytes() == index


def test_a_project_in_a_folder_of_its_repository_is_found_again(repository: Path) -> None:
    """What is given is that folder, with its changes."""
    project = repository / "project"
    project.mkdir()
    commit(project, "one", "part.txt")
    (project / "part.txt").write_text("two")
    (repository / "file.txt").write_text("of somebody else")
    with revisions.worktrees(project, "HEAD", None) as (base, candidate):
        assert base is not None
        assert (base / "part.txt").read_text() == "one"
        assert (candidate / "part.txt").read_text() == "two"


def test_the_default_base_is_the_merge_base_with_the_default_branch(repository: Path) -> None:
    """Whatever was committed on either side since; a remote's own default comes first."""
    shared = git(repository, "rev-parse", "HEAD").strip()
    git(repository, "checkout", "-q", "-b", "topic")
    commit(repository, "mine")
    commit(repository, "mine too")
    git(repository, "checkout", "-q", "main")
    later = commit(repository, "theirs", "other.txt")
    git(repository, "checkout", "-q", "topic")
    for dirty in (False, True):
        assert revisions.default_base(repository, dirty=dirty) == (
            shared,
            f"{shared[:10]}, merge base of main",
        )
    git(repository, "checkout", "-q", "--detach")
    assert revisions.default_base(repository, dirty=False).commit == shared
    assert revisions.default_base(repository, "topic", dirty=False).commit == shared
    git(repository, "update-ref", "refs/remotes/origin/trunk", f"{later}~2")
    git(repository, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    assert revisions.default_base(repository, dirty=False).said.endswith("merge base of origin/trunk")


def test_on_the_default_branch_the_commit_before_is_the_base_or_head_for_changes(repository: Path) -> None:
    """The same on a branch that has no commit of its own, and where no branch bears a known name."""
    head, before = (git(repository, "rev-parse", ref).strip() for ref in ("HEAD", "HEAD~1"))
    for prepare in (
        ("checkout", "-q", "main"),
        ("checkout", "-q", "-b", "topic"),
        ("branch", "-m", "main", "odd"),
    ):
        git(repository, *prepare)
        assert revisions.default_base(repository, dirty=False).commit == before
        assert revisions.default_base(repository, dirty=True).commit == head
    assert "HEAD~1" in revisions.default_base(repository, dirty=False).said
    assert "uncommitted" in revisions.default_base(repository, dirty=True).said


def test_the_first_commit_has_no_base_which_is_said(tmp_path: Path) -> None:
    """Nor has a repository without any, or one whose branches share no history."""
    git(tmp_path, "init", "-q")
    assert revisions.default_base(tmp_path, dirty=True).commit is None
    first = commit(tmp_path, "first")
    assert revisions.default_base(tmp_path, dirty=False) == (
        None,
        f"no base: {first[:10]} is the first commit",
    )
    git(tmp_path, "checkout", "-q", "--orphan", "apart")
    alone = commit(tmp_path, "alone")
    assert revisions.default_base(tmp_path, dirty=False) == (
        None,
        f"no base: {alone[:10]} is the first commit",
    )


def test_a_shallow_clone_is_told_how_to_get_its_history(repository: Path, tmp_path: Path) -> None:
    """It is not taken for a repository with a single commit, nor for one without a common ancestor."""
    git(repository, "checkout", "-q", "-b", "topic")
    commit(repository, "mine")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", "--branch", "main", f"file://{repository}", str(clone))
    topic = tmp_path / "topic"
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-single-branch", f"file://{repository}", str(topic))
    for folder in (clone, topic):
        with pytest.raises(UsageError, match="git fetch --unshallow"):
            revisions.default_base(folder, dirty=False)
    with pytest.raises(UsageError, match="git fetch --unshallow"):
        revisions.resolve(clone, "HEAD~1")
    git(clone, "fetch", "-q", "--unshallow")
    assert revisions.default_base(clone, dirty=False).commit == revisions.resolve(clone, "HEAD~1")


def test_a_repository_that_git_refuses_is_told_in_gits_own_words(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of another user: never taken for a folder without git."""
    words = "fatal: detected dubious ownership in repository"
    refusing = tmp_path / "bin"
    refusing.mkdir()
    (refusing / "git").write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 128\n")
    (refusing / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing}:{os.environ['PATH']}")
    for ask in (
        lambda: revisions.describe(repository),
        lambda: revisions.resolve(repository, "HEAD"),
        lambda: revisions.show(repository, "HEAD", "file.txt"),
        lambda: revisions.default_base(repository, dirty=False),
    ):
        with pytest.raises(UsageError, match=words):
            ask()


def test_a_failing_hook_of_the_user_does_not_stop_a_checkout(repository: Path) -> None:
    """Hooks do not run in our worktrees at all."""
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    with revisions.worktrees(repository, "HEAD~1", None) as (base, candidate):
        assert base is not None
        assert not (base / "ran").exists()
        assert not (candidate / "ran").exists()
    assert only_one_worktree(repository)


def test_a_checkout_that_fails_half_way_leaves_no_entry(repository: Path) -> None:
    """Git's own words are quoted, and its list of worktrees is as before."""
    (repository / ".gitattributes").write_text("file.txt filter=broken\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "-q", "-m", "a filter that fails")
    git(repository, "config", "filter.broken.smudge", "false")
    git(repository, "config", "filter.broken.required", "true")
    with pytest.raises(UsageError, match="smudge"), revisions.worktree(repository, "HEAD"):
        pytest.fail("it must not come this far")
    assert only_one_worktree(repository)


HOOK = """#!/bin/sh
exec {python} -c '
import sys
sys.path.insert(0, "{project}")
from pathlib import Path
from engine.gate.measure import revisions
with revisions.worktrees(Path("{root}"), "HEAD", None) as (base, candidate):
    print(base.joinpath("file.txt").read_text(), candidate.joinpath("file.txt").read_text())
print(revisions.describe(Path("{root}"))[1], revisions.default_base(Path("{root}"), dirty=True).said)
' > {out} 2>&1
"""


def test_inside_a_hook_the_commit_is_what_the_user_staged(repository: Path, tmp_path: Path) -> None:
    """In a linked worktree git names that worktree's index to its hooks; nothing of ours goes there."""
    linked, out = tmp_path / "linked", tmp_path / "out.txt"
    git(repository, "worktree", "add", "-q", "-b", "topic", str(linked))
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(python=sys.executable, project=PROJECT, root=linked, out=out))
    hook.chmod(0o755)
    (linked / "file.txt").write_text("mine")
    git(linked, "commit", "-q", "-a", "-m", "mine")
    said = out.read_text().splitlines()
    assert said[0] == "new mine"
    assert said[1].startswith("True ")
    assert git(linked, "show", "--stat", "--format=%s", "HEAD").split()[:3] == ["mine", "file.txt", "|"]
    assert git(linked, "status", "--porcelain") == ""
    assert git(repository, "status", "--porcelain") == ""
    assert len(git(repository, "worktree", "list").splitlines()) == 2


WAITING = """
import sys
from pathlib import Path
from engine.gate import signals
from engine.gate.measure import revisions
signals.unwind_when_ended()
with revisions.worktrees(Path(sys.argv[1]), "HEAD~1", None) as (base, candidate):
    print(base.parent, flush=True)
    sys.stdin.readline()
"""


def test_a_closed_terminal_cleans_up_like_a_cancelled_job(repository: Path) -> None:
    """SIGHUP and SIGTERM, and both in quick succession: folders and git's entries are gone."""
    for numbers in ((signal.SIGHUP,), (signal.SIGTERM,), (signal.SIGHUP, signal.SIGTERM)):
        process = subprocess.Popen(
            [sys.executable, "-c", WAITING, str(repository)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL) and None,
        )
        assert process.stdout is not None
        scratch = Path(process.stdout.readline().strip())
        assert scratch.is_dir()
        for number in numbers:
            process.send_signal(number)
        assert process.wait(60) == 128 + numbers[0]
        process.communicate()
        assert not scratch.exists()
        assert only_one_worktree(repository)


def test_a_process_that_ignores_a_closed_terminal_goes_on(repository: Path) -> None:
    """As under `nohup`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(repository)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN) and None,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate("go on\n", timeout=60)
    assert process.returncode == 0
