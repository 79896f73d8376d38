"""Figures: where they are drawn, in which colours, and that a notebook shows them."""

import sys
from types import ModuleType

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import infoflow as ifl
from infoflow import plot
from infoflow.plot.ink import _in_notebook, ink_on
from infoflow.reporting import figures

NAMES = ["similarity_matrix", "module_flow", "q_by_measure", "q_against_exchange", "tracking"]
NAMES += ["search_history", "agreement", "lesions", "against"]


def draw(name, comparison, ax=None):
    rows = pd.DataFrame({"kind": ["a", "b"] * 4, "x": [0, 0, 1, 1] * 2, "y": np.arange(8.0)})
    arguments = {
        "similarity_matrix": (comparison.similarities["cov"], comparison.search),
        "module_flow": (comparison.search.exchange,),
        "q_against_exchange": (comparison, "cov"),
        "search_history": (comparison.search,),
        "lesions": (ifl.lesions(comparison.rec, comparison.search),),
        "against": (rows, "x", "y"),
    }.get(name, (comparison,))
    more = {"by": "kind"} if name == "against" else {}
    return getattr(plot, name)(*arguments, ax=ax, **more)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_draws_where_it_is_told_and_returns_the_axes(name, comparison):
    mine = Figure().subplots()
    assert draw(name, comparison, mine) is mine
    assert mine.has_data() or mine.patches or mine.images
    before = plt.get_fignums()
    own = draw(name, comparison)
    assert own is not mine and own.figure is not mine.figure
    assert plt.get_fignums() == before  # nothing piles up in a loop over networks


def test_a_notebook_shows_what_is_drawn_without_axes_and_nothing_else(comparison, monkeypatch):
    monkeypatch.setattr("infoflow.plot.ink._in_notebook", lambda: True)
    before = len(plt.get_fignums())
    try:
        ax = plot.search_history(comparison.search)
        assert ax.figure.number in plt.get_fignums()
        plot.search_history(comparison.search, ax=Figure().subplots())
        figures(comparison)
        assert len(plt.get_fignums()) == before + 1
    finally:
        plt.close("all")


def test_a_notebook_is_told_from_a_script_that_imports_ipython(monkeypatch):
    shell = ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", shell)
    for running, expected in ((None, False), (object(), True)):
        shell.get_ipython = lambda running=running: running
        assert _in_notebook() is expected
    monkeypatch.delitem(sys.modules, "IPython")
    assert not _in_notebook()


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("name", ["tracking", "module_flow", "search_history"])
def test_nothing_is_drawn_in_the_colour_of_the_page(name, style, comparison):
    with plt.style.context(style):
        page = matplotlib.colors.to_rgb(plt.rcParams["figure.facecolor"])
        ax = draw(name, comparison)
    drawn = [line.get_color() for line in ax.get_lines()]
    discs = {id(t) for t in ax.texts if t.get_fontweight() == "bold"}  # these stand on colours
    drawn += [text.get_color() for text in ax.texts if id(text) not in discs]
    far = [np.abs(np.subtract(matplotlib.colors.to_rgb(c), page)).max() for c in drawn]
    assert min(far) > 0.25


def test_kinds_and_lines_differ_also_without_colour(comparison):
    scatter = draw("q_against_exchange", comparison)
    shapes = {tuple(map(tuple, c.get_paths()[0].vertices.round(3))) for c in scatter.collections}
    assert len(shapes) == len(scatter.collections) > 1
    lines = draw("against", comparison).containers
    assert len({c.lines[0].get_marker() for c in lines}) == len(lines) == 2


def test_a_label_can_be_read_on_every_module_s_colour():
    def light(color):
        rgb = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    for color in plot.MODULE_COLORS:
        pair = sorted([light(color), light(ink_on(color))])
        assert pair[1] / pair[0] > 3  # WCAG 2.1, large text
