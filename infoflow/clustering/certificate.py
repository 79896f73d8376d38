"""Upper bounds on Q: a proof that no partition is better, or how much better one could be."""

from __future__ import annotations

import heapq
import time
from typing import Any

import numpy as np

from infoflow._shapes import Integer, Real, shaped

PROVEN = 1e-7
"""Partitions whose Q differs by less than this count as equally good."""

_LARGEST = 512  # units; beyond, the linear program has more than 130 000 variables
_DENSE = 1024  # above this the eigenvalue takes longer than the search it would judge


@shaped
def cheap_bound(B: Real[np.ndarray, "units units"]) -> float:
    """An upper bound on Q over all partitions, in O(m²) to O(m³).

    The least of three: 1; the sum of all positive pairs, as if each could be inside a module and no
    negative one were; and m λ_max(B), since Q = Σ_c x_cᵀBx_c over disjoint indicator vectors x_c
    whose squared lengths sum to m (left out above 1024 units).

    Args:
        B: `(m, m)` modularity matrix.

    Examples:
        >>> from infoflow.clustering import modularity_matrix
        >>> B = modularity_matrix(np.kron(np.eye(2), np.ones((2, 2)))).values
        >>> round(cheap_bound(B), 9)
        0.5
    """
    diagonal = float(np.trace(B))
    blocks = (np.clip(B[i : i + 256], 0, None).sum() for i in range(0, len(B), 256))
    positive = float(sum(blocks) - np.clip(np.diag(B), 0, None).sum()) + diagonal
    bounds = [1.0, positive]
    if len(B) <= _DENSE:
        from scipy.linalg import eigh

        top = eigh(B, eigvals_only=True, subset_by_index=[len(B) - 1, len(B) - 1])
        bounds.append(len(B) * float(top[0]) + 1e-12)  # the solver's rounding
    return min(bounds)


class _Relaxation:
    """Maximise Σ c_ij x_ij over pairs, x in [0, 1], under the cuts found so far (in HiGHS).

    Attributes:
        weights: `(n, n)` symmetric, what a pair inside a module adds.
        pair: `(n, n)` number of the variable of each pair.
        low, high: Bounds of the variables.
        x: The current optimum, and `reduced` its reduced costs.
        bound: Valid upper bound under the current bounds of the variables.
    """

    def __init__(self, weights: np.ndarray) -> None:
        import highspy

        n = len(weights)
        self.weights = weights
        self.upper = np.triu_indices(n, 1)
        self.cost = -weights[self.upper]
        variables = len(self.cost)
        self.pair = np.zeros((n, n), dtype=np.int32)
        self.pair[self.upper] = np.arange(variables)
        self.pair += self.pair.T
        self.low, self.high = np.zeros(variables), np.ones(variables)
        self.x = (self.cost < 0).astype(float)
        self.reduced = self.cost
        self.bound = float(-self.cost[self.cost < 0].sum())
        self.entries = np.zeros(0)  # coefficients in each row of the model
        self.model: Any = highspy.Highs()
        for option, value in (("output_flag", False), ("threads", 1), ("presolve", "off")):
            self.model.setOptionValue(option, value)
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = variables, 0
        program.col_cost_, program.col_lower_, program.col_upper_ = self.cost, self.low, self.high
        self.model.passModel(program)

    def matrix(self) -> np.ndarray:
        """The current point as a symmetric matrix."""
        X = np.zeros_like(self.weights)
        X[self.upper] = self.x
        return X + X.T

    def set_bounds(self, low: np.ndarray, high: np.ndarray) -> None:
        """Let every variable range between these."""
        changed = np.flatnonzero((low != self.low) | (high != self.high)).astype(np.int32)
        self.low, self.high = low.copy(), high.copy()
        if len(changed):
            self.model.changeColsBounds(len(changed), changed, low[changed], high[changed])

    def add(self, triangles: np.ndarray, stars: np.ndarray, sizes: np.ndarray) -> None:
        """Add cuts, each Σ ± x <= 1."""
        i, j, k = triangles.T
        index = [np.stack([self.pair[i, j], self.pair[j, k], self.pair[i, k]], axis=1).ravel()]
        value = [np.tile([1.0, 1.0, -1.0], len(triangles))]
        lengths = [3] * len(triangles)
        for row, size in zip(stars, sizes, strict=True):
            ends = row[1:size]
            a, b = np.triu_indices(len(ends), 1)
            index.append(np.concatenate([self.pair[row[0], ends], self.pair[ends[a], ends[b]]]))
            value.append(np.concatenate([np.ones(len(ends)), -np.ones(len(a))]))
            lengths.append(len(ends) + len(a))
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
        flat, values = np.concatenate(index).astype(np.int32), np.concatenate(value)
        rows = len(lengths)
        lower, upper = np.full(rows, -np.inf), np.ones(rows)
        self.model.addRows(rows, lower, upper, len(flat), starts, flat, values)
        self.entries = np.concatenate([self.entries, lengths])

    def solve(self, seconds: float) -> bool:
        """Solve; False when time runs out. Sets x, reduced costs and a bound that dual rounding
        cannot spoil: any row multipliers of the right sign give a valid one."""
        import highspy

        self.model.setOptionValue("time_limit", self.model.getRunTime() + max(seconds, 0.01))
        self.model.run()
        status = self.model.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:  # the branch contradicts itself
            self.bound = -np.inf
            return True
        if status != highspy.HighsModelStatus.kOptimal:
            return False
        solution = self.model.getSolution()
        self.x = np.clip(np.array(solution.col_value), 0, 1)
        self.reduced = np.array(solution.col_dual)
        multipliers = np.array(solution.row_dual)
        wrong = np.clip(multipliers, 0, None)  # taken as 0, which shifts reduced costs by so much
        at_best = np.minimum(self.reduced * self.low, self.reduced * self.high).sum()
        dual = np.minimum(multipliers, 0).sum() + at_best - (wrong * self.entries).sum()
        self.bound = -float(dual)
        return True

    def drop_slack(self) -> None:
        """Forget cuts that the current point is well inside of."""
        slack = np.flatnonzero(1 - np.array(self.model.getSolution().row_value) > 0.1)
        if len(slack):
            self.model.deleteRows(len(slack), slack.astype(np.int32))
            self.entries = np.delete(self.entries, slack)


@shaped
def certify(
    B: Real[np.ndarray, "units units"], labels: Integer[np.ndarray, " units"], *, seconds: float
) -> tuple[np.ndarray, float]:
    """The best labels known and an upper bound on Q over all partitions.

    Q is linear in x_ij = "i and j share a module", and x comes from a partition if and only if it
    is 0 or 1 and meets every triangle inequality x_ij + x_jk - x_ik <= 1 (Grötschel & Wakabayashi
    1990; Brandes et al. 2008). HiGHS solves the linear program, to which violated triangles and
    2-partition cuts are added as needed; pairs whose reduced cost exceeds the gap to `labels` are
    fixed; what gap is left is closed by branching on pairs. Each step's bound is valid.

    Args:
        B: `(m, m)` modularity matrix. Above 512 units only the cheap bound is given.
        labels: `(m,)` the best labels known.
        seconds: Time to spend; with 64 units of a trained network most are proven within 30.

    Returns:
        `labels`, or better ones if the search met them, and the bound.

    Raises:
        ImportError: `highspy` is not installed (`pip install "infoflow[exact]"`).
    """
    weights = 2 * np.array(B)
    np.fill_diagonal(weights, 0.0)
    scale = float(np.abs(weights).max())
    if len(B) > _LARGEST or scale == 0:
        return labels, cheap_bound(B)
    tree = _Tree(_Relaxation(weights / scale), labels, PROVEN / 2 / scale, seconds)
    bound = tree.search() * scale + float(np.trace(B))
    return tree.labels, min(bound, cheap_bound(B))


class _Tree:
    """Best-first branch and bound over pairs, in the scale of the relaxation's weights."""

    def __init__(
        self, relaxation: _Relaxation, labels: np.ndarray, tolerance: float, seconds: float
    ) -> None:
        self.relaxation = relaxation
        self.labels = labels
        self.score = self._score(labels)
        self.tolerance = max(tolerance, 1e-9)
        self.deadline = time.perf_counter() + seconds

    def search(self) -> float:
        """An upper bound on the score: the largest of the open nodes and of the best labels."""
        r = self.relaxation
        nodes = [(-r.bound, 0, r.low.copy(), r.high.copy())]
        closed, made = self.score, 0
        while nodes:
            bound, _, low, high = heapq.heappop(nodes)
            if -bound <= self.score + self.tolerance:
                closed = max(closed, -bound)
                continue
            r.set_bounds(low, high)
            r.bound = -bound
            branch = self._cut()
            if branch is None:
                closed = max(closed, min(r.bound, -bound))
                if time.perf_counter() > self.deadline:
                    break
                continue
            for value in (0.0, 1.0):
                made += 1
                low, high = r.low.copy(), r.high.copy()
                low[branch] = high[branch] = value
                heapq.heappush(nodes, (-min(r.bound, -bound), made, low, high))
        return max([closed, *(-node[0] for node in nodes)])

    def _cut(self) -> int | None:
        """Cut until the node is closed (None), time is up (None) or a pair is left to branch on."""
        from infoflow.clustering import _kernel_cuts as cuts

        r = self.relaxation
        n = len(r.weights)
        if not r.solve(self.deadline - time.perf_counter()):
            return None
        best, stalled, first = r.bound, 0, 0
        while r.bound > self.score + self.tolerance:
            self._fix()
            X = r.matrix()
            first = (first + 7) % n
            triangles = cuts.triangles(X, 1e-3, 8 * n, 3, first)
            slow = len(triangles) < 2 * n or stalled > 0
            # stars are dense rows: they pay once triangles alone gain little
            nodes, sizes = cuts.stars(X, 1e-2, 8 if slow else 0, 4 * n)
            if len(triangles) + len(sizes) == 0:
                return self._branch(X)
            if stalled > 8 and len(triangles) < n // 2:
                return self._branch(X)
            r.drop_slack()
            r.add(triangles, nodes, sizes)
            if not r.solve(self.deadline - time.perf_counter()):
                return None
            stalled = stalled + 1 if best - r.bound < 0.02 * (r.bound - self.score) else 0
            best = min(best, r.bound)
        return None

    def _fix(self) -> None:
        """Fix pairs that no better partition of this node can have otherwise."""
        r = self.relaxation
        gap = r.bound - self.score + 1e-9
        low = np.where(-r.reduced > gap, r.high, r.low)
        high = np.where(r.reduced > gap, r.low, r.high)
        r.set_bounds(low, high)

    def _branch(self, X: np.ndarray) -> int | None:
        """The least decided pair; None, and perhaps better labels, if all are decided."""
        from scipy.sparse.csgraph import connected_components

        r = self.relaxation
        undecided = np.minimum(r.x, 1 - r.x)
        if undecided.max() > 1e-6:  # among the least decided, the one that weighs most
            return int(np.argmax((undecided > 0.9 * undecided.max()) * np.abs(r.cost)))
        labels = connected_components(X > 0.5)[1].astype(np.int64)
        if self._score(labels) > self.score:
            self.labels, self.score = labels, self._score(labels)
        return None

    def _score(self, labels: np.ndarray) -> float:
        r = self.relaxation
        return float(r.weights[labels[:, None] == labels[None, :]].sum() / 2)
