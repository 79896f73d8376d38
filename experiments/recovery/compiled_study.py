"""What methods find in compiled transformers, at the level of variables and of programs.

    python -m experiments.recovery.compiled_study

One row a network and method, k given; those in the file already are not measured again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro

import infoflow as ifl
from experiments.common.cells import Row, measure_cells
from experiments.recovery import compiled, superposition
from experiments.recovery.known import KnownNetwork
from experiments.recovery.methods import METHODS, Look
from experiments.recovery.scoring import score

RESULTS = Path(__file__).parent / "results" / "compiled.csv"
WANTED = (
    "Q cov", "Q cov_norm", "Q i_sens_norm", "Q o_sens", "Q o_sens_norm", "Q hess_norm",
    "Q spearman", "Q tokens", "Q flows", "n-cut flows", "n-cut slopes", "count", "search codes",
    "random",
)  # fmt: skip
NETWORKS = (*compiled.NAMES, *superposition.NAMES[:4])
# A search of a network of fifty units takes ten seconds of an idle processor.
SEARCHED = (
    "tracr-sort+frac_prevs-shared", "tracr-hist+detect+frac_prevs-shared", "tracr-count_less_freq",
    "tracr-sort", *superposition.NAMES[:2],
)  # fmt: skip
FIELDS = (
    "network", "level", "method", "k", "units", "found", "ari", "element", "seconds", "refused",
)  # fmt: skip


def by_tokens(look: Look, k: int | None) -> np.ndarray:
    """Largest Q of the correlations over tokens, each token of each sequence a sample.

    Raises:
        ValueError: Layers without tokens.
    """
    rec = look.rec
    if rec[rec.units.layers[0]].ndim < 3:
        raise ValueError("no tokens")
    values = np.concatenate([np.asarray(rec[layer]) for layer in rec.units.layers], 1)
    flat = np.moveaxis(values, 1, 2).reshape(-1, values.shape[1]).astype(float)
    changing = flat.std(0) > 0
    links = np.zeros((flat.shape[1],) * 2)
    links[np.ix_(changing, changing)] = np.abs(np.corrcoef(flat[:, changing].T))
    return ifl.find_modules(links, n_modules=k).partition.labels


FINDERS: dict[str, Callable[[Look, int | None], np.ndarray]] = {
    **{name: method.find for name, method in METHODS.items()},
    "Q tokens": by_tokens,
}


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
        labels, seconds = look.timed(lambda: FINDERS[method](look, number))
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
    """Every method on every network, searches on small ones.

    Args:
        methods: Names of methods.py, or `"Q tokens"`.
        out: Where rows go.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    slow = [name for name in methods if name.startswith("search")]
    quick = [name for name in methods if name not in slow]
    cells = (*product(NETWORKS, quick), *product(SEARCHED, slow))
    measure_cells(out, FIELDS, ("network", "method"), cells, study)


if __name__ == "__main__":
    tyro.cli(main)
