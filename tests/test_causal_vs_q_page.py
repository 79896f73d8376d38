"""The page of the comparison study says what its saved rows say."""

from pathlib import Path

from experiments.causal_vs_q.analysis import load_rows
from experiments.causal_vs_q.page import page

ROOT = Path(__file__).parent.parent


def test_the_page_s_numbers_are_those_of_the_saved_rows():
    text = (ROOT / "docs/causal_vs_q.md").read_text(encoding="utf-8")
    numbers = text.split("## All numbers\n\n")[1]
    assert numbers == page(load_rows(ROOT / "experiments/causal_vs_q/results"))
