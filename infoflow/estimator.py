"""ModuleFinder: modules of columns of a matrix, in the manner of scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from infoflow.clustering import find_modules
from infoflow.clustering.find import Method
from infoflow.recording import Recording
from infoflow.unit_similarity import similarity


class ModuleFinder(TransformerMixin, BaseEstimator):
    """Modules of units by Newman's Q, as a scikit-learn estimator.

    Like scikit-learn's `FeatureAgglomeration` it groups columns: units, not samples. So that
    `Pipeline`, `GridSearchCV` and `clone` take it, parameters are kept as they are given and
    checked in `fit`.

    Args:
        measure: Of similarity. "correlation" (the absolute value), for a matrix of activations
            `(samples, units)`; "precomputed", for a similarity matrix `(units, units)`; or one of
            the eight of `infoflow.similarity`, for a `Recording`.
        n_modules: How many; None: as many as Q likes.
        method: As for `find_modules`.
        random_state: Seed, an integer of at least 0.

    Attributes:
        labels_: `(units,)` module of each unit; -1 for one that is unlike all others.
        modules_: The `Modules` behind it.
        q_: Q* of the partition.
        n_modules_: Modules found.
        n_features_in_: Units seen in `fit`.

    Raises:
        ValueError: A measure that does not fit what is given, or as `find_modules`.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(200, 2)).repeat(3, axis=1)
        >>> X += 0.1 * np.random.default_rng(1).normal(size=X.shape)
        >>> finder = ModuleFinder().fit(X)
        >>> finder.labels_.tolist(), finder.transform(X).shape
        ([0, 0, 0, 1, 1, 1], (200, 2))
    """

    def __init__(
        self,
        measure: str = "correlation",
        *,
        n_modules: int | None = None,
        method: Method = "default",
        random_state: int = 0,
    ) -> None:
        self.measure = measure
        self.n_modules = n_modules
        self.method: Method = method
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> ModuleFinder:
        """Find the modules.

        Args:
            X: Activations `(samples, units)`, a similarity matrix, or a `Recording`, as `measure`
                says.
            y: Not used; for scikit-learn's sake.
        """
        S = self._similarity(X)
        self.modules_ = find_modules(
            S, n_modules=self.n_modules, method=self.method, seed=self.random_state
        )
        self.labels_ = self.modules_.partition.labels
        self.q_, self.n_modules_ = self.modules_.q, self.modules_.n_modules
        self.n_features_in_ = len(S)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """`(samples, modules)`: the mean of each module's units; X as in `fit`, but for
        "precomputed" activations of the same units."""
        check_is_fitted(self)
        if isinstance(X, Recording):
            X = X.matrix()
        X = validate_data(self, X, reset=False, dtype=np.float64)
        means = [X[:, units].mean(1) for units in self.modules_.partition.modules]
        return np.stack(means, 1) if means else np.empty((len(X), 0))

    def _similarity(self, X: Any) -> np.ndarray:
        if isinstance(X, Recording):
            if self.measure == "correlation":
                return _correlation(X.matrix())
            return similarity(X, self.measure)
        if self.measure == "correlation":
            X = validate_data(
                self, X, dtype=np.float64, ensure_min_samples=2, ensure_min_features=2
            )
            return _correlation(X)
        if self.measure != "precomputed":
            raise ValueError(
                f"expected a Recording for measure={self.measure!r}, got {type(X).__name__}: "
                "'correlation' takes activations (samples, units), 'precomputed' a similarity"
            )
        X = validate_data(self, X, dtype=np.float64)
        if X.shape[0] != X.shape[1]:
            raise ValueError(f"expected a square similarity matrix, got shape {X.shape}")
        return X


def _correlation(X: np.ndarray) -> np.ndarray:
    """`(n, n)` absolute correlations; 0 for a column that never changes."""
    centred = X - X.mean(0)
    size = np.linalg.norm(centred, axis=0)
    still = size <= 1e-12 * np.maximum(1.0, np.abs(X).max(0, initial=0.0))
    unit = np.where(still, 0.0, centred / np.where(still, 1.0, size))
    S = np.abs(unit.T @ unit)
    return (S + S.T) / 2
