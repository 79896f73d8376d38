"""What a default search of a large network costs, from a recording to a judged partition.

    python -m experiments.benchmarks.large_search

The GPT-2 shape of `experiments.benchmarks.scale`. Rows go to results/large_search.csv as they come:
processor and wall seconds of the flows that weightings need and of the search, and the largest
memory of the process.
"""

from __future__ import annotations

import resource
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro

import infoflow as ifl
from experiments.benchmarks.scale import CASES, Case, Name
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching import SearchResult

RESULTS = Path(__file__).parent / "results" / "large_search.csv"


def main(networks: tuple[Name, ...] = ("gpt2",), threads: int = 1) -> None:
    """Write rows for each network.

    Args:
        networks: Which.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    for name in networks:
        searched(name, CASES[name](), threads)


def searched(name: str, case: Case, threads: int) -> None:
    """One network."""
    keep(name, threads, "bare pass", case.pass_over)
    meter = ExchangeMeter(case.rec, SEARCH, Objective())
    keep(name, threads, "flows", lambda: meter.traffic)
    found = keep(name, threads, "search", lambda: ifl.search(case.rec, meter=meter))
    print(found, found.score, found.partition.sizes.tolist(), flush=True)


def keep(name: str, threads: int, what: str, call: Any) -> Any:
    """What a call gives, its row written."""
    busy, wall = time.process_time(), time.monotonic()
    result = call()
    row: dict[str, Any] = {"network": name, "threads": threads, "what": what}
    row["cpu s"], row["wall s"] = time.process_time() - busy, time.monotonic() - wall
    row["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if isinstance(result, SearchResult):
        row |= {"evaluations": len(result.trail), "score": result.score.ratio}
    old = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
    if len(old):
        same = (old["network"] == name) & (old["threads"] == threads) & (old["what"] == what)
        old = old[~same]
    pd.concat([old, pd.DataFrame([row]).round(3)]).to_csv(RESULTS, index=False)
    print(row, flush=True)
    return result


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    tyro.cli(main)
