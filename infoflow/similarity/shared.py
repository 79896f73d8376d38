"""The shared pass: all measures of all layers, each batch of data run once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from infoflow._hooks import evaluating
from infoflow.record import Recording, show_progress
from infoflow.similarity import hess, i_sens
from infoflow.similarity.accumulate import CovarianceSum, MeanOfSamples
from infoflow.similarity.chain import run_chain
from infoflow.similarity.measures import Measure, chosen
from infoflow.similarity.perturbed import run_perturbed
from infoflow.similarity.plan import Plan, chain_sums, general_sums, make_plan
from infoflow.units import Site


def similarity(
    rec: Recording,
    measure: str,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    fast: bool = True,
    progress: bool = False,
) -> np.ndarray:
    """Similarity of hidden units by one measure; see `similarities`.

    Args:
        rec: A recording.
        measure: One of `MEASURES`.
        layers: One layer, several together, or (None) all recorded layers together.
        eps: ε of eq. 5.
        fast: Take the exact short cuts that hold for this model (`make_plan`); the result is the
            same without, up to rounding.
        progress: Show a progress bar.

    Returns:
        `(n, n)` float64, symmetric, non-negative, finite; rows in the order of
        `rec.units.indices(layers)`. The diagonal is kept.

    Examples:
        >>> import torch, infoflow as ifl
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 1))
        >>> similarity(ifl.record(net, ["0"], x), "i_sens")  # h = x, so J = 1
        array([[1., 0.],
               [0., 1.]])
    """
    return similarities(rec, measure, layers=layers, eps=eps, fast=fast, progress=progress)[measure]


def similarities(
    rec: Recording,
    measures: str | Sequence[str] | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    fast: bool = True,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Similarity of hidden units by several measures, from one shared pass over the data.

    With h the units, x the inputs, y the model's output (logits) and L_k the loss of sample k
    (Lange et al. 2022, eqs. 1-5):

        cov     |1/(K-1) Σ_k (h_k - h̄)(h_k - h̄)ᵀ|
        i_sens  |mean_k (∂h/∂x)(∂h/∂x)ᵀ|
        o_sens  |mean_k (∂y/∂h)ᵀ(∂y/∂h)|
        hess    |mean_k ∂²L_k/∂h∂h|
        *_norm  S_ij / max(√(S_ii S_jj), ε)

    Over several layers together the derivatives are with respect to perturbations added to every
    layer at once (h + δ), which gives the blocks between layers too; the blocks within layers are
    what each layer gives alone. Of a unit with positions (a channel, a feature at every token)
    the activation is the mean over positions and the perturbation is the same at all of them.
    The model runs in evaluation mode: dropout does nothing.

    Args:
        rec: A recording; `hess` needs its `targets` and `loss`.
        measures: Names from `MEASURES`; None: all eight, or the six without the Hessian when the
            recording has neither targets nor loss.
        layers: One layer, several together, or (None) all recorded layers together.
        eps: ε of eq. 5.
        fast: Take the exact short cuts that hold for this model (`make_plan`); the result is the
            same without, up to rounding.
        progress: Show a progress bar.

    Returns:
        Per measure `(n, n)` float64, symmetric, non-negative, finite.

    Raises:
        ValueError: Unknown measure; integer inputs (`i_sens`); no targets or loss, or a loss
            without one number per sample (`hess`); derivatives that are not finite.
        KeyError: A layer that was not recorded.
    """
    wanted = _wanted(rec, measures)
    names = [layers] if isinstance(layers, str) else list(layers or rec.units.layers)
    signed = _signed(rec, wanted, names, fast=fast, progress=progress)
    return _finished(signed, wanted, eps)


def similarities_by_layer(
    rec: Recording,
    measures: str | Sequence[str] | None = None,
    *,
    layers: Sequence[str] | None = None,
    eps: float = 1e-12,
    fast: bool = True,
    progress: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """`similarities` of each layer by itself, all layers in one pass over the data.

    Returns:
        Per layer, per measure, `(units, units)`: the diagonal blocks of what `similarities` gives
        for the layers together, without the cost of the blocks between them.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> found = similarities_by_layer(ifl.record(net, ["0", "2"], torch.randn(9, 4)), "cov")
        >>> found["0"]["cov"].shape, found["2"]["cov"].shape
        ((3, 3), (2, 2))
    """
    wanted = _wanted(rec, measures)
    names = list(layers or rec.units.layers)
    signed = _signed(rec, wanted, names, across=False, fast=fast, progress=progress)
    found, start = {}, 0
    for name in names:
        block = slice(start, start + len(rec.units.indices(name)))
        blocks = {base: matrix[block, block] for base, matrix in signed.items()}
        found[name], start = _finished(blocks, wanted, eps), block.stop
    return found


def normalised(matrix: np.ndarray, *, eps: float = 1e-12) -> np.ndarray:
    """S_ij / max(√(S_ii S_jj), ε) (eq. 5).

    Within [0, 1] for `cov`, `i_sens` and `o_sens`; a Hessian that is not positive semi-definite
    can exceed 1.

    Examples:
        >>> normalised(np.array([[4.0, 1.0], [1.0, 1.0]]))
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    root = np.sqrt(np.diag(matrix))
    return matrix / np.maximum(np.outer(root, root), eps)


def _wanted(rec: Recording, measures: str | Sequence[str] | None) -> list[Measure]:
    if measures is None and rec.loss is None and rec.targets is None:
        measures = [m.name for m in chosen(None) if m.base != "hess"]
    return chosen(measures)


def _finished(
    signed: dict[str, np.ndarray], wanted: list[Measure], eps: float
) -> dict[str, np.ndarray]:
    magnitudes = {base: _magnitude(base, matrix) for base, matrix in signed.items()}
    return {
        m.name: normalised(magnitudes[m.base], eps=eps) if m.normalised else magnitudes[m.base]
        for m in wanted
    }


def _signed(
    rec: Recording,
    wanted: list[Measure],
    names: list[str],
    *,
    across: bool = True,
    fast: bool,
    progress: bool,
) -> dict[str, np.ndarray]:
    """Each base measure's matrix before the absolute value; without `across`, the blocks between
    layers are unspecified."""
    bases = frozenset(m.base for m in wanted)
    if "i_sens" in bases:
        i_sens.check_inputs(rec)
    if "hess" in bases:
        hess.check_loss(rec)
    sites = tuple(rec.units.site(name) for name in names)
    n = len(rec.units.indices(names))
    covariance = CovarianceSum(n)
    sums = {base: MeanOfSamples(n) for base in sorted(bases - {"cov"})}
    with evaluating(rec.model):
        plan = make_plan(rec, sites, bases, fast=fast) if sums else None
        for index in show_progress(_slices(rec, plan), progress, "similarity"):
            if "cov" in bases:
                covariance.update(torch.from_numpy(_activations(rec, names, index)))
            if plan is not None:
                found = _sums(rec, sites, plan, bases, index, across)
                for base, total in found.items():
                    sums[base].update(total, index.stop - index.start)
    matrices = {base: total.matrix() for base, total in sums.items()}
    return matrices | ({"cov": covariance.matrix()} if "cov" in bases else {})


def _slices(rec: Recording, plan: Plan | None) -> list[slice]:
    rows = rec.batch_size if plan is None else min(plan.rows, rec.batch_size)
    return [slice(k, min(k + rows, len(rec))) for k in range(0, len(rec), rows)]


def _sums(
    rec: Recording,
    sites: tuple[Site, ...],
    plan: Plan,
    bases: frozenset[str],
    index: slice,
    across: bool,
) -> dict[str, Tensor]:
    chain = run_chain(rec, sites, index) if plan.chain else None
    if chain is not None:
        return chain_sums(chain, bases, rec, index, across=across)
    return general_sums(run_perturbed(rec, sites, index), plan, bases, rec, index)


def _activations(rec: Recording, names: list[str], index: slice) -> np.ndarray:
    blocks = [rec[name][index].double() for name in names]
    return torch.cat([b if b.ndim == 2 else b.mean(2) for b in blocks], 1).numpy()


def _magnitude(base: str, matrix: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all():
        bad = np.flatnonzero(~np.isfinite(matrix).all(1))[:10].tolist()
        raise ValueError(
            f"{base!r} is not finite for units {bad}: a derivative overflowed or is undefined "
            "there (float16 overflows at 65504; sqrt and log have no derivative at 0)"
        )
    return np.abs((matrix + matrix.T) / 2)
