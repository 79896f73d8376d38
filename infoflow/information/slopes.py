"""How units answer to others, from gradients: what a donor's values of a unit would do to another
one if the network were linear around each context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from infoflow._hooks import CallFunction, call_hooks
from infoflow._safety import evaluating
from infoflow.clustering.sparse import SparseSimilarity
from infoflow.information.binning import UnitBins
from infoflow.information.targets import fit_target, normal_values
from infoflow.measured import Budget, Draws
from infoflow.recording import Recording
from infoflow.site import Site
from infoflow.unit_similarity.graph import batched_vjp

_NUMBERS = 2**24  # slopes held at once

Slopes = dict[str, Tensor]
"""By layer, `(targets, contexts, units, positions)` slopes of some targets."""


@torch.inference_mode(False)
def slope_flows(rec: Recording, draws: Draws) -> np.ndarray:
    """Unit flows given the context of the network's linearisations: on every context the network is
    replaced by its first-order expansion there, a unit is set to what it was on every donor (at all
    its positions), and what that does to the others is coded and counted as it would be measured.

    One backward pass a target and no intervention. Differs from the measured flow where units
    answer otherwise than on a straight line over what the donors do: in what a ReLU that is off
    would do were it on, say. Of units with positions the mean over them is coded.

    Args:
        rec: A recording.
        draws: Donors (which cost little here), contexts, bins and seed; `pool="mean"`.

    Returns:
        `(n, n)` bits; `[i, j]` is what i sends j.

    Raises:
        ValueError: Other draws than `linear` says, or a layer whose calls are positions.
    """
    flows = np.zeros((len(rec.units),) * 2)
    for targets, sent in _columns(rec, draws):
        flows[:, targets] = sent
    return flows


@torch.inference_mode(False)
def strongest_flows(
    rec: Recording,
    *,
    neighbours: int = 50,
    donors: Budget = 100,
    contexts: Budget = 30,
    bins: int = 10,
    seed: int = 0,
) -> SparseSimilarity:
    """Of each unit the units that send it most, by slopes (see `slope_flows`): the flow both ways,
    where a matrix of all pairs is too large.

    Args:
        rec: A recording.
        neighbours: How many senders of each unit are kept.
        donors, contexts, bins, seed: As for `unit_flow`; a pass for each context, none for donors.

    Returns:
        What `find_modules` takes, its strengths those of all pairs, also of those left out.

    Raises:
        ValueError: Fewer than one neighbour, or what `slope_flows` refuses.

    Examples:
        >>> import infoflow as ifl
        >>> _ = torch.manual_seed(0)
        >>> tanh = torch.nn.Tanh
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 6), tanh(), torch.nn.Linear(6, 6), tanh())
        >>> graph = strongest_flows(ifl.record(net, ["1", "3"], torch.randn(60, 4)), neighbours=2)
        >>> len(graph), int(graph.matrix.nnz)  # two senders of six units, seen from both sides
        (12, 24)
    """
    import scipy.sparse as sp

    if neighbours < 1:
        raise ValueError(f"expected at least one neighbour of each unit, got {neighbours}")
    draws, n = Draws(donors, contexts, bins, "units", seed=seed), len(rec.units)
    count, strength = min(neighbours, n - 1), np.zeros(n)
    parts = [(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for targets, sent in _columns(rec, draws):
        strength += sent.sum(1)
        strength[targets] += sent.sum(0)
        first = np.argpartition(-sent, count - 1, axis=0)[:count]
        kept = np.take_along_axis(sent, first, 0)
        parts.append((kept.ravel(), first.ravel(), np.tile(targets, count)))
    values, senders, receivers = (np.concatenate(part) for part in zip(*parts, strict=True))
    flow = sp.csr_array((values, (senders, receivers)), shape=(n, n))
    flow.eliminate_zeros()
    return SparseSimilarity(sp.csr_array(flow + flow.T), strength)


def _columns(rec: Recording, draws: Draws) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some targets at a time, and what every unit sends them `(n, targets)`."""
    from infoflow.information._histograms import entropies_of_lines

    if not linear(draws):
        raise ValueError(
            "slopes give the flow of bins unit by unit, positions averaged, under donors as they "
            "come: measure the flows for pool='max' or 'positions', do=, direct=True, bins='unique'"
        )
    donors, contexts = draws.rows(len(rec))
    everyone = np.arange(len(rec.units))
    bins = fit_target(rec, everyone, replace(draws, coding="units")).coder
    assert isinstance(bins, UnitBins)
    edges = bins.prepared(np.dtype(np.float32))[0]
    counts = np.arange(len(donors) + 1)
    weights = counts * np.log2(np.maximum(counts, 1))
    sources = {name: _Source.of(rec, name, donors, contexts) for name in rec.units.layers}
    start = normal_values(rec, everyone, "mean")[contexts].astype(np.float32)
    for targets, parts in slopes(rec, contexts):
        sent = np.zeros((len(targets), len(everyone)))
        for name, g in parts.items():
            units = rec.units.indices(name)
            for number, target in enumerate(targets):
                moved, here = sources[name].moved(g[number])
                own, zero, bits = edges[:, target], float(bins.zero[target]), np.zeros(len(units))
                entropies_of_lines(moved, start[:, target] - here, own, zero, weights, bits)
                sent[number, units] = bits
        sent[:, rec.units.unused] = 0.0
        yield targets, sent.T


def linear(draws: Draws) -> bool:
    """Whether slopes can stand for unit flows with these draws."""
    plain = draws.forcing.plain and not draws.direct
    return plain and draws.pool == "mean" and draws.bins != "unique"


@dataclass(frozen=True, eq=False)
class _Source:
    """What the units of a layer do.

    Attributes:
        donors: `(units, positions, D)` on the donors.
        contexts: `(units, K, positions)` on the contexts.
    """

    donors: Tensor
    contexts: Tensor

    @classmethod
    def of(cls, rec: Recording, name: str, donors: np.ndarray, contexts: np.ndarray) -> _Source:
        put_in, there = (rec.filled(name, rows=rows).float() for rows in (donors, contexts))
        put_in, there = (h if h.ndim == 3 else h[:, :, None] for h in (put_in, there))
        return cls(put_in.permute(1, 2, 0).contiguous(), there.transpose(0, 1).contiguous())

    def moved(self, g: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of slopes `(K, units, positions)`: what each donor's values come to `(units, K, D)`, and
        the context's own `(units, K)`."""
        g = g.float().cpu().transpose(0, 1)
        return torch.bmm(g, self.donors).numpy(), (g * self.contexts).sum(-1).numpy()


def slopes(rec: Recording, contexts: np.ndarray) -> Iterator[tuple[np.ndarray, Slopes]]:
    """∂h_t/∂h_s of single samples, h_t being the mean over t's (real) positions, with respect to s
    at each of its positions; some targets at a time, one backward pass for each.

    Args:
        rec: A recording.
        contexts: `(K,)` rows of the data set.

    Yields:
        Flat indices of targets `(m,)`, and their slopes with respect to the units of every layer
        that can move them.

    Raises:
        ValueError: A layer whose calls are positions: its units move each other.
    """
    if any(site.call == "all" for site in rec.units.sites):
        raise ValueError(
            "slopes are not built for layers that are called several times, whose units move each "
            "other: measure the flows, or record Site(..., call=0)"
        )
    rec.check_current()
    with evaluating(rec.model, rec.snapshot()):
        deltas, pooled = _run(rec, contexts)
        for name, answers in pooled.items():
            units = rec.units.indices(name)
            units = units[~rec.units.unused[units]]
            above = _above(answers, deltas)
            if not above or not len(units):
                continue
            leaves = [deltas[other] for other in above]
            size = max(1, _NUMBERS // sum(leaf.numel() for leaf in leaves))
            for some in np.array_split(units, -(-len(units) // size)):
                weights = answers.new_zeros(len(some), *answers.shape)
                inside = torch.from_numpy(some - rec.units.offsets[name])
                weights[torch.arange(len(some)), :, inside] = 1
                found = batched_vjp(answers, leaves, weights)
                yield some, dict(zip(above, found, strict=True))


def _run(rec: Recording, contexts: np.ndarray) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By layer: perturbations `(K, units, positions)` that were added, and the activations before
    them `(K, units)`, averaged over positions."""
    deltas: dict[str, Tensor] = {}
    pooled: dict[str, Tensor] = {}

    def add(site: Site) -> CallFunction:
        def hook(value: Any, _call: int) -> Any:
            h = site.read(value).clone()
            delta = torch.zeros_like(h if h.ndim == 3 else h[:, :, None], requires_grad=True)
            deltas[site.name] = delta
            real = rec.real(site.name, contexts)
            shift = delta if real is None else delta * real[:, None].to(h.device)
            if h.ndim == 3:
                pooled[site.name] = rec.filled(site.name, h, contexts).mean(2)
            else:
                pooled[site.name], shift = h, shift[:, :, 0]
            return site.add(value, shift)

        return hook

    simple = sdpa_kernel(SDPBackend.MATH)
    hooks = call_hooks(rec.model, [(site, add(site)) for site in rec.units.sites])
    with torch.enable_grad(), simple, hooks as check:
        rec.call(rec.rows(contexts))
        check()
    return deltas, pooled


def _above(answers: Tensor, deltas: dict[str, Tensor]) -> list[str]:
    """The layers that can move these answers."""
    if not answers.requires_grad:
        return []
    found = torch.autograd.grad(
        answers.sum(), list(deltas.values()), retain_graph=True, allow_unused=True
    )
    parts = zip(deltas, cast("tuple[Tensor | None, ...]", found), strict=True)
    return [name for name, part in parts if part is not None]
