"""How the flow between halves of a trained network depends on the code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from experiments.estimators.tables import trained
from infoflow.data import load_digits
from infoflow.information import Binning, resolution_sweep
from infoflow.information.donors import table_flow
from infoflow.information.tables import code_tables
from infoflow.information.targets import fit_target


def main() -> None:
    torch.set_num_threads(1)
    rec = trained(load_digits(), 1437)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rec.units))
    first, second = rec.units.indices("fc1"), rec.units.indices("fc2")
    pairs = {
        "half of fc1 -> half of fc2": (rng.permutation(first)[:32], rng.permutation(second)[:32]),
        "half of the network -> the other half": (order[:64], order[64:]),
    }
    found = []
    for name, (source, target) in pairs.items():
        for group in ("kmeans", "projection"):
            sweep = resolution_sweep(
                rec, source, target, counts=(2, 4, 10, 20, 50), binning=Binning(group=group),
                donors=200, contexts=200,
            )  # fmt: skip
            found.append(sweep.assign(pair=name, coding=f"joint, {group}"))
        sweep = resolution_sweep(
            rec, source, target, counts=(2, 5, 10, 20), coding="units", donors=200, contexts=200
        )
        found.append(sweep.assign(pair=name, coding="units"))
        aim = fit_target(rec, target)
        table = code_tables(rec, source, [aim], np.arange(200), np.arange(200, 400), focus=False)[0]
        plain = table_flow(table.codes, table.n_codes)
        print(name, "10 codes on all target units:", plain.bits.round(3), plain.given_context)
    frame = pd.concat(found).set_index(["pair", "coding", "count"]).round(4)
    frame.to_csv(Path(__file__).parent / "results" / "digits_resolution.csv")
    print(frame.to_string())


if __name__ == "__main__":
    main()
