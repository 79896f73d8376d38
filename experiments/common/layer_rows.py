"""What a study asks of one network: how it does, and the modularity of each of its layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from experiments.common.matrix_text import encode_matrix
from infoflow.clustering import Modules, find_modules
from infoflow.recording import Recording
from infoflow.study import encode
from infoflow.unit_similarity import similarities

NEAR_ZERO = 1e-3  # "sparsity is the fraction of weights in [-1e-3, 1e-3]" (figure S1)


def classifier_facts(rec: Recording) -> dict[str, float]:
    """How a classifier does on the recorded inputs, and what its weights are like (figure S1).

    Returns:
        `test_accuracy` (share correct), `test_loss` (mean cross-entropy, nats), `l1_norm` (`Σ|W|`),
        `l2_norm` (sqrt ΣW²) and `sparsity` (share of `|W| <= 0.001`), the last three over all
        weight matrices and kernels, biases not counted.

    Raises:
        ValueError: The recording has no targets, or no class for every sample.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> x = torch.randn(50, 4)
        >>> rec = ifl.record(net, ["1"], x, net(x).argmax(1))
        >>> classifier_facts(rec)["test_accuracy"]
        1.0
    """
    targets, outputs = rec.targets, rec.outputs
    if targets is None or targets.ndim != 1 or outputs.ndim != 2 or targets.is_floating_point():
        raise ValueError(
            "expected logits (K, classes) and integer targets (K,): record(model, layers, x, y); "
            f"got outputs {tuple(outputs.shape)} and targets "
            f"{None if targets is None else (tuple(targets.shape), targets.dtype)}"
        )
    correct = outputs.argmax(1) == targets
    weights = [p.detach().double().flatten() for p in rec.model.parameters() if p.ndim >= 2]
    flat = torch.cat(weights)
    return {
        "test_accuracy": float(correct.double().mean()),
        "test_loss": float(cross_entropy(outputs.double(), targets)),
        "l1_norm": float(flat.abs().sum()),
        "l2_norm": float(flat.square().sum().sqrt()),
        "sparsity": float((flat.abs() <= NEAR_ZERO).double().mean()),
    }


def measure_modularity(
    rec: Recording,
    *,
    measures: Sequence[str] | None = None,
    n_steps: int = 5000,
    seed: int = 0,
    keep: Collection[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Modules of each recorded layer under each similarity measure: one row a layer and measure.

    Args:
        rec: A recording.
        measures: Similarity measures; None: all eight, or those that the recording allows (see
            `similarities`).
        n_steps: Monte Carlo steps of the 2022 paper's clustering.
        seed: Of the clustering.
        keep: `(layer, measure)` whose matrix is wanted as a picture, in column `matrix`.

    Returns:
        Rows with `layer` and `measure`; `q_star`, `n_effective` (eq. 8) and `n_modules` by the
        paper's clustering (algorithms 1 to 3); `q_default` and `n_effective_default` by
        `find_modules`' own; `q_spectral`, `q_monte_carlo` and `q_monte_carlo_1000` by each half of
        the paper's alone; `partition` and `partition_default` as text
        (`infoflow.study.decode`); `matrix`. A layer in which no unit resembles another has no
        modules: None, and empty text.

    Raises:
        ValueError: A measure that the recording does not allow.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
        >>> rec = ifl.record(net, ["1"], torch.randn(50, 4))
        >>> (row,) = measure_modularity(rec, measures=["cov"], n_steps=100)
        >>> row["layer"], row["measure"], len(row["partition"]), row["q_star"] <= row["q_default"]
        ('1', 'cov', 6, True)
    """
    rows = []
    for layer in rec.units.layers:
        for measure, S in similarities(rec, measures, layers=layer).items():
            picture = encode_matrix(S) if (layer, measure) in keep else ""
            row = {"layer": layer, "measure": measure, **_clustering(S, n_steps, seed)}
            rows.append({**row, "matrix": picture})
    return rows


def _clustering(S: np.ndarray, n_steps: int, seed: int) -> dict[str, Any]:
    """Q* by the paper's algorithm and by our default one, and by each half of the paper's."""
    off = S - np.diag(np.diag(S))
    if not off.any():
        names = ("q_star", "n_effective", "n_modules", "q_default", "n_effective_default")
        more = ("q_spectral", "q_monte_carlo", "q_monte_carlo_1000")
        return dict.fromkeys(names + more) | _labels(None, None)
    paper = find_modules(S, method="lange2022", n_steps=n_steps, seed=seed)
    default = find_modules(S, n_steps=n_steps, seed=seed)
    half = {
        "q_spectral": find_modules(S, method="spectral").q,
        "q_monte_carlo": find_modules(S, method="monte_carlo", n_steps=n_steps, seed=seed).q,
        "q_monte_carlo_1000": find_modules(S, method="monte_carlo", n_steps=1000, seed=seed).q,
    }
    return {
        "q_star": paper.q,
        "n_effective": paper.n_effective,
        "n_modules": paper.n_modules,
        "q_default": default.q,
        "n_effective_default": default.n_effective,
        **half,
        **_labels(paper, default),
    }


def _labels(paper: Modules | None, default: Modules | None) -> dict[str, str]:
    return {
        "partition": encode(paper.partition) if paper else "",
        "partition_default": encode(default.partition) if default else "",
    }
