"""FlowGraph: which units send which how much, and what the same senders and receivers give by
chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_BANDS = 2  # of expected flow: what is far from expected is so more often where little is expected
_SWEEPS = 8  # of proportional fitting; senders' and receivers' sums are then right to 1e-3
_ROOM = 2**24  # numbers held at once


@dataclass(frozen=True, eq=False)
class FlowGraph:
    """Flows between single units, from each layer to those next after it.

    A flow that passes through a layer between is left out: it follows from the flows into that
    layer and out of it, so that by chance it would not be as independent of them as others are.

    Attributes:
        flow: `(n, n)` bits from unit to unit, at least 0; 0 between layers that are not next.
        layer: `(n,)` layer of each unit.
        units: `(n,)` their flat indices in the network.

    Examples:
        >>> flow = np.triu(np.ones((3, 3)), 1)  # one unit a layer, all downstream of the first
        >>> FlowGraph.of(flow, np.arange(3), np.ones(3, bool)).flow.tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    flow: np.ndarray
    layer: np.ndarray
    units: np.ndarray

    @classmethod
    def of(cls, unit_flow: np.ndarray, layer: np.ndarray, used: np.ndarray) -> FlowGraph:
        """The graph of the used units.

        Args:
            unit_flow: `(n, n)` flow between all units, bits.
            layer: `(n,)` layer of each.
            used: `(n,)` bool; the others are no part of the graph.
        """
        units = np.flatnonzero(used)
        flow = np.maximum(unit_flow[np.ix_(units, units)], 0.0)
        own, place = np.unique(layer[units], return_inverse=True)
        member = np.eye(len(own))[place]
        reach = member.T @ flow @ member > 0
        np.fill_diagonal(reach, False)
        between = reach.astype(int) @ reach > 0
        direct = reach & ~between if not (reach & reach.T).any() else reach
        return cls(flow * direct[np.ix_(place, place)], place, units)

    def among(self, inside: np.ndarray) -> FlowGraph:
        """The graph of some of its units, given by their places in it."""
        return FlowGraph(self.flow[np.ix_(inside, inside)], self.layer[inside], self.units[inside])

    @cached_property
    def links(self) -> np.ndarray:
        """`(n, n)` flow both ways, symmetric."""
        return self.flow + self.flow.T

    @cached_property
    def blocks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Places of the units of each pair of layers with flow from the first to the second."""
        places = [
            np.flatnonzero(self.layer == a) for a in range(int(self.layer.max(initial=-1)) + 1)
        ]
        return [(i, j) for i in places for j in places if len(i) and self.flow[np.ix_(i, j)].any()]

    def shuffled(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Links of random graphs in which every unit sends and receives what it does here.

        From each pair of layers the flow expected of sender and receiver, (sent x received) /
        total, is divided out; the ratios change places, those of larger and of smaller expected
        flows among themselves; proportional fitting then restores both sums. The ratios' distance
        from 1 is made larger by what fitting takes out of it, the degrees of freedom of the sums.

        Args:
            count: Graphs.
            rng: Source of randomness.

        Returns:
            `(count, n, n)`, symmetric.
        """
        found = np.zeros((count, *self.flow.shape))
        for senders, receivers in self.blocks:
            block = self.flow[np.ix_(senders, receivers)]
            sent, received = block.sum(1), block.sum(0)
            expected = np.outer(sent, received) / block.sum()
            ratio = np.divide(block, expected, out=np.ones_like(block), where=expected > 0)
            cells, rows, columns = block.size, *block.shape
            freedom = max((rows - 1) * (columns - 1), 1)
            ratio = np.maximum(1 + (ratio - 1) * (cells / freedom) ** 0.5, 0.0).ravel()
            drawn = np.empty((count, cells))
            for band in np.array_split(np.argsort(expected, axis=None, kind="stable"), _BANDS):
                drawn[:, band] = rng.permuted(np.tile(ratio[band], (count, 1)), axis=1)
            drawn = _fitted(drawn.reshape(count, rows, columns) * expected, sent, received)
            found[:, senders[:, None], receivers] += drawn
            found[:, receivers[:, None], senders] += drawn.swapaxes(1, 2)
        return found

    @cached_property
    def strength(self) -> float:
        """No division in two has a normalised cut below 1 less this; 0: all units send the same
        units the same."""
        return float(spectrum(self.links)[:1].sum())

    def shares_by_chance(self, count: int, most: int, rng: np.random.Generator) -> np.ndarray:
        """`(count, most)` the same of `shuffled` graphs, a few at a time."""
        at_once = max(1, _ROOM // max(self.flow.size, 1))
        return np.concatenate(
            [
                shares(self.shuffled(min(at_once, count - done), rng), most)
                for done in range(0, count, at_once)
            ]
        )


def spectrum(links: np.ndarray) -> np.ndarray:
    """`(..., n - 1)` eigenvalues of D^-1/2 W D^-1/2, largest first, negative ones set to 0; without
    the first, which is 1 whatever the modules."""
    degree = links.sum(-1)
    scale = np.where(degree > 0, degree, 1.0) ** -0.5 * (degree > 0)
    scaled = scale[..., :, None] * links * scale[..., None, :]
    return np.maximum(np.linalg.eigvalsh(scaled)[..., -2::-1], 0.0)


def shares(links: np.ndarray, most: int) -> np.ndarray:
    """`(..., most)` how much of a graph's structure its first 1, 2, ... directions hold.

    The squares of its `spectrum`, summed up and divided by the sum of all. k modules with few links
    between them are k - 1 directions that hold much.

    Args:
        links: `(..., n, n)` symmetric.
        most: Directions.
    """
    energy = spectrum(links) ** 2
    total = energy.sum(-1, keepdims=True)
    summed = np.cumsum(energy[..., :most], -1)
    return np.divide(summed, total, out=np.ones_like(summed), where=total > 0)


def _fitted(drawn: np.ndarray, sent: np.ndarray, received: np.ndarray) -> np.ndarray:
    """Rows and columns multiplied in turn until their sums are those given (Deming and Stephan
    1940)."""
    for _ in range(_SWEEPS):
        for axis, wanted in ((2, sent[:, None]), (1, received)):
            total = drawn.sum(axis, keepdims=True)
            drawn = drawn * np.divide(wanted, total, out=np.zeros_like(total), where=total > 0)
    return drawn
