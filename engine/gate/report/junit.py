"""The report for a continuous integration: JUnit XML, a case for each judgement."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.report import rows

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(run: Run) -> str:
    """The verdict as JUnit XML: a regression is a failure, what is undecided an error, the rest passes.

    A case's time is what the candidate's calls of its workload took, the suite's that of all calls.

    Raises:
        UsageError: the run has not been judged.
    """
    judgements = rows.verdict_of(run).judgements
    codes = [judgement.code for judgement in judgements]
    suite = ElementTree.Element(
        "testsuite",
        name="gate",
        tests=str(len(judgements)),
        failures=str(codes.count(1)),
        errors=str(codes.count(2) + codes.count(3)),
        time=f"{_suite_seconds(run):.3f}",
        timestamp=run.timestamp.isoformat(),
    )
    for judgement in judgements:
        suite.append(_case(run, judgement))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _case(run: Run, judgement: Judgement) -> ElementTree.Element:
    asked = ", ".join(filter(None, (judgement.question, judgement.workload)))
    case = ElementTree.Element(
        "testcase",
        classname=f"gate.{judgement.topic}",
        name=_xml(asked),
        time=f"{_seconds(run, judgement.workload):.3f}",
    )
    sentence = _xml(f"{judgement.outcome}: {judgement.sentence}")
    if judgement.code == 0:
        ElementTree.SubElement(case, "system-out").text = sentence
    else:
        tag = "failure" if judgement.code == 1 else "error"
        attributes = {"message": sentence, "type": _xml(judgement.outcome)}
        ElementTree.SubElement(case, tag, attributes).text = _xml(rows.name(judgement))
    return case


def _seconds(run: Run, workload: str) -> float:
    return sum(call.seconds for calls in run.calls("candidate", workload) for call in calls)


def _suite_seconds(run: Run) -> float:
    return sum(
        call.seconds
        for process in run.processes
        for series in process.series
        for call in (*series.warmup, *series.calls)
    )


def _xml(text: str) -> str:
    """Text without the control characters that XML forbids."""
    return _NOT_XML.sub("?", text)
