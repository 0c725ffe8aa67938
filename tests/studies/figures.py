"""Figures of a report: shown with a sentence on what to see, refused when an axis does not say its unit."""

from __future__ import annotations

import base64
import html
import io
import re
from typing import TYPE_CHECKING

from engine.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from engine.gate.data.limits import Limit

DPI = 110


def show(figure: Figure, see: str) -> None:
    """Display `figure` in a notebook as an HTML figure, and close it.

    The caption says what to see; the text for those who cannot see it adds titles and axes.

    Args:
        see: one sentence or two.

    Raises:
        UsageError: no title, no caption, or an axis without a label and a unit in brackets.
    """
    from IPython.display import HTML, display
    from matplotlib import pyplot

    faults = problems(figure) + ([] if see.strip() else ["no sentence on what to see"])
    if faults:
        raise UsageError("; ".join(faults), "a title, and axes like 'time (s)'", "Label the figure")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    pyplot.close(figure)
    picture = base64.b64encode(content.getvalue()).decode()
    spoken = html.escape(f"{described(figure)} {see}", quote=True)
    caption = f"<figcaption><b>What to see:</b> {html.escape(see)}</figcaption>"
    image = f'<img class="chart" alt="{spoken}" src="data:image/png;base64,{picture}" style="max-width:100%">'
    display(HTML(f"<figure>{image}{caption}</figure>"))  # type: ignore[no-untyped-call]


def bands(panel: Axes, limit: Limit, top: float) -> None:
    """Shade what `limit` calls good, a warning and critical, up to `top`, and draw the line that fails."""
    warning, critical = limit.warning or limit.upper, limit.critical or limit.upper
    for low, high, colour in (
        (0.0, warning, "#3c7d3c"),
        (warning, critical, "#d9a441"),
        (critical, top, "#c2571a"),
    ):
        panel.axhspan(low, high, color=colour, alpha=0.13, linewidth=0)
    panel.axhline(limit.upper, color="#8c1c13", linewidth=1.5)


def problems(figure: Figure) -> list[str]:
    """What keeps `figure` from explaining itself: missing titles, labels, units."""
    figure.canvas.draw()  # only then do the ticks have their texts
    shown = [axes for axes in figure.axes if axes.axison and axes.get_visible()]
    faults = [] if shown else ["no axes"]
    if not (figure.get_suptitle() or any(axes.get_title() for axes in shown)):
        faults.append("no title")
    for axes in shown:
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            if _speaks(axis) and not _has_unit(axis):
                faults.append(
                    f"axis {name} of {axes.get_title() or 'a panel'!r} says {axis.get_label_text()!r}"
                )
    return faults


def described(figure: Figure) -> str:
    """Titles and axes in words."""
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        labels = [label for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
        parts.append(": ".join(filter(None, (axes.get_title(), " against ".join(labels)))))
    return ". ".join(" ".join(part.split()) for part in parts if part) + "."


def _speaks(axis: Axis) -> bool:
    """Whether this axis shows numbers at its ticks: not names, and not hidden or left to a shared one."""
    if not axis.get_visible():
        return False
    ticks = [one.get_text().replace("mathdefault", "") for one in axis.get_ticklabels() if one.get_visible()]
    return any(re.search(r"\d", text) and not re.search(r"[A-Za-z]", text) for text in ticks)


def _has_unit(axis: Axis) -> bool:
    """`time (s)`, `share [%]`, or a pure number that says so: `ratio (-)`."""
    return bool(re.match(r"\w.*[(\[].+[)\]]", axis.get_label_text(), re.DOTALL))
