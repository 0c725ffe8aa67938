"""Reports: every row explains itself in table, Markdown, JUnit XML and plot; odd text breaks none."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console, RenderableType

from engine.errors import OutputError, UsageError
from engine.gate.baselines.record import Change
from engine.gate.data.samples import Judgement, Run
from engine.gate.report import quality_table, table
from engine.gate.verdict.judge import judge
from tests.unit.gate import builders, speakers
from tests.unit.gate.test_baseline import entry


def judged(run: Run | None = None, **changes: Any) -> Run:
    """A run with its verdict."""
    run = builders.run() if run is None else run
    return run.model_copy(update={"verdict": judge(run, builders.selection(changes.get("baseline")))})


def shown(renderable: RenderableType, width: int = 100, *, colour: bool = False) -> str:
    """What a terminal of this width would show."""
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(renderable)
    return file.getvalue()


FAILED = judged(builders.run(builders.processes(1.3, growth=1.0)))
NOISY = builders.run(builders.processes(1.03, noise=0.06))


def test_the_table_fits_100_columns_and_has_a_row_for_each_workload() -> None:
    """Every heading and workload is there in full, and no line is wider."""
    text = shown(table.table(judged()))
    assert max(len(line) for line in text.splitlines()) <= 100
    alone = "PASS on speed alone, QUALITY NOT JUDGED (exit 0)"
    for word in (*table.HEADINGS, "short", "medium", "SAME", alone, "untrained", builders.KEY):
        assert word in text
    assert "…" not in text


def test_every_row_has_a_sentence() -> None:
    """Below the table each workload says why its verdict is what it is."""
    lines = shown(table.table(FAILED), 1000).splitlines()
    for name in ("short", "medium"):
        assert any(line.startswith(f"{name}, centre: SLOWER: ") for line in lines)
        assert any(line.startswith(f"{name}, memory: OVER LIMIT: ") for line in lines)
    assert "REGRESSION (exit 1)" in lines


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A judged run with a quality pass, whose candidate repeats itself badly."""
    run = speakers.held(
        tmp_path_factory.mktemp("waves"), speakers.Arms(candidate=speakers.truncated), ratio=0.5
    )
    return run.model_copy(update={"verdict": judge(run, speakers.SELECTION)})


def test_speed_and_quality_stand_side_by_side_under_one_verdict(spoken: Run) -> None:
    """Both arms' figures, the difference, the limit, and the outcome of each question."""
    text = shown(table.table(spoken))
    assert max(len(line) for line in text.splitlines()) <= 100
    row = next(line for line in text.splitlines() if "duration" in line)
    assert [cell in row for cell in ("2.0%", "FAULT", "-20.0%")] == [True] * 3
    assert next(line for line in text.splitlines() if "MOS" in line).count("3.00") == 2
    for word in (*quality_table.HEADINGS, "FASTER", "timed = judged", "CER", "REGRESSION (exit 1)"):
        assert word in text
    assert "quality, duration: FAULT: " in text


def test_quality_is_in_markdown_and_junit_too(spoken: Run) -> None:
    """A second table, and a case for each question."""
    page = table.markdown(spoken)
    assert page.startswith("### Gate: REGRESSION (exit 1)")
    assert page.count("| --- |") == 2
    assert "| duration | " in page
    suite = ElementTree.fromstring(table.junit(spoken))
    asked = [case.attrib["name"] for case in suite.iter("testcase") if case.attrib["classname"] == "quality"]
    assert spoken.verdict is not None
    assert asked == [one.question for one in spoken.verdict.quality]


def test_a_pass_on_speed_alone_is_not_a_pass_on_quality(tmp_path: Path) -> None:
    """Wherever the verdict is read."""
    alone = judged()
    for page in (shown(table.table(alone), 1000), table.markdown(alone)):
        assert "PASS on speed alone, QUALITY NOT JUDGED" in page
        assert "Quality was not judged" in page
    both = speakers.held(tmp_path)
    both = both.model_copy(update={"verdict": judge(both, speakers.SELECTION)})
    assert "PASS (exit 0)" in shown(table.table(both), 1000)


def test_a_missing_judge_is_told_once(tmp_path: Path) -> None:
    """Among the notes; the rows say NOT JUDGED."""
    run = speakers.held(
        tmp_path,
        judge=lambda items, *others: [
            scores.model_copy(update={"mos": None, "not_judged": {"mos": "not installed"}})
            for scores in speakers.heard(items, *others)
        ],
    )
    assert run.quality is not None
    run = run.model_copy(
        update={"quality": run.quality.model_copy(update={"missing": {"mos": "not installed"}})}
    )
    text = shown(table.table(run.model_copy(update={"verdict": judge(run, speakers.SELECTION)})), 1000)
    assert text.count("not installed") == 1
    assert "NOT JUDGED" in next(line for line in text.splitlines() if "MOS" in line)


def test_undecided_is_explained() -> None:
    """Who reads UNDECIDED for the first time is told what it means, and only then."""
    assert "neither" in shown(table.table(judged(NOISY)), 1000)
    assert "neither" not in shown(table.table(judged()), 1000)


def test_what_is_said_aloud_is_in_every_report() -> None:
    """Notes, such as which baseline was used, are never left out."""
    assert "said aloud" in shown(table.table(judged()), 1000)
    assert "said aloud" in table.markdown(judged())


def test_a_forced_run_says_so_in_its_title() -> None:
    """A forced verdict cannot be mistaken for an ordinary one."""
    forced = judged(builders.run(preflight=builders.UNFIT, forced=True))
    assert "FORCED" in shown(table.table(forced)).splitlines()[0] + shown(table.table(forced)).splitlines()[1]
    assert "FORCED" in table.markdown(forced)


@pytest.mark.parametrize(
    ("rtf", "colour"), [(0.2, "32"), (0.32, "33"), (0.5, "31")], ids=["good", "warning", "critical"]
)
def test_bands_colour_the_mean_and_decide_nothing(rtf: float, colour: str) -> None:
    """Green below 0.30, yellow below 0.35, red above; the exit code stays 0 without product limits."""
    run = judged(builders.run(builders.processes(rtf=rtf)))
    assert run.verdict is not None
    mean = re.escape(f"{run.verdict.rows[0].mean_rtf:.3f}")
    assert re.search(rf"\x1b\[{colour}m *{mean}", shown(table.table(run), colour=True))
    assert run.verdict.code == 0


def test_markdown_is_one_table_with_a_cell_for_each_heading() -> None:
    """Rows have as many cells as the heading, also when the text holds a bar."""
    run = judged(builders.run(candidate=builders.side(revision="a|b*c")))
    lines = [line for line in table.markdown(run).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.replace(r"\|", "").count("|") for line in lines} == {len(table.HEADINGS) + 1}
    assert r"a\|b\*c" in table.markdown(run)


def test_junit_counts_failures_and_errors() -> None:
    """A regression is a failure, an undecided result without a pass an error, the rest passes."""
    suite = ElementTree.fromstring(table.junit(FAILED))
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure")) > 0
    unfit = ElementTree.fromstring(table.junit(judged(builders.run(preflight=builders.UNFIT))))
    assert int(unfit.attrib["errors"]) == len(unfit.findall("testcase/error")) > 0
    assert unfit.attrib["failures"] == "0"
    healthy = ElementTree.fromstring(table.junit(judged()))
    assert (healthy.attrib["failures"], healthy.attrib["errors"]) == ("0", "0")


def test_an_undecided_result_that_passes_is_no_error_in_junit() -> None:
    """It exits 0, so the case passes, with its sentence as output."""
    suite = ElementTree.fromstring(table.junit(judged(NOISY)))
    case = next(case for case in suite.iter("testcase") if case.attrib["name"] == "centre")
    assert [child.tag for child in case] == ["system-out"]
    assert (case[0].text or "").startswith("UNDECIDED")


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_any_text_can_be_reported(text: str) -> None:
    """Markup, control characters and surrogates in a sentence break no report."""
    run = judged(builders.run(builders.processes(blocks=2, calls=3)))
    assert run.verdict is not None
    odd = Judgement(question="odd", outcome="ODD", code=1, sentence=text)
    run = run.model_copy(
        update={"verdict": run.verdict.model_copy(update={"trust": (odd,), "notes": (text,)})}
    )
    assert "ODD" in shown(table.table(run))
    assert "ODD" in table.markdown(run)
    case = list(ElementTree.fromstring(table.junit(run)))[-1]
    assert (case[0].text or "").startswith("ODD: ")


@pytest.mark.parametrize("render", [table.table, table.markdown, table.junit])
def test_a_run_that_was_not_judged_has_no_report(render: Any) -> None:
    """There is no verdict to show, and the error says what to do."""
    with pytest.raises(UsageError, match="Judge it first"):
        render(builders.run())


@pytest.mark.parametrize("entries", [(), (entry(),)], ids=["no samples", "recorded samples"])
def test_the_plot_is_a_picture(tmp_path: Path, entries: Any) -> None:
    """Both arms, recorded samples and the limit are drawn, and the PNG can be opened."""
    path = tmp_path / "plots" / "run.png"
    table.plot(judged(), path, builders.baseline(entries=entries))
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert len(image.convert("L").getcolors() or ()) > 10


def test_a_plot_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "plots").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="plots"):
        table.plot(judged(), tmp_path / "plots" / "run.png")


def test_recorded_changes_are_shown_in_percent() -> None:
    """A new entry is called new; a replaced one shows both figures."""
    text = shown(
        table.changes_table([Change("short", "nfe=7", None, 0.2), Change("medium", "nfe=7", 0.2, 0.25)])
    )
    assert "new" in text
    assert "+25.0 %" in text
