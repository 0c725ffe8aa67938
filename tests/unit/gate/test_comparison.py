"""What a request compares: base, the product's checkpoint and toggles, questions, and whose limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CheckpointError, UsageError
from engine.gate import comparison as comparisons
from engine.gate.baselines.loosening import loosened_files
from engine.gate.baselines.select import Selection, dump
from engine.gate.comparison import Comparison
from engine.gate.data.limits import Baseline
from engine.gate.measure import revisions
from engine.gate.request import Request
from tests.unit.gate import builders
from tests.unit.gate.test_revision import git

SERVED = builders.PRODUCT.model_copy(update={"options": "nfe=7"})
OWN = builders.baseline(products=(SERVED,))
RECORDED = builders.baseline(sessions=(builders.session(),))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three commits on main, each with the machine's baseline, and an engine's folder."""
    folder = tmp_path / "repository"
    (folder / "baselines").mkdir(parents=True)
    git(folder, "init", "-q")
    for text in ("first", "second", "third"):
        (folder / "code.py").write_text(text)
        write(folder, OWN)
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", text)
    return folder


def write(folder: Path, baseline: Baseline) -> None:
    """Put a machine's baseline into a checkout."""
    (folder / "baselines" / f"{baseline.machine}.json").write_text(dump(baseline))


def compare(folder: Path, baseline: Baseline = OWN, **asked: Any) -> Comparison:
    """What is compared on the machine of this baseline."""
    return comparisons.compare(Request(**asked), builders.selection(baseline), folder)


def texts(comparison: Comparison) -> list[str]:
    """The code of base and candidate, as their processes would import it."""
    with comparisons.targets(comparison) as arms:
        return [(arms[arm].root / "code.py").read_text() for arm in arms]


def test_without_flags_the_checkout_is_compared_with_the_commit_it_grew_from(repository: Path) -> None:
    """Uncommitted changes with HEAD, a clean main with the commit before; the toggles are the same."""
    clean = compare(repository)
    assert texts(clean) == ["second", "third"]
    assert "HEAD~1" in clean.base.said
    (repository / "code.py").write_text("changed")
    changed = compare(repository)
    assert texts(changed) == ["third", "changed"]
    assert "uncommitted" in changed.base.said
    with comparisons.targets(changed) as arms:
        assert arms["base"].options == arms["candidate"].options == "nfe=7"
        assert [arms[arm].dirty for arm in ("base", "candidate")] == [False, True]
        assert len(str(arms["base"].root)) == len(str(arms["candidate"].root))
    git(repository, "checkout", "-q", "-b", "topic")
    git(repository, "commit", "-q", "-a", "-m", "changed")
    assert "merge base of main" in compare(repository).base.said


def test_a_revision_that_is_named_is_the_base_and_another_may_be_the_candidate(repository: Path) -> None:
    """So the base branch's gate judges a pull request from its own checkout."""
    (repository / "code.py").write_text("not looked at")
    asked = compare(repository, against="HEAD~2", candidate="HEAD~1")
    assert texts(asked) == ["first", "second"]
    assert "--against HEAD~2" in asked.base.said
    with comparisons.targets(asked) as arms:
        assert not arms["candidate"].dirty
        assert arms["candidate"].revision == revisions.resolve(repository, "HEAD~1")
    assert compare(repository, candidate="main").base.said.endswith("main~1: the commit before")
    for flag in ({"against": "nope"}, {"candidate": "nope"}):
        with pytest.raises(UsageError, match="nope"), comparisons.targets(compare(repository, **flag)):
            pytest.fail("it must not come this far")


def test_toggles_are_compared_within_one_checkout(repository: Path) -> None:
    """The same files, so that nothing but the toggles differs; uncommitted changes are in both."""
    (repository / "code.py").write_text("changed")
    asked = compare(repository, options="nfe=4", against_options="reference")
    assert texts(asked) == ["changed", "changed"]
    with comparisons.targets(asked) as arms:
        assert arms["base"].root == arms["candidate"].root
        assert [arms[arm].options for arm in ("base", "candidate")] == ["reference", "nfe=4"]


def test_limits_alone_have_no_base_and_run_from_a_checkout_too(repository: Path) -> None:
    """Nothing is compared, and that is said."""
    asked = compare(repository, limits_only=True)
    assert not asked.compared
    assert texts(asked) == ["third"]
    assert "nothing is compared" in asked.base.said


def test_the_first_commit_and_a_folder_without_git_are_measured_alone(tmp_path: Path) -> None:
    """There is nothing older; a recording still has its two arms."""
    (tmp_path / "code.py").write_text("unversioned")
    assert texts(compare(tmp_path)) == ["unversioned"]
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    first = compare(tmp_path)
    assert not first.compared
    assert first.questions == ("limits", "drift")
    assert "first commit" in first.base.said
    assert texts(compare(tmp_path, record=True)) == ["unversioned", "unversioned"]


def test_the_machines_product_is_measured_unless_something_else_is_named(repository: Path) -> None:
    """Its checkpoint with its toggles; another checkpoint with the preset of the device."""
    expected: Sequence[tuple[Baseline, dict[str, Any], tuple[str, str]]] = (
        (OWN, {}, ("seeded-tiny", "nfe=7")),
        (OWN, {"options": "nfe=4"}, ("seeded-tiny", "nfe=4")),
        (OWN, {"checkpoint": "seeded-tiny"}, ("seeded-tiny", "nfe=7")),
        (OWN, {"checkpoint": "box"}, ("box", comparisons.PRESETS["cpu"])),
        (builders.portable(), {}, ("box", comparisons.PRESETS["cpu"])),
    )
    for baseline, asked, measured in expected:
        found = compare(repository, baseline, **asked)
        assert found.checkpoint == measured[0]
        assert found.options in (
            measured[1],
            *([comparisons.PRESETS["cuda"]] if measured[0] == "box" else []),
        )


def test_a_product_without_weights_is_an_error_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the Jetson the committed baseline names F5TTS_v1_Base: no other model is measured in its place."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    committed = Path(__file__).parents[3] / "baselines" / "jetson-agx-orin.json"
    baseline = Baseline.model_validate_json(committed.read_text())
    with pytest.raises(CheckpointError, match="hf download SWivid/F5-TTS F5TTS_v1_Base") as caught:
        comparisons.product(Request(limits_only=True), builders.selection(baseline))
    assert "F5TTS_v1_Base, which are not on this machine" in str(caught.value)
    weights = tmp_path / "models--SWivid--F5-TTS" / "snapshots" / "abc" / "F5TTS_v1_Base"
    weights.mkdir(parents=True)
    (weights / "model_1250000.safetensors").write_bytes(b"")
    measured = comparisons.product(Request(), builders.selection(baseline))
    assert measured == ("F5TTS_v1_Base", "jetson")


def test_the_questions_are_change_and_what_the_machine_has(repository: Path) -> None:
    """Limits and drift where it has them, or where nothing else can be asked."""
    bare = builders.portable()
    expected: Sequence[tuple[Baseline, dict[str, Any], tuple[str, ...]]] = (
        (bare, {}, ("change",)),
        (OWN, {}, ("change", "limits")),
        (RECORDED, {}, ("change", "limits", "drift")),
        (RECORDED, {"options": "nfe=4", "against_options": "nfe=5"}, ("toggles",)),
        (bare, {"limits_only": True}, ("limits", "drift")),
    )
    for baseline, asked, questions in expected:
        assert compare(repository, baseline, **asked).questions == questions


def test_through_the_service_only_the_change_is_asked(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Limits and sessions are about `synthesize`; without a base nothing is left to ask."""
    assert compare(repository, RECORDED, through="http", against="HEAD").questions == ("change",)
    assert compare(repository, RECORDED, through="http", against_options="reference").questions == (
        "toggles",
    )
    with pytest.raises(UsageError, match="--through http without a base"):
        compare(tmp_path_factory.mktemp("bare"), through="http")


def loosened(comparison: Comparison) -> list[str]:
    """In which ways the limits of the candidate ask for less."""
    return loosened_files(*comparisons.loosening(comparison))


def test_every_limit_is_held_against_that_of_the_base_whatever_is_asked(repository: Path) -> None:
    """Not only of the selected file, and with limits alone and toggles too; committed or not."""
    jetson = OWN.model_copy(update={"machine": "jetson"})
    write(repository, jetson)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "a Jetson")
    git(repository, "checkout", "-q", "-b", "topic")
    looser = SERVED.limits.model_copy(update={"mean_rtf": builders.limit(3.6)})
    write(repository, jetson.model_copy(update={"products": (SERVED.model_copy(update={"limits": looser}),)}))
    asked: list[dict[str, Any]] = [
        {"against": "main"},
        {},
        {"limits_only": True},
        {"options": "nfe=4", "against_options": "nfe=5"},
    ]
    for prepare in (("diff", "--quiet", "HEAD", "--", "code.py"), ("commit", "-q", "-a", "-m", "looser")):
        git(repository, *prepare)
        for flags in asked:
            (sentence,) = loosened(compare(repository, **flags))
            assert "jetson.json" in sentence
            assert "0.36 to 3.6" in sentence
    git(repository, "checkout", "-q", "main")
    assert loosened(compare(repository)) == []
    assert loosened(compare(repository, candidate="topic"))
    assert loosened_files(*comparisons.loosening(compare(Path("/")))) == []


def test_limits_alone_are_held_in_a_shallow_clone_too(repository: Path, tmp_path: Path) -> None:
    """That looser limits cannot be looked for there is said, with the cure."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(clone))
    asked = compare(clone, limits_only=True)
    assert "git fetch --unshallow" in asked.base.said
    assert loosened(asked) == []
    with pytest.raises(UsageError, match="git fetch --unshallow"):
        compare(clone)


def test_a_selected_file_of_the_callers_own_replaces_nothing(repository: Path) -> None:
    """`--baseline` outside the checkout has no older version."""
    selection = Selection(builders.portable(), repository.parent / "mine.json", "")
    assert loosened(comparisons.compare(Request(), selection, repository)) == []
