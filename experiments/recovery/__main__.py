"""Every method on every network with known modules.

    python -m experiments.recovery

One row a network and method, written as it comes; rows that are there are not measured again.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import torch
import tyro

from experiments.common.cells import Row, measure_cells
from experiments.recovery.families import BESIDE, build, family_of, names, number_of
from experiments.recovery.known import KnownNetwork
from experiments.recovery.methods import METHODS, Look
from experiments.recovery.scoring import score

SECOND = ("search kernel", "search cells")
"""Measured when all others are."""
RESULTS = Path(__file__).parent / "results"
FIELDS = (
    "network", "method", "family", "number", "units", "k", "found_given", "ari_given",
    "element_given", "seconds_given", "found_free", "ari_free", "element_free", "seconds_free",
    "refused",
)  # fmt: skip


@lru_cache(maxsize=1)
def looked_at(name: str) -> tuple[KnownNetwork, Look]:
    """A network, and its recording with what methods share."""
    net = build(name)
    return net, Look(net.record())


def study(name: str, method: str) -> Row:
    """One method on one network, k given and free."""
    net, look = looked_at(name)
    known = net.labels[(net.labels >= 0) & ~look.rec.units.unused]
    k = len(set(known.tolist()))
    row: dict[str, object] = {
        "network": name,
        "method": method,
        "family": family_of(name),
        "number": number_of(name),
        "units": len(net.labels),
        "k": k,
    }
    asked = {"free": None} if k == 1 else {"given": k, "free": None}
    for question, number in asked.items():
        try:
            labels, seconds = look.timed(lambda n=number: METHODS[method].find(look, n))
        except ValueError as error:
            row["refused"] = f"{row.get('refused', '')}{question}: {str(error)[:60]} "
            continue
        rand, element, found = score(labels, net.labels, look.rec.units.unused)
        row |= {
            f"found_{question}": found,
            f"ari_{question}": round(rand, 4),
            f"element_{question}": round(element, 4),
            f"seconds_{question}": round(seconds, 3),
        }
    return row


def main(most: int = 1000, methods: tuple[str, ...] = tuple(METHODS)) -> None:
    """Measure the networks whose number is below `most`; objectives that take long come last.

    Args:
        most: Of each family.
        methods: Names in `METHODS`.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of searches at the limit of the donors, a hundred times
    cells = [(name, method) for name in names() if number_of(name) < most for method in methods]
    cells.sort(key=lambda cell: (family_of(cell[0]) in BESIDE, cell[1] in SECOND))
    measure_cells(RESULTS / "rows.csv", FIELDS, FIELDS[:2], cells, lambda *cell: [study(*cell)])


if __name__ == "__main__":
    tyro.cli(main)
