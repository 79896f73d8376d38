"""Studies of many networks: what to measure of each, tables of rows, effects and figures.

With `infoflow.sweep` (a function over many settings) and `infoflow.stacked` (many networks trained
together) this is all that the 2022 study is made of; docs/lange2022.md runs it on another network.
"""

from infoflow.study.agree import agreement_by_strength, agreement_matrices, mean_agreement
from infoflow.study.causal import measure_causal
from infoflow.study.effects import (
    Estimate,
    bootstrap,
    estimate,
    interval,
    rank_correlation,
    resampled,
    strong_minus_weak,
)
from infoflow.study.measure import measure_modularity, network_facts
from infoflow.study.networks import performance, q_against
from infoflow.study.strength import against_strength, matrices
from infoflow.study.style import Columns, Family, save_figure
from infoflow.study.table import agreement_table, load_table, pairs, save_table
from infoflow.study.text import decode, encode

__all__ = [
    "Columns",
    "Estimate",
    "Family",
    "against_strength",
    "agreement_by_strength",
    "agreement_matrices",
    "agreement_table",
    "bootstrap",
    "decode",
    "encode",
    "estimate",
    "interval",
    "load_table",
    "matrices",
    "mean_agreement",
    "measure_causal",
    "measure_modularity",
    "network_facts",
    "pairs",
    "performance",
    "q_against",
    "rank_correlation",
    "resampled",
    "save_figure",
    "save_table",
    "strong_minus_weak",
]
