"""How cost grows with units, samples, donors × contexts and modules: processor seconds, exponents.

    python -m experiments.benchmarks.growth

GPT-2's shape with two blocks (width 64, 16 tokens, 200 words) and random weights. Each row is the
better of two runs; rows go to results/growth.csv. The exponent of an axis is the slope of log
seconds on log size (`exponents`).
"""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.information.slopes import slope_flows
from infoflow.information.unit_flows import Sender
from infoflow.measured import SEARCH, TRAFFIC, Objective
from infoflow.unit_similarity import similarities_with_errors

RESULTS = Path(__file__).parent / "results" / "growth.csv"
TRIED = 8


def main() -> None:
    """Measure every axis and write the table."""
    torch.set_num_threads(1)
    rows = []
    for row in measured():
        rows.append({**row, "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})
        pd.DataFrame(rows).round(4).to_csv(RESULTS, index=False)
        print(row, flush=True)


def measured() -> Iterator[dict[str, Any]]:
    """Rows: what was done, the axis, its size, seconds."""
    for samples in (200, 400, 800):
        make = shape(64, samples)
        yield row("record", "samples", samples, make)
    rec = shape(64, 200)()
    for side in (10, 20, 40):
        draws = replace(SEARCH, donors=side, contexts=side)
        yield row("exchange", "donors × contexts", side * side, exchanged(rec, draws, 2))
    for modules in (2, 4, 8):
        draws = replace(SEARCH, donors=20, contexts=20)
        yield row("exchange", "modules", modules, exchanged(rec, draws, modules))
    for neurons in (64, 128, 256):
        rec = shape(neurons, 200)()
        n = len(rec.units)
        yield row(
            "exchange", "units", n, exchanged(rec, replace(SEARCH, donors=20, contexts=20), 2)
        )
        yield row("flows from slopes", "units", n, lambda rec=rec: slope_flows(rec, TRAFFIC))
        some = [np.array([unit]) for unit in np.linspace(0, n - 1, TRIED).astype(int)]
        found = row("flows measured", "units", n, lambda rec=rec, s=some: Sender(rec, TRAFFIC)(s))
        yield {**found, "seconds": found["seconds"] * n / TRIED}
        yield row("o_sens by 8 probes", "units", n, lambda rec=rec: probed(rec))


def row(what: str, axis: str, size: int, call: Callable[[], Any]) -> dict[str, Any]:
    """The better of two runs."""
    taken = []
    for _ in range(2):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return {"what": what, "axis": axis, "size": size, "seconds": min(taken)}


def exchanged(rec: ifl.Recording, draws: Any, modules: int) -> Callable[[], Any]:
    """Measures a partition without what weightings need."""
    partition = ifl.Partition(np.arange(len(rec.units)) % modules)
    return lambda: ExchangeMeter(rec, draws, Objective("none")).values([partition])


def probed(rec: ifl.Recording) -> Any:
    """`o_sens` by probes, anew."""
    rec.cache.clear()
    return similarities_with_errors(rec, ["o_sens"], method="probes", probes=8)


def shape(neurons: int, samples: int) -> Callable[[], ifl.Recording]:
    """A recording of two blocks of so many neurons, made when it is called."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=200, n_positions=16, n_embd=64, n_layer=2, n_head=4, n_inner=neurons,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    words = torch.randint(200, (samples, 16), generator=torch.Generator().manual_seed(0))
    return lambda: ifl.record(model, "transformer.h.*.mlp.act", words, batch_size=50)


def exponents(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each thing along each axis: sizes, seconds at the ends, and the slope of their logs."""
    found = []
    for key, own in rows.groupby(["what", "axis"], sort=False):
        what, axis = tuple(key)  # pyright: ignore[reportArgumentType]
        slope = np.polyfit(np.log(own["size"]), np.log(own["seconds"]), 1)[0]
        ends = own.sort_values("size")
        found.append(
            {
                "what": what,
                "axis": axis,
                "from": int(ends["size"].iloc[0]),
                "to": int(ends["size"].iloc[-1]),
                "seconds from": ends["seconds"].iloc[0],
                "seconds to": ends["seconds"].iloc[-1],
                "exponent": slope,
            }
        )
    return pd.DataFrame(found)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    tyro.cli(main)
