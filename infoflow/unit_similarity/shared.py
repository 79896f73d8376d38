"""The shared pass: all measures of all layers, each batch of data run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from infoflow._arguments import door
from infoflow._safety import evaluating
from infoflow._shapes import Float, shaped
from infoflow._warnings import warn
from infoflow.recording import Recording
from infoflow.unit_similarity import others
from infoflow.unit_similarity.guard import NotAsRecordedError
from infoflow.unit_similarity.jacobians import slopes
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import (
    MEASURES,
    How,
    Measure,
    Method,
    Positions,
    Request,
    allowed_measures,
    chosen,
    make_request,
)
from infoflow.unit_similarity.structure import read_structure
from infoflow.unit_similarity.sums import FEW, FEWEST, TOO_MUCH, Halves, summed

_OTHERS = {
    "weights": others.weight_graph, "w_in": others.incoming, "w_out": others.outgoing,
    "spearman": others.spearman, "slopes": slopes,
}  # fmt: skip


@door()
@shaped
def similarity(
    rec: Recording,
    measure: str,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    positions: Positions = "mean",
    seed: int = 0,
    fast: bool = True,
    method: Method = "auto",
    probes: int = 8,
    progress: bool = False,
) -> Float[np.ndarray, "units units"]:
    """Similarity of hidden units by one measure; the other arguments as for `similarities`.

    Args:
        rec: A recording.
        measure: One of `MEASURES` or `OTHERS`.

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
    how: Any = {"eps": eps, "positions": positions, "seed": seed, "fast": fast}
    how |= {"method": method, "probes": probes, "progress": progress}
    return similarities(rec, measure, layers=layers, **how)[measure]


@door()
def similarities(
    rec: Recording,
    measures: str | Sequence[str] | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    positions: Positions = "mean",
    seed: int = 0,
    fast: bool = True,
    method: Method = "auto",
    probes: int = 8,
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

    For comparison there are `OTHERS`: `weights`, `|W|` between consecutive layers; `w_in` and
    `w_out`, `|WWᵀ|` and `|WᵀW|` of the weights that feed and read a layer, 0 between layers;
    `spearman`, the rank correlation of activations; and `slopes`, the mean |∂h_j/∂h_i| of units of
    different layers over 32 samples.

    Over several layers together the derivatives are with respect to perturbations added to every
    layer at once (h + δ), which gives the blocks between layers too; the blocks within layers are
    what each layer gives alone. The model runs in evaluation mode: dropout does nothing.

    Of a unit with positions (a channel, a feature at every token) the activation is the mean over
    positions and the perturbation is the same at all of them. With `positions="each"` every
    position is a unit list of its own, and the matrices are averaged over positions before the
    absolute value, as the paper's own code does for convolutions; a number takes a random choice
    of so many positions.

    Args:
        rec: A recording; `hess` needs its `targets` and `loss`.
        measures: Names from `MEASURES` and `OTHERS`; None: all eight, or the six without the
            Hessian when the recording has neither targets nor loss.
        layers: One layer, several together, or (None) all recorded layers together.
        eps: ε of eq. 5.
        positions: `"mean"`, `"each"`, or how many to choose.
        seed: Of that choice, and of the probes.
        fast: Take the exact short cuts that hold for this model (`read_structure`), guarded on
            every batch; the result is the same without, up to rounding.
        method: `"exact"`: every unit is differentiated. `"probes"`: unbiased estimates by
            derivatives along random directions, each of which serves all units of all layers;
            `similarities_with_errors` says how far they are off. `"auto"`: exact, except for
            measures that take more than 64 backward passes and make more than 2^35 numbers in
            them, which a warning says, with the error. Of integer inputs the latter refuses
            `i_sens`, and the others take it at what `nn.Embedding` makes of them.
        probes: How many for each sample and measure, an even number. Errors fall as 1/√probes, and
            faster where samples are alike; of no more directions than that (ten outputs, say)
            each is taken, which is exact.
        progress: Show a progress bar.

    Returns:
        Per measure `(n, n)` float64, symmetric, non-negative, finite.

    Raises:
        ValueError: Unknown measure or method; an odd number of probes; integer inputs (`i_sens`);
            no targets or loss, or a loss without one number per sample (`hess`); samples that
            influence each other; derivatives that are not finite.
        RuntimeError: The model was changed since it was recorded.
        KeyError: A layer that was not recorded.
    """
    asked: Any = {"eps": eps, "positions": positions, "seed": seed, "fast": fast}
    asked |= {"method": method, "probes": probes, "progress": progress}
    return similarities_with_errors(rec, measures, layers=layers, **asked)[0]


@door()
def similarities_with_errors(
    rec: Recording,
    measures: str | Sequence[str] | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    eps: float = 1e-12,
    positions: Positions = "mean",
    seed: int = 0,
    fast: bool = True,
    method: Method = "auto",
    probes: int = 8,
    progress: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """`similarities`, and how far each is estimated to be off.

    Returns:
        Per measure its matrix; and ‖S - truth‖ / ‖truth‖ (Frobenius, before the absolute value),
        estimated from two independent halves of the probes; 0 where it is exact, and infinite
        where there is nothing but noise.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(9, 3), torch.nn.Tanh())
        >>> rec = ifl.record(net, ["1"], torch.randn(200, 9))
        >>> S, errors = similarities_with_errors(rec, ["cov", "i_sens"], method="probes", probes=2)
        >>> errors["cov"], 0 < errors["i_sens"] < 0.1
        (0.0, True)
    """
    wanted = _wanted(rec, measures)
    names = [layers] if isinstance(layers, str) else list(layers or rec.units.layers)
    bases = frozenset(m.base for m in wanted)
    how = How(method, probes, seed, fast)
    request = make_request(
        rec, names, bases, across=True, positions=positions, seed=seed, embedded=method != "auto"
    )
    halves = _signed(request, how, progress=progress)
    found, errors = _finished(*halves, wanted, eps)
    _say_estimated(how, errors)
    return found, errors


@door()
def similarities_by_layer(
    rec: Recording,
    measures: str | Sequence[str] | None = None,
    *,
    layers: Sequence[str] | None = None,
    eps: float = 1e-12,
    positions: Positions = "mean",
    seed: int = 0,
    fast: bool = True,
    method: Method = "auto",
    probes: int = 8,
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
    bases = frozenset(m.base for m in wanted)
    names = [layers] if isinstance(layers, str) else list(layers or rec.units.layers)
    # the mean over positions goes for all layers at once; positions one by one are each layer's own
    groups = [names] if positions == "mean" else [[name] for name in names]

    how, embedded = How(method, probes, seed, fast), method != "auto"

    def of(group: list[str]) -> dict[str, dict[str, np.ndarray]]:
        request = make_request(
            rec, group, bases, across=False, positions=positions, seed=seed, embedded=embedded
        )
        return _blocks(request, how, _signed(request, how, progress=progress), wanted, eps)

    try:
        found = [of(group) for group in groups]
    except NotAsRecordedError:  # a layer that works in place may be in order by itself
        if len(groups[0]) == 1:
            raise
        found = [of([name]) for name in names]
    return {name: matrices for part in found for name, matrices in part.items()}


def _blocks(
    request: Request, how: How, signed: Halves, wanted: list[Measure], eps: float
) -> dict[str, dict[str, np.ndarray]]:
    found, worst, start = {}, {m.name: 0.0 for m in wanted}, 0
    for site in request.sites:
        block = slice(start, start + len(request.rec.units.indices(site.name)))
        halves = ({b: m[block, block] for b, m in half.items()} for half in signed)
        found[site.name], errors = _finished(*halves, wanted, eps)
        worst, start = {name: max(worst[name], errors[name]) for name in worst}, block.stop
    _say_estimated(how, worst)
    return found


@torch.inference_mode(False)
def ways(rec: Recording, layer: str) -> dict[str, str]:
    """By derivative measure that the recording allows: how it is computed, and if exactly, why.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> ways(ifl.record(net, ["1"], torch.randn(9, 4)), "1")
        {'i_sens': 'closed form', 'o_sens': 'exact'}
    """
    bases = frozenset(allowed_measures(rec)) & {"i_sens", "o_sens", "hess"}
    request = make_request(rec, [layer], bases, across=False)
    with evaluating(rec.model):
        holds = read_structure(run_perturbed(request, slice(0, FEW)), bases, across=False)
    return {base: holds.ways[base] for base in sorted(bases)}


def normalised(matrix: np.ndarray, *, eps: float = 1e-12) -> np.ndarray:
    """S_ij / max(√(S_ii S_jj), ε) (eq. 5).

    Within [0, 1] for `cov`, `i_sens` and `o_sens`; a Hessian that is not positive semi-definite
    can exceed 1.

    Examples:
        >>> normalised(np.array([[4.0, 1.0], [1.0, 1.0]]))
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    root = np.sqrt(np.abs(np.diag(matrix)))
    return matrix / np.maximum(np.outer(root, root), eps)


def _wanted(rec: Recording, measures: str | Sequence[str] | None) -> list[Measure]:
    if measures is None and rec.loss is None and rec.targets is None:
        measures = [m.name for m in chosen(MEASURES) if m.base != "hess"]
    return chosen(measures)


def _finished(
    first: dict[str, np.ndarray],
    second: dict[str, np.ndarray],
    wanted: list[Measure],
    eps: float,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The measures from two estimates of each base measure, and their relative errors before the
    absolute value: of a sum of squares, the two estimates' product has no part from noise."""

    def made(signed: np.ndarray, m: Measure) -> np.ndarray:
        matrix = _symmetric(m.base, signed)
        return normalised(matrix, eps=eps) if m.normalised else matrix

    found, errors = {}, {}
    for m in wanted:
        one, two = first[m.base], second[m.base]
        same = one is two or np.array_equal(one, two)
        found[m.name], errors[m.name] = np.abs(made(one if same else (one + two) / 2, m)), 0.0
        if not same:
            one, two = made(one, m), made(two, m)
            size, apart = float(np.vdot(one, two)), float(np.linalg.norm(one - two)) / 2
            errors[m.name] = apart / size**0.5 if size > 0 else np.inf
    return found, errors


def _say_estimated(how: How, errors: dict[str, float]) -> None:
    off = ", ".join(f"{name} {error:.1%}" for name, error in errors.items() if error)
    if how.method == "auto" and off:
        warn(
            f"estimated by {how.probes} random probes a sample, as the exact way would take more "
            f"than {FEWEST} backward passes and {TOO_MUCH:.0e} numbers; relative errors: {off}. "
            "probes= sets how many; method='probes' or 'exact' chooses, without this message"
        )


@torch.inference_mode(False)  # where nothing can be differentiated, whoever asks for it inside
def _signed(request: Request, how: How, *, progress: bool) -> Halves:
    """Two estimates of each base measure's matrix before the absolute value."""
    names = [site.name for site in request.sites]
    found = {base: _OTHERS[base](request.rec, names) for base in request.bases & set(_OTHERS)}
    rest = replace(request, bases=request.bases - set(_OTHERS))
    first, second = summed(rest, how, progress=progress)
    return found | first, found | second


def _symmetric(base: str, matrix: np.ndarray) -> np.ndarray:
    if not np.isfinite(matrix).all():
        bad = np.flatnonzero(~np.isfinite(matrix).all(1))[:10].tolist()
        raise ValueError(
            f"{base!r} is not finite for units {bad}: a derivative overflowed or is undefined "
            "there (float16 overflows at 65504; sqrt and log have no derivative at 0)"
        )
    return (matrix + matrix.T) / 2
