"""Proxies: cheap numbers that may tell how little a partition's modules exchange."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from infoflow.clustering.q import QOf
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import Weighting
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching.flow_cut import FlowCut, Proxy
from infoflow.searching.interface import (
    Scales,
    interface,
    jacobian_bits,
    jacobian_dimension,
    mean_hessian,
    output_hessians,
    output_interface,
)
from infoflow.searching.starts import available
from infoflow.unit_similarity import refused_measures
from infoflow.unit_similarity import similarities as all_similarities
from infoflow.unit_similarity.jacobians import unit_jacobians

_MOST_PASSES = 2048  # backward passes for the outputs' Hessians, one for each output and unit


def proxies(
    rec: Recording,
    *,
    weighting: Weighting = "ncut",
    meter: ExchangeMeter | None = None,
    similarities: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, Proxy], dict[str, str]]:
    """Every proxy that the recording allows, and why the others are missing.

    All are small where little should be exchanged:

    | name | what it is |
    |---|---|
    | unit_flow_cut | unit flows between modules, weighted as the true exchange |
    | q_<measure> | -Q of the similarity matrix |
    | q_weights | -Q of the graph of weights between consecutive layers |
    | weight_ncut | normalised cut of that graph (Shi and Malik 2000) |
    | hess_interface | Σ effective rank of the Hessian's blocks between modules |
    | jacobian_interface | Σ mean effective rank of ∂h_b/∂h_a between modules, single samples |
    | jacobian_bits | Σ ½ log2 det(1 + J Σ Jᵀ / σ²) of these, σ a tenth of each unit's spread |
    | jacobian_dimension | Σ directions that stand above that noise |
    | output_interface | Σ dimensions of the outputs' Hessians between modules above such a noise |

    Args:
        rec: A recording.
        weighting: Of the cut of the unit flows.
        meter: Whose unit flows to take; by default a new one's.
        similarities: Matrices by measure, if they were computed before.

    Returns:
        Proxies by name; reasons by name.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["0", "2"], torch.randn(50, 4))
        >>> found, missing = proxies(rec)
        >>> "weight_ncut" in found, sorted(missing)
        (True, ['hess_interface', 'q_hess', 'q_hess_norm'])
    """
    meter = ExchangeMeter(rec) if meter is None else meter
    found: dict[str, Proxy] = {"unit_flow_cut": FlowCut(meter.traffic, weighting)}
    missing = {f"q_{name}": why for name, why in refused_measures(rec).items()}
    measures = available(rec)
    known = all_similarities(rec, measures) if similarities is None else similarities
    for name, matrix in known.items():
        found[f"q_{name}"] = _minus_q(matrix)
    try:
        graph = all_similarities(rec, ["weights"])["weights"]
        found |= {"q_weights": _minus_q(graph), "weight_ncut": partial(ncut, graph)}
    except ValueError as error:  # layers that do not follow one another, or share weights
        missing |= {"q_weights": str(error), "weight_ncut": str(error)}
    if "hess" in measures:
        found["hess_interface"] = partial(interface, mean_hessian(rec))
    else:
        missing["hess_interface"] = missing["q_hess"]
    jacobians, scales = unit_jacobians(rec), Scales.of(rec)
    found["jacobian_interface"] = partial(interface, jacobians)
    found["jacobian_bits"] = partial(jacobian_bits, jacobians, scales)
    found["jacobian_dimension"] = partial(jacobian_dimension, jacobians, scales)
    hessians = output_hessians(rec, scales, outputs=max(1, min(16, _MOST_PASSES // len(rec.units))))
    if hessians.any():
        found["output_interface"] = partial(output_interface, hessians, scales)
    else:
        missing["output_interface"] = (
            "the outputs are piecewise linear in the recorded units, so their Hessian is 0"
        )
    return found, missing


def ncut(matrix: np.ndarray, partition: Partition) -> float:
    """Σ over modules of links to other modules ÷ all links of the module (Shi and Malik 2000).

    Examples:
        >>> W = np.kron(np.eye(2), np.ones((2, 2)))
        >>> ncut(W, Partition([0, 0, 1, 1])), ncut(W, Partition([0, 1, 0, 1]))
        (0.0, 1.0)
    """
    used = ~partition.unused
    member = np.eye(partition.n_modules)[partition.labels[used]]
    links = member.T @ matrix[np.ix_(used, used)] @ member
    volume = links.sum(1)
    crossing = volume - np.diag(links)
    return float(np.where(volume > 0, crossing / np.where(volume > 0, volume, 1.0), 1.0).sum())


def _minus_q(matrix: np.ndarray) -> Proxy:
    q = QOf(matrix)
    return lambda partition: -q(partition)
