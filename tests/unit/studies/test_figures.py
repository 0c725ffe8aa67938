"""A figure that does not explain itself is refused."""

from __future__ import annotations

import pytest

from engine.errors import UsageError
from tests.studies import figures

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def drawn(**labels: str) -> Figure:
    """A line with the labels given."""
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4])
    axes.set(**{"title": "A line", "xlabel": "time (s)", "ylabel": "share [%]"} | labels)
    return figure


def test_a_labelled_figure_has_no_problems() -> None:
    """Units in round or square brackets."""
    assert figures.problems(drawn()) == []


def test_what_is_missing_is_named() -> None:
    """A title, a label, a unit, a label with nothing but a unit."""
    for labels, said in (
        ({"title": ""}, "no title"),
        ({"xlabel": ""}, "axis x"),
        ({"ylabel": "share"}, "axis y"),
        ({"ylabel": "(s)"}, "axis y"),
    ):
        assert any(said in one for one in figures.problems(drawn(**labels)))


def test_names_at_the_ticks_need_no_unit() -> None:
    """Bars are told apart by their names."""
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.barh(["one", "other"], [1, 2])
    axes.set(title="Bars", xlabel="time (s)")
    assert figures.problems(figure) == []


def test_panels_that_share_an_axis_need_one_label() -> None:
    """The numbers stand at the last panel alone, and so does the label; a colour bar has its own."""
    figure = Figure()
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.set(title="Two", ylabel="height (m)")
    lower.set(xlabel="time (s)", ylabel="width (m)")
    image = lower.imshow([[1, 2], [3, 4]])
    upper.plot([0, 1])
    assert figures.problems(figure) == []
    bar = figure.colorbar(image, ax=lower)
    assert figures.problems(figure) != []
    bar.set_label("depth (m)")
    assert figures.problems(figure) == []


def test_an_unlabelled_figure_is_not_shown() -> None:
    """Nor is one without a sentence on what to see."""
    pytest.importorskip("IPython")
    with pytest.raises(UsageError, match="axis y"):
        figures.show(drawn(ylabel=""), "A line that rises.")
    with pytest.raises(UsageError, match="what to see"):
        figures.show(drawn(), " ")


def test_a_figure_is_shown_with_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture, its description for those who cannot see it, and the caption."""
    display = pytest.importorskip("IPython.display")
    shown: list[str] = []
    monkeypatch.setattr(display, "display", lambda page: shown.append(page.data))
    figures.show(drawn(), "It rises & rises.")
    assert 'alt="A line: time (s) against share [%]. It rises &amp; rises."' in shown[0]
    assert "data:image/png;base64," in shown[0]
    assert "It rises &amp; rises.</figcaption>" in shown[0]
