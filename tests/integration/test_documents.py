"""The documents: what they tell people to type works, what they name exists, and the README stays short."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

import noxfile
from engine import cli
from engine.options import Options
from engine.serve import config

ROOT = Path(noxfile.__file__).resolve().parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
README_LINES = 120
BLOCK = re.compile(
    r"^( *)(?:<!-- needs: (?P<needs>[^\n]*) -->\n *)?```bash[^\n]*\n(?P<lines>.*?)^ *```", re.M | re.S
)


class Block(NamedTuple):
    """A block of shell lines: where it stands, what it needs to be run, and the lines."""

    page: str
    needs: str
    lines: str


def blocks() -> list[Block]:
    """Every shell block of the documents."""
    found = []
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text(encoding="utf8")):
            lines = "".join(line.removeprefix(match[1]) for line in match["lines"].splitlines(keepends=True))
            found.append(Block(page.name, match["needs"] or "", lines))
    return found


def commands() -> list[list[str]]:
    """Each command of the blocks in words, without its comment."""
    lines = [line.partition(" #")[0].strip() for block in blocks() for line in block.lines.splitlines()]
    parts = [part for line in lines if line[:1] != "#" for part in re.split(r"&&|\|\||\|", line)]
    return [part.split() for part in parts if part.strip()]


def test_what_needs_nothing_runs(tmp_path: Path) -> None:
    """Each block that does not say what it needs is run, in a folder with the checkout's entries."""
    runnable = [block for block in blocks() if not block.needs and block.page != "README.md"]
    assert len(runnable) >= 6
    for entry in ROOT.iterdir():
        if entry.name not in (".nox", "build", ".git"):
            (tmp_path / entry.name).symlink_to(entry)
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, module in (("ishowtts", "-m engine.cli"), ("python", "")):
        (shims / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (shims / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for block in runnable:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.lines],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{block.page}:\n{block.lines}\n{done.stdout}{done.stderr}"


def test_every_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    """The service takes it, toggles included."""
    examples = re.findall(r"```toml\n(.*?)```", "".join(page.read_text("utf8") for page in PAGES), re.S)
    assert examples
    (tmp_path / "me.wav").touch()
    for example in examples:
        (tmp_path / "ishowtts.toml").write_text(example, encoding="utf8")
        assert config.read(tmp_path / "ishowtts.toml", {}).options.changed(), example


def test_every_command_and_flag_that_is_named_exists() -> None:
    """Those that need a card, a network or an hour as well: they are at least spelt right."""
    names = {command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    helps = {
        name: CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "400"}).output for name in names
    }
    sessions = set(dir(noxfile))
    for words in commands():
        if words[0] == "ishowtts":
            assert words[1] in names | {"--help", "--version"}, words
            flags = [word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)]
            assert all(flag in helps.get(words[1], "") for flag in flags), words
        if words[0] == "nox" and "-s" in words:
            named = words[words.index("-s") + 1]
            assert named in sessions, words
            if named == "perf" and "--" in words:
                own = words[words.index("--") + 1 :]
                flags = [word for word in own if word.startswith("--")]
                assert all(flag in helps["gate"] for flag in flags), words
        if words[0].startswith(("deploy/", "third_party/")):
            assert (ROOT / words[0]).is_file(), words


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    """120 lines, and every file and heading that the documents link to."""
    assert len((ROOT / "README.md").read_text(encoding="utf8").splitlines()) <= README_LINES
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("*/README.md")):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf8")):
            path, _, heading = link.partition("#")
            if "://" in link or not path:
                continue
            target = page.parent / path
            assert target.exists(), f"{page.name}: {link}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf8"), re.M)
                assert heading in {slug(title) for title in titles}, f"{page.name}: {link}"


def slug(title: str) -> str:
    """A heading as an anchor, as MkDocs and GitHub make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())


def test_every_toggle_has_its_section_and_its_place_in_the_readme() -> None:
    """With what it does, when it helps, and what proves it; and no section is left of one that is gone."""
    text = (ROOT / "docs" / "toggles.md").read_text(encoding="utf8")
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^#|\Z)", text, re.M | re.S))
    names = {field.name for field in dataclasses.fields(Options)}
    assert set(sections) == names
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    for name, section in sections.items():
        assert f"(docs/toggles.md#{name})" in readme, name
        assert "Proof:" in section, name
        assert re.search(r"\*(?:Lossy|Lossless|The first two)", section), name
        field = next(one for one in dataclasses.fields(Options) if one.name == name)
        assert ("*Lossy" in section) == (field.metadata["lossless"] is False), name


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Strictly: no dead link, no name that is gone; nothing on it comes from another host."""
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path / "site"),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 13
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.read_text())
        assert not loaded, (page.name, loaded)


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    """As somebody would paste it."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf8"), re.S)
    assert code is not None
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code[1]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hello.flac").is_file()
