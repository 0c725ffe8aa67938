"""The reports: a claim that stopped being true fails them, and their pages read well in a real browser.

`nox -s notebooks` points ISHOWTTS_REPORTS to the pages that it has just made; without it, the tests of pages
look at one small report made up here.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars")
OPENING = "# A small report\n\nWhat it is about. And more."
FIGURE = """
import matplotlib.pyplot as plt
from tests.studies import figures
figure, axes = plt.subplots()
axes.plot([1, 2], [3, 4])
axes.set(title="A line", xlabel="time (s)", ylabel={ylabel!r})
figures.show(figure, "A line that rises.")
"""
SLOW_VOCODER = """
import time
from engine import vocoder

fast = vocoder.VocosVocoder.decode

def slow(self, mel):
    end = time.perf_counter() + 3
    while time.perf_counter() < end:
        pass
    return fast(self, mel)

vocoder.VocosVocoder.decode = slow
"""


def execute(executed: Path, *notebooks: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run notebooks as the session does: nbval, once, and what came out is kept."""
    command = [sys.executable, "-m", "pytest", *map(str, notebooks), "--nbval-lax", "--nbval-current-env"]
    command += ["--executed", str(executed), "-p", "no:cacheprovider", "--confcutdir", str(NOTEBOOKS)]
    known = {name: value for name, value in os.environ.items() if not name.startswith("ISHOWTTS_")}
    return subprocess.run(
        command, cwd=ROOT, env={**known, **environment}, capture_output=True, text=True, check=False
    )


def render(executed: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Make the pages."""
    command = [sys.executable, str(NOTEBOOKS / "render.py"), str(executed), str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def written(folder: Path, *cells: str) -> Path:
    """A notebook with an opening and these cells, beside the hook that keeps executions."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(NOTEBOOKS / "conftest.py", folder)
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    path = folder / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(OPENING), *code]), path)
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pages to look at."""
    if given := os.environ.get("ISHOWTTS_REPORTS"):
        return ROOT / given
    home = tmp_path_factory.mktemp("reports")
    notebook = written(home / "source", FIGURE.format(ylabel="height (m)"), "assert 1 + 1 == 2")
    done = execute(home / "executed", notebook)
    assert done.returncode == 0, done.stdout
    made = render(home / "executed", home / "pages")
    assert made.returncode == 0, made.stderr
    return home / "pages"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, which drives the browser")
    from selenium.webdriver.chrome.service import Service

    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ARGUMENTS:
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as one:
        yield one


def problems(browser: Any, page: Path) -> list[str]:
    """What a reader would trip over: tracebacks, pictures that are missing or unexplained, complaints."""
    browser.get(page.as_uri())
    found = []
    text = browser.execute_script("return document.body.textContent")
    found += [
        f"{mark} in the page" for mark in ("Traceback (most recent", "Error:", "Warning:") if mark in text
    ]
    script = """return [...document.querySelectorAll('main figure')].map((figure) => [
        figure.querySelector('img')?.naturalWidth ?? 0,
        figure.querySelector('img')?.alt ?? '',
        figure.querySelector('figcaption')?.textContent ?? ''])"""
    figures = browser.execute_script(script)
    if not figures:
        found.append("no figures")
    for width, alt, caption in figures:
        labelled = " against " in alt or ": " in alt
        units = any(mark in alt for mark in "([")
        if width < 300 or not labelled or not units or not caption.startswith("What to see: "):
            found.append(f"figure {alt!r}, {width} wide, caption {caption!r}")
    found += [entry["message"] for entry in browser.get_log("browser")]
    fetched = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    found += [one for one in browser.execute_script(fetched) if not one.startswith("data:")]
    return found


def test_every_page_reads_well(browser: Any, pages: Path) -> None:
    """No traceback, every figure there with its axes, units and sentence, and nothing fetched."""
    made = sorted(path for path in pages.glob("*.html") if path.name != "index.html")
    assert [path.stem for path in made] == (NAMES if "ISHOWTTS_REPORTS" in os.environ else ["small"])
    assert {page.name: found for page in made if (found := problems(browser, page))} == {}


def test_the_index_leads_to_every_page(browser: Any, pages: Path) -> None:
    """With a title, a sentence and a picture of each."""
    browser.get((pages / "index.html").as_uri())
    script = """return [...document.querySelectorAll('.reports a')].map((link) => [
        link.href, link.querySelector('h2').textContent, link.querySelector('p').textContent,
        link.querySelector('img').naturalWidth])"""
    cards = browser.execute_script(script)
    assert len(cards) == len(list(pages.glob("*.html"))) - 1
    for address, title, about, width in cards:
        assert Path(address.removeprefix("file://")).is_file()
        assert title
        assert about.endswith((".", "?"))
        assert width > 300


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out_at_the_side(browser: Any, pages: Path, width: int) -> None:
    """From a phone to a wide screen."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wide = {}
    for page in pages.glob("*.html"):
        browser.get(page.as_uri())
        wide[page.name] = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert {name: found for name, found in wide.items() if found > width} == {}


def test_a_figure_without_a_unit_fails_the_report(tmp_path: Path) -> None:
    """In the cell that shows it."""
    done = execute(tmp_path / "executed", written(tmp_path / "source", FIGURE.format(ylabel="height")))
    assert done.returncode == 1
    assert "axis y of 'A line' says 'height'" in done.stdout


def test_a_traceback_is_kept_and_seen(browser: Any, tmp_path: Path) -> None:
    """A cell that raises fails the execution; its page is still made, and the check of pages finds it."""
    notebook = written(
        tmp_path / "source", FIGURE.format(ylabel="height (m)"), "assert 1 + 1 == 3, 'a claim'"
    )
    done = execute(tmp_path / "executed", notebook)
    assert done.returncode == 1
    assert "a claim" in done.stdout
    assert render(tmp_path / "executed", tmp_path / "pages").returncode == 0
    assert any("Traceback" in one for one in problems(browser, tmp_path / "pages" / "small.html"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_defines_nothing_and_is_committed_without_outputs(name: str) -> None:
    """It imports the package; logic belongs there, where it is tested."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    for cell in code:
        assert [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, definitions)] == []
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert any("assert " in cell.source for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("slow", [False, True])
def test_a_stage_made_slow_fails_the_report(tmp_path: Path, slow: bool) -> None:
    """The first report claims that the flow takes the most time; with a slow vocoder that is no longer so."""
    start = tmp_path / "ipython" / "profile_default" / "startup"
    start.mkdir(parents=True)
    if slow:
        (start / "slow.py").write_text(SLOW_VOCODER)
    done = execute(
        tmp_path / "executed",
        NOTEBOOKS / "01_first_sentence.ipynb",
        ISHOWTTS_CHECKPOINT="seeded-tiny",
        IPYTHONDIR=str(tmp_path / "ipython"),
    )
    assert done.returncode == int(slow), done.stdout
    assert ("the flow is the bill" in done.stdout) == slow


@pytest.mark.slow
@pytest.mark.parametrize("lowered", [0.0, 1.0])
def test_a_quality_score_lowered_fails_the_report(tmp_path: Path, lowered: float) -> None:
    """The third report claims that the fast set sounds as good as the reference, within the gate's limit."""
    records = tmp_path / "records"
    shutil.copytree(ROOT / "baselines", records)
    pareto = json.loads((records / "pareto.json").read_text())
    fast = next(row for row in pareto["rows"] if row["name"] == "nfe=7 schedule=epss")
    for clip in fast["clips"].values():
        clip["mos"] -= lowered
    (records / "pareto.json").write_text(json.dumps(pareto))
    done = execute(
        tmp_path / "executed",
        NOTEBOOKS / "03_toggles.ipynb",
        ISHOWTTS_CHECKPOINT="seeded-tiny",
        ISHOWTTS_BASELINES=str(records),
    )
    assert done.returncode == int(lowered > 0), done.stdout
    assert ("surely worse in mos" in done.stdout) == (lowered > 0)
