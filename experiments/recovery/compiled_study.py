"""What methods find in compiled transformers, at the level of variables and of programs.

    python -m experiments.recovery.compiled_study

One row a network and method, k given; those in the file already are not measured again.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
import tyro

from experiments.common.cells import Row, measure_cells
from experiments.recovery import compiled, superposition
from experiments.recovery.known import KnownNetwork
from experiments.recovery.methods import METHODS, Look
from experiments.recovery.scoring import score

RESULTS = Path(__file__).parent / "results" / "compiled.csv"
WANTED = (
    "Q cov", "Q cov_norm", "Q i_sens_norm", "Q o_sens", "Q o_sens_norm", "Q hess_norm",
    "Q spearman", "Q flows", "n-cut flows", "n-cut slopes", "count", "search codes", "random",
)  # fmt: skip
FIELDS = (
    "network", "level", "method", "k", "units", "found", "ari", "element", "seconds", "refused",
)  # fmt: skip


def level(name: str) -> str:
    """What is known: variables, programs (on the same tokens, or each on its own), directions."""
    family, *rest = name.split("-")
    if family == "superposition":
        return rest[0]
    return rest[1] if len(rest) > 1 else "variables"


@lru_cache(maxsize=1)
def looked_at(name: str) -> tuple[KnownNetwork, Look]:
    """A network, and its recording with what methods share."""
    net = (compiled if name.startswith("tracr") else superposition).build(name)
    return net, Look(net.record())


def study(name: str, method: str) -> list[Row]:
    """One method on one network; `count` chooses how many modules there are, others are told."""
    net, look = looked_at(name)
    known = (net.labels >= 0) & ~look.rec.units.unused
    k = len(set(net.labels[known].tolist()))
    row = {
        "network": name,
        "level": level(name),
        "method": method,
        "k": k,
        "units": int(known.sum()),
    }
    try:
        number = None if method == "count" else k
        labels, seconds = look.timed(lambda: METHODS[method].find(look, number))
    except ValueError as error:
        return [{**row, "refused": str(error)[:80]}]
    rand, element, found = score(labels, net.labels, look.rec.units.unused)
    return [
        {
            **row,
            "found": found,
            "ari": round(rand, 4),
            "element": round(element, 4),
            "seconds": round(seconds, 2),
        }
    ]


def main(methods: tuple[str, ...] = WANTED, out: Path = RESULTS) -> None:
    """Every method on every network.

    Args:
        methods: Their names in methods.py.
        out: Where rows go.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    slow = [name for name in methods if name.startswith("search")]
    quick = [name for name in methods if name not in slow]
    networks = (*compiled.NAMES, *superposition.NAMES)
    cells = (*product(networks, quick), *product(networks, slow))
    measure_cells(out, FIELDS, ("network", "method"), cells, study)


if __name__ == "__main__":
    tyro.cli(main)
