"""What a request compares on this machine: checkpoint, toggles of both arms, base and questions."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine import checkpoint as checkpoints
from engine.errors import CheckpointError, UsageError
from engine.gate import machine as machines
from engine.gate.baselines.select import BASELINES, Selection
from engine.gate.data.samples import Arm, Question
from engine.gate.measure import revisions
from engine.gate.measure.process import Target
from engine.gate.measure.revisions import Base
from engine.gate.request import Request

PRESETS = {"cpu": "fast_cpu", "cuda": "jetson"}
"""The toggles that are measured where nothing is asked for and the machine names no product, by device."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is measured, and what it is held against.

    Attributes:
        root: the checkout that holds the running engine.
        checkpoint, options: of the candidate, and of the base unless it has its own.
        candidate: a revision; None: the checkout as it is now.
        base: the commit of the base, and what to say of it. No commit: nothing is compared.
        against_options: toggles of the base where those are compared.
        older: the commit whose limits may not be stricter than the candidate's; None where there is none.
        questions: what is asked.
    """

    root: Path
    checkpoint: str
    options: str
    candidate: str | None
    base: Base
    against_options: str | None
    older: str | None
    questions: tuple[Question, ...]

    @property
    def compared(self) -> bool:
        """Whether there is a base."""
        return self.base.commit is not None


def compare(request: Request, selection: Selection, root: Path) -> Comparison:
    """What a request means on the machine that the selected baseline is for.

    Raises:
        UsageError: a revision that git does not know, a history that is not here, or git refuses to read it.
        CheckpointError: the machine's product is a published model whose weights are not on this machine.
    """
    checkpoint, options = product(request, selection)
    head = request.candidate or "HEAD"
    here, changed = revisions.describe(root)
    dirty = request.candidate is None and changed
    versioned = here != revisions.UNVERSIONED
    if request.limits_only or request.against_options is not None:
        base = Base(None, "nothing is compared: limits and drift alone")
        if request.against_options is not None:
            base = Base(here, f"the same checkout with {request.against_options}")
        older = None
        try:
            older = revisions.default_base(root, head, dirty=dirty).commit if versioned else None
        except UsageError as error:  # its history is needed for that alone
            base = Base(base.commit, f"{base.said}; looser limits are not looked for ({error})")
    else:
        base = _base(request, root, head, dirty)
        older = base.commit
    asked = _questions(request, selection, base.commit is not None)
    return Comparison(
        root, checkpoint, options, request.candidate, base, request.against_options, older, asked
    )


def product(request: Request, selection: Selection) -> tuple[str, str]:
    """The checkpoint and the toggles of the candidate: as asked, else the machine's product, else the voice
    in the box with the preset of the device.

    Raises:
        CheckpointError: a published model whose weights are not on this machine. No other is ever measured
            in its place.
    """
    served = selection.baseline.product_default
    default = served.checkpoint if served else checkpoints.DEFAULT_CHECKPOINT
    checkpoint = request.checkpoint or default
    own = [each.options for each in selection.baseline.products if each.checkpoint == checkpoint]
    options = request.options or (own[0] if own else PRESETS[_device()])
    _check_fetched(checkpoint)
    return checkpoint, options


def loosening(comparison: Comparison) -> tuple[dict[str, str], dict[str, str]]:
    """The texts of all files in `baselines/` before and after: of the base's revision and of the candidate.

    Both are empty where there is no older revision.
    """
    root, older = comparison.root, comparison.older
    if older is None:
        return {}, {}
    if comparison.candidate is not None:
        after = revisions.texts(root, comparison.candidate, str(BASELINES))
    else:
        after = {path.name: path.read_text(encoding="utf-8") for path in (root / BASELINES).glob("*.json")}
    return revisions.texts(root, older, str(BASELINES)), after


@contextlib.contextmanager
def targets(comparison: Comparison) -> Iterator[Mapping[Arm, Target]]:
    """The arms, each in a checkout of its own for as long as they are needed.

    Toggles are compared within one checkout. Without git the candidate is the folder itself.

    Raises:
        UsageError: a revision that cannot be checked out.
    """
    root, base = comparison.root, comparison.base.commit
    here, dirty = revisions.describe(root)
    toggles = comparison.against_options is not None
    if here == revisions.UNVERSIONED:
        candidate = Target(root, here, dirty, comparison.options)
        yield _arms(candidate, candidate if toggles else None, comparison)
        return
    revision = here
    if comparison.candidate is not None:
        revision, dirty = revisions.resolve(root, comparison.candidate, "--candidate"), False
    with revisions.worktrees(root, None if toggles else base, comparison.candidate) as (older, newer):
        candidate = Target(newer, revision, dirty, comparison.options)
        before = Target(older, base, False, comparison.options) if older and base else None
        yield _arms(candidate, candidate if toggles else before, comparison)


def _arms(candidate: Target, base: Target | None, comparison: Comparison) -> Mapping[Arm, Target]:
    if base is None:
        return {"candidate": candidate}
    options = comparison.against_options or comparison.options
    return {"base": dataclasses.replace(base, options=options), "candidate": candidate}


def _base(request: Request, root: Path, head: str, dirty: bool) -> Base:
    """The commit that was asked for, or the default one."""
    if request.against is not None:
        commit = revisions.resolve(root, request.against)
        return Base(commit, f"{commit[:10]}, --against {request.against}")
    base = revisions.default_base(root, head, dirty=dirty)
    if request.record and base.commit is None:
        commit = revisions.resolve(root, head, "--record")
        return Base(commit, f"{commit[:10]}, {head} itself: a recording needs the control of two arms")
    return base


def _questions(request: Request, selection: Selection, compared: bool) -> tuple[Question, ...]:
    """Change or toggles, and limits and drift where the machine has them or nothing else can be asked.

    Raises:
        UsageError: times through the service, and nothing to compare them with.
    """
    toggles = request.against_options is not None
    first: tuple[Question, ...] = (("toggles" if toggles else "change"),) if compared else ()
    if request.through is not None:
        if not compared:
            raise UsageError(
                f"--through {request.through} without a base",
                "something to compare",
                "Add --against REVISION",
            )
        return first
    alone, baseline = not compared, selection.baseline
    limits: tuple[Question, ...] = ("limits",) if alone or (baseline.products and not toggles) else ()
    drift: tuple[Question, ...] = ("drift",) if alone or (baseline.sessions and not toggles) else ()
    return (*first, *limits, *drift)


def _check_fetched(checkpoint: str) -> None:
    """Refuse a published model that would have to be fetched: a measurement is no time for that.

    Raises:
        CheckpointError: its weights are not in the hub's cache.
    """
    if checkpoint not in checkpoints.HUB:
        return
    from huggingface_hub import constants

    repository, file = checkpoints.HUB[checkpoint]
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    if not any(folder.glob(f"*/{file}")):
        raise CheckpointError(
            f"the weights of {checkpoint}, which are not on this machine",
            f"{file} of {repository} in {constants.HF_HUB_CACHE}; no other model is measured in its place",
            f"Fetch them: hf download {repository} {file} (or all that it needs: "
            f"ishowtts speak Hello -o hello.wav --checkpoint {checkpoint})",
        )


def _device() -> str:
    """Where the engine will run by itself. PyTorch is only asked where there is a GPU to ask about."""
    if not machines.describe().gpus and "torch" not in sys.modules:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
