"""The page on compiled transformers says what the saved rows say."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.recovery.compiled_page import RESULTS, tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", list(tables()))
def test_the_page_s_tables_are_those_of_the_saved_rows(name):
    text = tables()[name]
    assert text.count("\n") >= 3
    assert text in (ROOT / "docs/compiled.md").read_text(encoding="utf-8")


def test_pairs_and_the_antiprism_have_the_dimensionalities_that_the_page_claims():
    rows = pd.read_csv(RESULTS / "superposition.csv")
    assert rows.query("features == 12")["median"].sub(0.5).abs().max() < 0.001
    antiprism = rows.query("features == 8")
    assert len(antiprism) == 5
    assert antiprism["median"].mean() == pytest.approx(0.3694, abs=1e-4)
    assert antiprism[["least", "most"]].sub(0.375).abs().max().max() < 0.008
