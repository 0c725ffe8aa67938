"""Errors say what was given, what was expected, and what to do."""

from __future__ import annotations

import inspect
import pickle

import pytest

from engine import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_an_error_says_given_expected_and_cure() -> None:
    """All three parts stand in the one sentence that a user reads."""
    for kind in KINDS:
        error = kind("nfe=0", "a number from 1", "Choose one")
        assert str(error) == "nfe=0: expected a number from 1. Choose one."
        assert (error.given, error.expected, error.cure) == ("nfe=0", "a number from 1", "Choose one")


def test_no_part_of_an_error_can_be_left_out() -> None:
    """Without a cure there is no error to raise."""
    for kind in KINDS:
        with pytest.raises(TypeError):
            kind("given", "expected")  # type: ignore[call-arg]


def test_every_error_is_an_engine_error_and_survives_pickling() -> None:
    """One `except EngineError` catches all, and a worker process can hand one back."""
    for kind in KINDS:
        assert issubclass(kind, errors.EngineError)
        assert str(pickle.loads(pickle.dumps(kind("a", "b", "c")))) == "a: expected b. c."


def test_an_offline_hub_is_a_checkpoint_error() -> None:
    """Who handles missing weights handles an unreachable hub too."""
    assert issubclass(errors.OfflineError, errors.CheckpointError)
