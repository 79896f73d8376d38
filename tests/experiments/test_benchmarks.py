"""The pages of benchmarks show what their saved rows say."""

from pathlib import Path

import pandas as pd

from experiments.benchmarks.interventions import RESULTS, page


def test_the_page_of_interventions_shows_what_the_saved_times_say():
    text = (Path(RESULTS).parents[1] / "interventions.md").read_text(encoding="utf-8")
    assert page(pd.read_csv(RESULTS)) in text
