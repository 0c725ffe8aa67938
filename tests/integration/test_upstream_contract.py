"""Upstream is what the engine was written against, or the change is named."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from third_party import contract

HERE = Path(contract.__file__).parent
ROOT = HERE.parent


def test_the_installed_upstream_is_the_fingerprinted_one() -> None:
    """Each function the engine relies on has the signature and the body that were read."""
    assert contract.differences(contract.read()) == []


@pytest.mark.parametrize(("name", "user"), contract.RELIED_ON.items())
def test_a_changed_body_is_named_with_its_cure(name: str, user: str) -> None:
    """The sentence names the function, the part of the engine that uses it, and the command."""
    changed = contract.read()[name] | {"sha256": "0" * 64}
    (sentence,) = contract.differences({name: changed}, {name: user})
    assert sentence.startswith(f"{name} has another body")
    assert user in sentence
    assert "nox -s contract" in sentence


def test_a_changed_signature_shows_both() -> None:
    """The old and the new arguments stand side by side."""
    name = "f5_tts.model.utils.lens_to_mask"
    changed = contract.read()[name] | {"signature": "(old)"}
    (sentence,) = contract.differences({name: changed}, {name: "engine/sampler.py"})
    assert "(old) became (t: int['b'], length: int | None=None)" in sentence


def test_a_missing_fingerprint_and_a_stray_one_are_named() -> None:
    """The list and the fingerprints cannot drift apart."""
    name = "f5_tts.model.utils.lens_to_mask"
    missing, stray = contract.differences({"f5_tts.stray": {}}, {name: "engine/sampler.py"})
    assert f"{name} has no fingerprint" in missing
    assert "f5_tts.stray is fingerprinted but not in RELIED_ON" in stray


@pytest.mark.parametrize("name", ["f5_tts.model.cfm.CFM.gone", "f5_tts.gone.sample"])
def test_a_function_that_upstream_dropped_is_named(name: str) -> None:
    """A name that leads nowhere is reported, whether the module or the function is gone."""
    (sentence,) = contract.differences({}, {name: "engine/sampler.py"})
    assert sentence.startswith(f"{name} is gone from f5-tts")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ('def f(x):\n    "Other words."\n    # another comment\n    return (x +\n            1)', True),
        ("def f(x):\n    return x + 2", False),
        ("def f(x, y=0):\n    return x + 1", False),
        ("@decorated\ndef f(x):\n    return x + 1", False),
    ],
)
def test_only_code_counts(other: str, same: bool) -> None:
    """Layout, comments and docstrings do not change a fingerprint; code, arguments and decorators do."""
    one = contract.normalised(ast.parse('def f(x):\n    "Words."\n    return x + 1'))
    assert (contract.normalised(ast.parse(other)) == one) is same


def test_the_recorded_releases_are_those_that_ci_installs() -> None:
    """`versions.json` and `constraints.txt` name the same releases."""
    pins = [line.split(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()]
    recorded = json.loads((HERE / "versions.json").read_text(encoding="utf8"))
    for name, package in recorded["packages"].items():
        assert f"{name}=={package['version']}" in pins


def test_the_models_import_without_the_trainer() -> None:
    """No wandb, no datasets; afterwards the trainer itself is not hidden."""
    code = (
        "import sys; from engine import upstream; m = upstream.module('f5_tts.model'); "
        "print('wandb' in sys.modules, 'datasets' in sys.modules, 'f5_tts.model.trainer' in sys.modules, "
        "hasattr(m, 'Trainer'), m.DiT.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False", "False", "False", "False", "DiT"]
