"""The instrument speaks its protocol and needs nothing but the standard library."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.gate.measure import worker
from tests.unit.gate import fake_engine

JOB = {"checkpoint": "any", "options": "", "device": None, "clip": "clip.wav", "clip_text": "Words."}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in takes the place of the engine, for the worker alone."""
    fake_engine.write(tmp_path)
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "engine"}
    with monkeypatch.context() as patch:
        for name in kept:
            patch.delitem(sys.modules, name)
        patch.syspath_prepend(str(tmp_path))
        yield
    sys.modules.pop("engine", None)
    sys.modules.update(kept)


def replies(*requests: dict[str, Any], outputs: str | None = None) -> list[dict[str, Any]]:
    """What the worker says to a job and some requests."""
    lines = [json.dumps({**JOB, "outputs": outputs}), *(json.dumps(request) for request in requests)]
    out = io.StringIO()
    worker.serve(io.StringIO("\n".join(lines) + "\n"), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.usefixtures("fake")
def test_it_describes_itself_then_answers_each_call_then_says_what_it_observed(tmp_path: Path) -> None:
    """One reply a line: what was loaded, one for each call, and the evidence at the end."""
    first, call, last = replies({"text": "Hello", "seed": 3, "speed": 1.0})
    assert Path(first["root"]) == tmp_path
    assert first["options"] == {"nfe": 7}
    assert first["load_seconds"] >= 0
    assert call["output"] == hashlib.sha256(b"Hello 3").hexdigest()
    assert call["seconds"] > 0
    assert call["host_mb"] > 1
    assert last["evidence"] == {"reference_cache": [None, "nothing yet"]}
    assert last["peak_host_mb"] >= call["host_mb"] * 0.5


@pytest.mark.usefixtures("fake")
def test_a_stage_that_rounding_made_negative_is_zero() -> None:
    """The record allows no negative time."""
    assert replies({"text": "Hello", "seed": 0, "speed": 1.0})[1]["stages"]["other"] == 0


@pytest.mark.usefixtures("fake")
def test_outputs_are_kept_under_their_hash(tmp_path: Path) -> None:
    """What was timed can be judged later; the same wave is kept once."""
    request = {"text": "Hello", "seed": 0, "speed": 1.0}
    replies(request, request, outputs=str(tmp_path))
    digest = hashlib.sha256(b"Hello 0").hexdigest()
    assert (tmp_path / f"{digest}.f32").read_bytes() == b"Hello 0"


@pytest.mark.usefixtures("fake")
def test_a_request_may_bring_its_own_clip() -> None:
    """One process speaks in several voices; the next request without a clip has the job's again."""
    request = {"text": "Hello", "seed": 0, "speed": 1.0}
    own = {"clip": "other.wav", "clip_text": "Other words."}
    answers = [reply["output"] for reply in replies(request, request | own, request)[1:4]]
    expected = [hashlib.sha256(said).hexdigest() for said in (b"Hello 0", b"Hello 0 other.wav Other words.")]
    assert answers == [expected[0], expected[1], expected[0]]


@pytest.mark.usefixtures("fake")
def test_code_that_never_repeats_itself_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many waves are kept and no more."""
    monkeypatch.setattr(worker, "KEPT", 3)
    replies(*({"text": "Hello", "seed": seed, "speed": 1.0} for seed in range(5)), outputs=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 3


def test_it_imports_only_the_standard_library_and_the_engine() -> None:
    """It has to run beside any revision, whatever that revision holds."""
    tree = ast.parse(Path(str(worker.__file__)).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"engine"}
