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
import torch

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
    assert first["threads"] >= 1
    assert last["evidence"] == {"reference_cache": [None, "1 calls"]}
    assert last["peak_host_mb"] >= call["host_mb"] * 0.5
    assert last["first_call_seconds"] == call["seconds"]


@pytest.mark.usefixtures("fake")
def test_the_first_call_is_the_first_and_evidence_is_of_what_was_not_counted() -> None:
    """Being counted leaves traces, so what the worker observed is asked before; and no count is a call."""
    request = {"text": "Hello", "seed": 0, "speed": 1.0}
    count = request | {"count": True}
    _, first, second, _, counted, again, last = replies(request, request, request, count, count)
    assert (
        counted == again == {"operators": 0, "flops": 0, "allocated_bytes": 0, "evaluations": 7, "rows": 14}
    )
    assert last["evidence"] == {"reference_cache": [None, "3 calls"]}
    assert last["first_call_seconds"] == first["seconds"] != second["seconds"]
    assert replies()[-1]["first_call_seconds"] == 0


def test_operators_flops_and_fresh_bytes_are_counted_by_hand() -> None:
    """A product of [2, 3] and [3, 5], a view of it, a sum in place: 60 FLOPs, and the bytes of new memory."""
    tally = {"operators": 0, "flops": 0, "allocated_bytes": 0}
    left, right = torch.ones(2, 3), torch.ones(3, 5)
    with worker._counting(tally):
        product = left @ right
        product.view(5, 2).add_(1.0)
    assert tally == {"operators": 3, "flops": 2 * 2 * 3 * 5, "allocated_bytes": 4 * 2 * 5}


def test_composite_operators_count_as_their_parts_in_inference_mode_too() -> None:
    """`linear` stays whole in inference mode; it counts as what it is made of either way, bias and all."""
    layer, given = torch.nn.Linear(8, 4), torch.ones(2, 3, 8)
    tallies = []
    for mode in (torch.no_grad, torch.inference_mode):
        tallies.append({"operators": 0, "flops": 0, "allocated_bytes": 0})
        with mode(), worker._counting(tallies[-1]):
            layer(given)
    assert tallies[0]["flops"] == tallies[1]["flops"] == 2 * 2 * 3 * 8 * 4
    assert tallies[0]["allocated_bytes"] == tallies[1]["allocated_bytes"] == 4 * 2 * 3 * 4


def test_attention_of_the_cpu_counts_its_two_products() -> None:
    """torch's own table of FLOPs leaves the CPU's kernel out: 2 heads of 5 queries, 7 keys, 4 and 4 wide."""
    q, k, v = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 7, 4), torch.ones(1, 2, 7, 4)
    tally = {"operators": 0, "flops": 0, "allocated_bytes": 0}
    with torch.inference_mode(), worker._counting(tally):
        torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert tally["flops"] == 2 * (2 * 2 * 5 * 7 * 4)


def test_memory_in_use_leaves_out_what_the_c_library_hoards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free pages of malloc come and go by megabytes; they are no growth, and never more than half."""
    monkeypatch.setattr(worker, "_hoarded_mb", lambda: 0.0)
    resident = worker._host_mb()
    monkeypatch.setattr(worker, "_hoarded_mb", lambda: 5.0)
    assert worker._host_mb() == pytest.approx(resident - 5.0, abs=2.0)
    monkeypatch.setattr(worker, "_hoarded_mb", lambda: 1e9)
    assert worker._host_mb() == pytest.approx(resident / 2, abs=2.0)


def test_an_engine_that_counts_no_rows_is_an_error() -> None:
    """Zero would be a figure."""
    with pytest.raises(RuntimeError, match="does not count"):
        worker._rows(object.__new__(type("Engine", (), {})))


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


def test_it_imports_only_the_standard_library_the_engine_and_torch() -> None:
    """It has to run beside any revision, whatever that revision holds; each brings torch."""
    tree = ast.parse(Path(str(worker.__file__)).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in foreign} == {"engine", "torch"}


def test_a_kernel_or_a_table_that_is_edited_is_other_code(tmp_path: Path) -> None:
    """Whatever the package holds decides what is measured; what Python keeps for itself does not."""
    (tmp_path / "__pycache__").mkdir()
    hashes = []
    for name, content in (
        ("engine.py", "1"),
        ("kernels.cpp", "1"),
        ("kernels.cpp", "2"),
        ("plans.json", "{}"),
        ("__pycache__/engine.pyc", "anything"),
    ):
        (tmp_path / name).write_text(content)
        hashes.append(worker._code(str(tmp_path)))
    assert len(set(hashes)) == 4
    assert hashes[-1] == hashes[-2]
