"""Reports: the answers come first, every form has the same rows, and odd text breaks none."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
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
from engine.gate.data.limits import Baseline
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.report import rows, table
from engine.gate.report.junit import junit
from engine.gate.report.markdown import markdown
from engine.gate.report.plot import plot
from engine.gate.report.pyperf_file import pyperf_json
from engine.gate.verdict.judge import judge
from tests.unit.gate import builders, speakers

ALL: Any = ("change", "limits", "drift")


def judged(run: Run | None = None, baseline: Baseline | None = None) -> Run:
    """A run with its verdict."""
    run = builders.run() if run is None else run
    return run.model_copy(update={"verdict": judge(run, builders.selection(baseline))})


def shown(renderable: RenderableType, width: int = 100, *, colour: bool = False) -> str:
    """What a terminal of this width would show."""
    file = io.StringIO()
    system: Any = "standard" if colour else None
    Console(file=file, width=width, force_terminal=colour, color_system=system).print(renderable)
    return file.getvalue()


FAILED = judged(builders.run(builders.processes(1.3, growth=1.0)))
NOISY = builders.run(builders.processes(1.06, noise=0.08))
SESSIONS = tuple(builders.session(0.2, day) for day in range(4))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A judged run with a quality pass, whose candidate loses the end of what it says."""
    run = speakers.held(
        tmp_path_factory.mktemp("waves"), speakers.Arms(candidate=speakers.truncated), ratio=0.5
    )
    return run.model_copy(update={"verdict": judge(run, speakers.SELECTION)})


def test_the_answers_come_first_one_line_each() -> None:
    """Change, limits, drift, sound and the exit code, before any table."""
    run = judged(
        builders.run(builders.processes(1.3, rtf=0.2), questions=ALL), builders.baseline(sessions=SESSIONS)
    )
    lines = shown(table.table(run), 1000).splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["change", "limits", "drift", "sound", "exit"]
    assert lines[0].startswith("change  SLOWER  short +2")
    assert lines[0].endswith("against babababababa, merge base of main")
    assert "worst" in lines[1]
    assert "<= 0.45" in lines[1]
    assert lines[4] == "exit    REGRESSION (exit 1)"


def test_the_table_fits_100_columns_and_shows_base_beside_candidate() -> None:
    """Every heading and workload is there in full, passing limits too, and no line is wider."""
    run = judged(builders.run(builders.processes(1.1, rtf=0.2)), builders.baseline())
    text = shown(table.table(run))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "…" not in text
    for word in (*rows.HEADINGS, *rows.FIGURES, "short", "medium", "SLOWER", builders.KEY, "untrained"):
        assert word in text
    mean = next(row.cells for row in rows.rows(run) if row.cells[0] == "mean RTF")
    assert run.verdict is not None
    base, candidate = run.verdict.figures[:2]
    assert mean[2:4] == (f"{base.mean_rtf:.3g}", f"{candidate.mean_rtf:.3g}")
    assert mean[5:] == ("0.36", "WITHIN")


def test_sentences_of_what_passes_are_told_only_when_asked_for() -> None:
    """What fails always explains itself."""
    short, long = (shown(table.table(FAILED, verbose=verbose), 1000) for verbose in (False, True))
    for text in (short, long):
        assert "change, short, time: SLOWER: " in text
        assert "limits, short, memory growth: GROWS: " in text
    assert "trust, preflight: FIT" in long
    assert "trust, preflight: FIT" not in short


def test_trust_has_a_line_where_it_is_lost() -> None:
    """A fit machine needs none."""
    unfit = shown(table.table(judged(builders.run(preflight=builders.UNFIT))), 1000)
    assert "trust   UNFIT" in unfit
    assert "trust" not in shown(table.table(judged()), 1000)


def test_sound_stands_beside_speed(spoken: Run) -> None:
    """Both arms' figures, the difference, the limit and the outcome, in every form."""
    own = [row.cells for row in rows.rows(spoken) if row.judgement.topic == "sound"]
    (duration,) = (cells for cells in own if cells[0] == "duration")
    assert (duration[2].endswith(" s"), duration[5], duration[6]) == (True, "2.0%", "FAULT")
    assert "sound   FAULT" in shown(table.table(spoken), 1000)
    assert "| duration | " in markdown(spoken)
    cases = ElementTree.fromstring(junit(spoken)).iter("testcase")
    asked = [case.attrib["name"] for case in cases if case.attrib["classname"] == "gate.sound"]
    assert spoken.verdict is not None
    assert len(asked) == len(spoken.verdict.about("sound"))


def test_a_pass_on_speed_alone_is_not_a_pass_on_quality(tmp_path: Path) -> None:
    """Wherever the verdict is read."""
    for page in (shown(table.table(judged()), 1000), markdown(judged())):
        assert "PASS on speed alone, QUALITY NOT JUDGED" in page
    both = speakers.held(tmp_path)
    both = both.model_copy(update={"verdict": judge(both, speakers.SELECTION)})
    assert "QUALITY NOT JUDGED" not in shown(table.table(both), 1000)


def test_undecided_is_explained() -> None:
    """Who reads UNDECIDED for the first time is told what it means, and only then."""
    assert "neither" in shown(table.table(judged(NOISY)), 1000)
    assert "neither" not in shown(table.table(judged()), 1000)


def test_what_is_said_aloud_is_in_every_report() -> None:
    """Notes are never left out, and a forced verdict cannot be mistaken for an ordinary one."""
    forced = judged(builders.run(preflight=builders.UNFIT, forced=True))
    for render in (lambda run: shown(table.table(run), 1000), markdown):
        assert "said aloud" in render(judged())
        assert "FORCED" in render(forced)


def test_colours_stand_only_where_a_product_has_bands() -> None:
    """Green below 0.30, yellow below 0.35, red above; elsewhere no figure is coloured."""
    for rtf, colour in ((0.2, "32"), (0.32, "33"), (0.355, "31")):
        for baseline, coloured in ((builders.baseline(), True), (builders.portable(), False)):
            run = judged(builders.run(builders.processes(rtf=rtf)), baseline)
            assert run.verdict is not None
            mean = re.escape(f"{run.verdict.figures[1].mean_rtf:.3f}")
            found = re.search(rf"\x1b\[{colour}m{mean}", shown(table.table(run), colour=True))
            assert bool(found) == coloured, (rtf, coloured)


def test_markdown_has_a_cell_for_each_heading() -> None:
    """Rows have as many cells as the heading, also when the text holds a bar."""
    run = judged(builders.run(candidate=builders.side(revision="a|b*c")))
    text = markdown(run)
    assert text.startswith(
        "### Gate: PASS on speed alone, QUALITY NOT JUDGED (exit 0)\n\n- **change** SAME: short "
    )
    tables = re.split(r"\n\n", text)
    for headings in (rows.HEADINGS, rows.FIGURES):
        (grid,) = (part for part in tables if part.startswith(f"| {headings[0]} | {headings[1]} |"))
        counts = {line.replace(r"\|", "").count("|") for line in grid.splitlines()}
        assert counts == {len(headings) + 1}
    assert r"a\|b\*c" in text


def test_junit_counts_failures_and_errors_with_messages_and_times() -> None:
    """A regression is a failure, an undecided result an error, the rest passes."""
    for run, tag in (
        (FAILED, "failure"),
        (judged(builders.run(preflight=builders.UNFIT)), "error"),
        (judged(), ""),
    ):
        suite = ElementTree.fromstring(junit(run))
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        counts = {name: len(suite.findall(f"testcase/{name}")) for name in ("failure", "error")}
        assert {name for name, count in counts.items() if count} == ({tag} if tag else set())
        assert (int(suite.attrib["failures"]), int(suite.attrib["errors"])) == (
            counts["failure"],
            counts["error"],
        )
        for problem in (*suite.iter("failure"), *suite.iter("error")):
            assert ": " in problem.attrib["message"]
        seconds = sum(
            call.seconds for process in run.processes for each in process.series for call in each.calls
        )
        assert float(suite.attrib["time"]) == pytest.approx(seconds, abs=0.001)
        times = {case.attrib["name"]: float(case.attrib["time"]) for case in suite.iter("testcase")}
        own = sum(call.seconds for calls in run.calls("candidate", "short") for call in calls)
        assert times["time, short"] == pytest.approx(own, abs=0.001)


def test_an_undecided_result_that_passes_is_no_error_in_junit() -> None:
    """It exits 0, so the case passes, with its sentence as output."""
    suite = ElementTree.fromstring(junit(judged(NOISY)))
    case = next(case for case in suite.iter("testcase") if case.attrib["name"] == "time, short")
    assert [child.tag for child in case] == ["system-out"]
    assert (case[0].text or "").startswith("UNDECIDED")


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_any_text_can_be_reported(text: str) -> None:
    """Markup, control characters and surrogates in a sentence break no report."""
    run = judged(builders.run(builders.processes(blocks=2, calls=3)))
    assert run.verdict is not None
    odd = Judgement(topic="trust", question="odd", outcome="ODD", code=1, sentence=text)
    changed = run.verdict.model_copy(update={"judgements": (odd,), "notes": (text,)})
    run = run.model_copy(update={"verdict": changed})
    assert "ODD" in shown(table.table(run))
    assert "ODD" in markdown(run)
    case = list(ElementTree.fromstring(junit(run)))[-1]
    assert case[0].attrib["message"].startswith("ODD: ")


def test_a_run_that_was_not_judged_has_no_report() -> None:
    """There is no verdict to show, and the error says what to do."""
    render: Any
    for render in (table.table, markdown, junit):
        with pytest.raises(UsageError, match="Judge it first"):
            render(builders.run())


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    """Both arms, recorded sessions and the product's limit are drawn, and the PNG can be opened."""
    for name, sessions in (("none", ()), ("recorded", SESSIONS)):
        path = tmp_path / "plots" / f"{name}.png"
        plot(judged(), path, builders.baseline(sessions=sessions))
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert len(image.convert("L").getcolors() or ()) > 10


def test_a_plot_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "plots").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="plots"):
        plot(judged(), tmp_path / "plots" / "run.png")


def test_pyperf_compares_the_arms(tmp_path: Path) -> None:
    """`pyperf compare_to base.json candidate.json` finds each workload in both, and the candidate slower."""
    pytest.importorskip("pyperf")
    run = builders.run(builders.processes(1.5, peak_host_mb=600.0))
    paths = []
    for arm in ("base", "candidate"):
        paths.append(tmp_path / f"{arm}.json")
        paths[-1].write_text(pyperf_json(run, arm), encoding="utf-8")
    command = [sys.executable, "-m", "pyperf", "compare_to", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for name in ("short", "medium"):
        assert re.search(rf"{name}: .*1\.[45]\dx slower", done.stdout), done.stdout


def test_pyperf_gets_every_call_once_and_warm_up_apart() -> None:
    """A run for each process, in seconds of wall time."""
    run = builders.run()
    content = json.loads(pyperf_json(run))
    short = next(each for each in content["benchmarks"] if each["metadata"]["name"] == "short")
    expected = [[call.seconds for call in calls] for calls in run.calls("candidate", "short")]
    assert [each["values"] for each in short["runs"]] == expected
    assert not any("warmups" in each for each in short["runs"])


def test_recorded_changes_are_shown_in_percent() -> None:
    """A first session is called new; a further one shows both figures."""
    changes = [Change("short", "nfe=7", None, 0.2), Change("medium", "nfe=7", 0.2, 0.25)]
    text = shown(table.changes_table(changes))
    assert "new" in text
    assert "+25.0 %" in text
