"""Executed notebooks as pages, one each and an index, and the README's pictures of them.

python notebooks/render.py build/executed build/reports [--pictures]
"""

from __future__ import annotations

import argparse
import base64
import html
import re
from pathlib import Path
from typing import NamedTuple

import nbformat

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
README_WIDTH = 900
PICTURE = re.compile(r'<img class="chart"[^>]*src="data:image/png;base64,([^"]+)"')


class Report(NamedTuple):
    """One executed notebook: file name without ending, heading, what it is about, first figure (PNG)."""

    name: str
    title: str
    about: str
    picture: bytes


def read(path: Path) -> tuple[nbformat.NotebookNode, Report]:
    """An executed notebook.

    Raises:
        ValueError: it has no heading with a sentence under it, or no figure: it was not executed to its end.
    """
    notebook = nbformat.read(path, as_version=4)
    opening = re.match(r"# (.+?)\n+(.+?)(?:\n\n|$)", notebook.cells[0].source, re.DOTALL)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    picture = PICTURE.search(shown)
    if opening is None or picture is None:
        lacks = "no heading with a sentence under it" if opening is None else "no figure"
        raise ValueError(f"{path.name}: {lacks}. Execute it to its end: nox -s notebooks")
    about = re.split(r"(?<=[.?!])\s", " ".join(opening[2].split()))[0]
    return notebook, Report(path.stem, opening[1], about, base64.b64decode(picture[1]))


def render(executed: Path, out: Path) -> list[Report]:
    """Write a page for each notebook in `executed`, and `index.html`; in the order of their names."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(HERE)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    found = [read(path) for path in sorted(executed.glob("*.ipynb"))]
    reports = [report for _, report in found]
    out.mkdir(parents=True, exist_ok=True)
    for notebook, report in found:
        body, _ = exporter.from_notebook_node(notebook)
        (out / f"{report.name}.html").write_text(page(report.title, body, reports), encoding="utf-8")
    (out / "index.html").write_text(page("Reports", index(reports), reports), encoding="utf-8")
    return reports


def page(title: str, body: str, reports: list[Report]) -> str:
    """A whole page that fetches nothing."""
    from pygments.formatters import HtmlFormatter

    links = [("index", "Reports"), *((report.name, report.title.split(":")[0]) for report in reports)]
    nav = "".join(f'<a href="{name}.html">{html.escape(text)}</a>' for name, text in links)
    style = (HERE / "report" / "style.css").read_text(encoding="utf-8")
    colours = HtmlFormatter().get_style_defs(".highlight")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{colours}{style}</style>'
        f"</head><body><nav>{nav}</nav><main>{body}</main></body></html>"
    )


def index(reports: list[Report]) -> str:
    """Title, sentence and picture of each report."""
    items = "".join(
        f'<li><a href="{one.name}.html">'
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(one.picture).decode()}">'
        f"<h2>{html.escape(one.title)}</h2><p>{html.escape(plain(one.about))}</p></a></li>"
        for one in reports
    )
    return (
        "<h1>Reports</h1><p>Executed from top to bottom on the machine at hand; every number that matters "
        "was checked by the cell that shows it. Heavy timings come from committed records; each says when "
        f'and where it was measured.</p><ul class="reports">{items}</ul>'
    )


def plain(markdown: str) -> str:
    """Text without the marks of Markdown."""
    return re.sub(r"[*`]|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", markdown)


def keep_pictures(reports: list[Report]) -> None:
    """The first figure of each report, for the README."""
    from io import BytesIO

    from PIL import Image

    for report in reports:
        image = Image.open(BytesIO(report.picture)).convert("RGB")
        image.thumbnail((README_WIDTH, 10 * README_WIDTH), Image.Resampling.LANCZOS)
        image.quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{report.name}.png", optimize=True)


def main() -> None:
    """Render; with `--pictures` renew those of the README too."""
    parser = argparse.ArgumentParser(description="Executed notebooks as pages.")
    parser.add_argument("executed", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", action="store_true", help="renew the README's pictures")
    given = parser.parse_args()
    reports = render(given.executed, given.out)
    if given.pictures:
        keep_pictures(reports)


if __name__ == "__main__":
    main()
