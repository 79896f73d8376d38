"""What a default search of a large network costs, from a recording to a judged partition.

    python -m experiments.benchmarks.large_search

GPT-2's shape with 1,024 neurons (as in `growth`) and with 2,048 (as in `scale`), random weights.
Rows go to results/large_search.csv as they come: processor and wall seconds of the flows that
weightings need and of the search, and the largest memory of the process.
"""

from __future__ import annotations

import resource
import time
import warnings
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
import tyro

import infoflow as ifl
from experiments.benchmarks.growth import shape
from experiments.benchmarks.scale import gpt2
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Objective
from infoflow.searching import SearchResult

RESULTS = Path(__file__).parent / "results" / "large_search.csv"


def main(units: tuple[Literal[1024, 2048], ...] = (1024, 2048), threads: int = 1) -> None:
    """Write rows for each network.

    Args:
        units: How many neurons the networks have.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    for count in units:
        rec = shape(512, 500)() if count == 1024 else gpt2().rec
        meter = ExchangeMeter(rec, SEARCH, Objective())
        keep(count, threads, "bare pass", lambda rec=rec: bare(rec))
        keep(count, threads, "flows", lambda meter=meter: meter.traffic)
        found = keep(count, threads, "search", lambda m=meter: ifl.search(m.rec, meter=m))
        print(found, found.score, found.partition.sizes.tolist(), flush=True)


def bare(rec: ifl.Recording) -> None:
    """One forward pass over the data."""
    with torch.no_grad():
        for rows in rec.batches():
            rec.call(rec.rows(rows))


def keep(units: int, threads: int, what: str, call: Any) -> Any:
    """What a call gives, its row written."""
    busy, wall = time.process_time(), time.monotonic()
    result = call()
    row: dict[str, Any] = {"units": units, "threads": threads, "what": what}
    row["cpu s"], row["wall s"] = time.process_time() - busy, time.monotonic() - wall
    row["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if isinstance(result, SearchResult):
        row |= {"evaluations": len(result.trail), "score": result.score.ratio}
    old = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
    if len(old):
        same = (old["units"] == units) & (old["threads"] == threads) & (old["what"] == what)
        old = old[~same]
    pd.concat([old, pd.DataFrame([row]).round(3)]).to_csv(RESULTS, index=False)
    print(row, flush=True)
    return result


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    tyro.cli(main)
