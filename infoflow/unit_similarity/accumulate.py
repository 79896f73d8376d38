"""Sums over batches, in float64: what a measure keeps while the data streams past, and after."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from torch import Tensor


class CovarianceSum:
    """Centred second moment of unit activations, batch by batch.

    Means and centred sums of two batches are merged as in Chan, Golub & LeVeque (1983), so that a
    unit with mean 300 and variance 1e-7 keeps its variance.

    Examples:
        >>> total = CovarianceSum(1)
        >>> total.update(torch.tensor([[1.0], [3.0]]))
        >>> total.update(torch.tensor([[5.0]]))
        >>> total.matrix()
        array([[4.]])
    """

    def __init__(self, n: int, positions: int = 1) -> None:
        self.count = 0
        self.mean = torch.zeros(positions, n, dtype=torch.float64)
        self.products = torch.zeros(positions, n, n, dtype=torch.float64)

    def update(self, units: Tensor) -> None:
        """Add activations `(batch, n)`, or `(batch, positions, n)`."""
        units = units.double().reshape(len(units), *self.mean.shape)
        count, mean = len(units), units.mean(0)
        centred = (units - mean).transpose(0, 1)
        shift = mean - self.mean
        total = self.count + count
        self.products += centred.mT @ centred
        self.products += shift[:, :, None] * shift[:, None] * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def matrix(self) -> np.ndarray:
        """Covariance `(n, n)` with 1/(K-1), signed; the mean over positions."""
        return (self.products.mean(0) / (self.count - 1)).numpy()


class MeanOfSamples:
    """Mean over samples of an `(n, n)` quantity, from sums over batches.

    Examples:
        >>> total = MeanOfSamples(1)
        >>> total.update(torch.tensor([[6.0]]), 2)
        >>> total.update(torch.tensor([[3.0]]), 1)
        >>> total.matrix()
        array([[3.]])
    """

    def __init__(self, n: int) -> None:
        self.count = 0
        self.total = torch.zeros(n, n, dtype=torch.float64)

    def update(self, batch_sum: Tensor, count: int) -> None:
        """Add the sum `(n, n)` over `count` samples."""
        self.total += batch_sum.detach().to("cpu", torch.float64)
        self.count += count

    def matrix(self) -> np.ndarray:
        """Mean `(n, n)`, signed."""
        return (self.total / self.count).numpy()


class KeptMatrices:
    """Matrices of the last requests of one recording, up to `most` numbers in all (64 MiB), so that
    a measure and its normalised form come from one pass. The oldest go first.

    Examples:
        >>> kept = KeptMatrices()
        >>> kept.put("a", {"cov": np.eye(2)})
        >>> kept.get("a")["cov"].trace(), kept.get("b") is None
        (np.float64(2.0), True)
    """

    most = 2**23

    def __init__(self) -> None:
        self._found: dict[Hashable, Mapping[str, np.ndarray]] = {}

    def get(self, request: Hashable) -> Mapping[str, np.ndarray] | None:
        """What was put there; None: nothing, or no longer."""
        return self._found.get(request)

    def put(self, request: Hashable, matrices: Mapping[str, np.ndarray]) -> None:
        """Keep these, and forget the oldest as far as it takes."""
        self._found[request] = matrices
        while sum(m.size for kept in self._found.values() for m in kept.values()) > self.most:
            del self._found[next(iter(self._found))]
