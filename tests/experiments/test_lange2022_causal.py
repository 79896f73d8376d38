"""Claims about the causal part of the 2022 study: its task, its rules, its committed results."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.lange2022 import causal_findings as findings
from experiments.lange2022 import nested
from experiments.lange2022.causal import BUDGETS, measure_causal_networks
from experiments.lange2022.measure import measure_networks
from experiments.lange2022.rows import load_rows, with_percent
from experiments.lange2022.settings import Setting, table_1
from infoflow.module_tree import ModuleTree
from infoflow.study import load_table
from infoflow.unit_similarity import MEASURES

TOP = Path(__file__).parents[2]
RESULTS = TOP / "experiments" / "lange2022" / "results" / "mnist"
TASK: dict[str, Any] = {
    "first_seed": 3,
    "networks": [asdict(Setting("dropout", p, 0.0, 1e-5)) for p in (0.05, 0.99)],
    "dataset": "digits",
    "max_epochs": 15,
}


def test_a_task_scores_the_very_networks_of_the_study_that_reach_80_percent() -> None:
    scored = pd.DataFrame(
        measure_causal_networks(**TASK, budget=10, samples=5, donors=15, contexts=10)
    )
    assert set(scored["dropout"]) == {0.05}  # the other one learns nothing
    per_weighting = scored.groupby("weighting")["source"].apply(list).to_dict()
    assert per_weighting == {name: ["causal", *MEASURES] for name in BUDGETS}
    rows = with_percent(pd.DataFrame(measure_networks(**TASK, n_steps=20)))
    assert not rows.loc[rows["dropout"] == 0.99, "kept"].any()
    findings.check_same_networks(scored, rows)
    with pytest.raises(ValueError, match="1 of 1 networks are not those of the study"):
        findings.check_same_networks(scored.assign(test_accuracy=0.9), rows)


def _planted(slopes: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Causal scores that grow with regularisation by `slopes`, and Q* that grows with all."""
    rng = np.random.default_rng(0)
    about = []
    for seed in range(3):
        about += [{**asdict(s), "seed": seed, "trained": True} for s in table_1()]
    nothing = asdict(Setting("untrained", 0.0, 0.0, 0.0))
    about += [{**nothing, "seed": 100 + n, "trained": False} for n in range(20)]
    networks = with_percent(pd.DataFrame(about).assign(test_accuracy=0.9))
    causal, rows = [], []
    for network in networks.to_dict("records"):
        rise = slopes.get(network["family"], 0.0) * network["percent"] / 100
        rows.append({**network, "q_star": 0.1 + network["percent"] / 1000, "layer": "fc1"})
        for weighting in findings.WEIGHTINGS:
            score = 1.2 + rise + 0.01 * rng.standard_normal()
            for source, part in {"causal": 1.0, **dict.fromkeys(MEASURES, 0.5)}.items():
                own = 1 + part * (score - 1)
                causal.append(
                    {**network, "weighting": weighting, "source": source, "score": own}
                    | {"score_se": 0.01, "log_score": np.log2(own), "score_plain": own, "q": 0.1}
                    | {"n_units": rng.integers(100, 128), "smallest": 60, "agreement": 0.5}
                    | {"partition": "0011"}
                )
    return pd.DataFrame(causal), pd.DataFrame(rows)


def test_planted_rises_and_no_others_are_found() -> None:
    causal, rows = _planted({"dropout": 0.3, "l1": -0.2})
    table = findings.networks(causal, rows)
    for weighting in findings.WEIGHTINGS:
        some = table[(table["weighting"] == weighting) & table["trained"]]
        verdicts = {f: v for f, (_, _, v) in findings.rises(some, "score", "log_score").items()}
        assert verdicts == {"dropout": "raised", "l1": "lowered", "l2": "not shown"}
        assert {v for _, _, v in findings.rises(some, "q_star", "q_star").values()} == {"raised"}
    main, earlier = findings.pages(causal, rows)
    assert "| causal score, ncut | dropout | +0.9" in main and "pairs" not in main
    assert "| causal score, pairs | dropout | +0.9" in earlier and "ncut" not in earlier
    assert earlier.count("| 0 % | 0 % | 0 % | 0 % |") == 2  # none is lopsided


def test_the_figure_sets_scores_beside_q() -> None:
    figure = findings.figure_causal(*_planted({"dropout": 0.3}))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:3] == [f"log2 causal score, {w}" for w in ("ncut", "pairs", "conductance")]
    dropout = figure.axes[0].containers[2].lines[0].get_ydata()
    rise = np.log2((1.2 + 0.3 * 0.7) / (1.2 + 0.3 * 0.05))
    assert dropout[-1] - dropout[0] == pytest.approx(rise, abs=0.03)


@pytest.mark.skipif(not (RESULTS / findings.CAUSAL_ROWS).exists(), reason="none are committed")
def test_the_page_shows_what_the_committed_scores_say() -> None:
    text = (TOP / "docs" / "lange2022.md").read_text(encoding="utf-8")
    for page in findings.pages(findings.load_causal(RESULTS), load_rows(RESULTS)):
        for table in page.strip().split("\n\n"):
            assert table in text


@pytest.mark.skipif(not nested.ROWS.exists(), reason="none are committed")
def test_the_page_shows_the_modules_within_modules() -> None:
    table = nested.page(load_table(nested.ROWS))
    assert table.strip() in (TOP / "docs" / "lange2022.md").read_text(encoding="utf-8")


def test_a_tree_gives_one_row_a_module() -> None:
    inner = ModuleTree(np.arange(2), 4, "log2 score", why="fewer than 4 units")
    tree = ModuleTree(np.arange(4), 4, "log2 score", 1.0, 0.01, (inner, inner))
    rows = pd.DataFrame(nested.rows_of("some", tree))
    assert rows["path"].tolist() == ["/", "/0", "/1"] and rows["score"][0] == 2.0
    assert "| some | 2.00 (0.01) | 4; 2 + 2 | 1 of 1 tried |" in nested.page(rows)
