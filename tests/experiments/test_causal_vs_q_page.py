"""The page of the comparison study says what its saved rows say."""

import re
from pathlib import Path

from experiments.causal_vs_q.analysis import load_rows
from experiments.causal_vs_q.page import page

ROOT = Path(__file__).parents[2]


def test_the_page_s_numbers_are_those_of_the_saved_rows():
    text = (ROOT / "docs/causal_vs_q.md").read_text(encoding="utf-8")
    _, first, second = re.split(r"## All numbers(?: with n-cut)?\n\n", text)
    results = ROOT / "experiments/causal_vs_q/results"
    assert first.rstrip() + "\n" == page(load_rows(results))
    assert second == page(load_rows(results / "ncut"))
