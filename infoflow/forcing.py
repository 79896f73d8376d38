"""What a source is set to: the distribution p(b) of do(B), and the marginal it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from infoflow._arguments import check_fields, items, one_of, told

Sampler = Callable[[Any, np.ndarray, int, np.random.Generator], Any]
"""`f(rec, units, count, rng)`: `(M,)` rows of donors, or `(M, units[, positions])` values."""
Values = Literal["empirical", "uniform", "capacity"]
Marginal = Literal["mixture", "observed"]


def _values(_: str, value: Any) -> Any:
    return value if callable(value) else one_of(get_args(Values), "distribution")("do", value)


def _labels(name: str, value: Any) -> Any:
    """One label per sample; None and "targets" stand for some."""
    if value is None or (isinstance(value, str) and value == "targets"):
        return value
    listed: Any = getattr(value, "tolist", None)
    labels = items(name, value if listed is None else listed())
    if not labels or any(not isinstance(x, (str, int, float)) or x != x for x in labels):
        raise ValueError(f"{name}: expected one label per sample or 'targets', got {told(value)}")
    return tuple(labels)


@dataclass(frozen=True)
class Forcing:
    """The distribution of do(B): what a source is set to, and how often.

    Attributes:
        values: "empirical": what B was on samples drawn at random, as often as it was that.
            "uniform": every code of B equally likely (a unit's bins, a group's joint code), within
            a code as drawn. "capacity": the distribution over the donors that sends most
            (`flow` only). A function `f(rec, units, count, rng)` that returns `(M,)` rows of
            donors (integers), or `(M, units)` values, `(M, units, positions)` at each position.
        within: "targets", or one label per sample. Donors are of their context's class: the flow
            is that of each class by itself, averaged over classes by their share of the data. What
            source and target share as members of a class is then not counted as sent.
        only: A label of `within`: donors of this class alone, whatever the context.
        marginal: p(c) that p(c | do(b)) is held against. "mixture": Σ_b p(b) p(c | do(b)), which
            makes it the mutual information. "observed": p(c) in the normal run, which adds how far
            the mixture is from that: Σ_b p(b) KL(p(c | do(b)) || p(c)). Only the plain flow has
            such a marginal: given the context, a normal run has one outcome.

    Raises:
        ValueError: An unknown name, `only` without `within` or not among its labels, or a
            combination that has no meaning.

    Examples:
        >>> Forcing(within=[0, 0, 1, 1], only=1).only
        1
        >>> str(Forcing(within="targets", marginal="observed"))
        'empirical, within targets, against the observed marginal'
    """

    values: Values | Sampler = "empirical"
    within: Any = None
    only: Any = None
    marginal: Marginal = "mixture"

    def __post_init__(self) -> None:
        check_fields(self, values=_values, marginal=one_of(get_args(Marginal)), within=_labels)
        if self.only is not None and self.within is None:
            raise ValueError("only= names a class: say of which labels by within=")
        if isinstance(self.within, tuple) and self.only not in (None, *self.within):
            raise ValueError(f"expected a label that occurs in within=, got only={self.only!r}")
        if self.within is not None and callable(self.values):
            raise ValueError("a sampler draws what it likes: leave out within=, or draw within it")
        if self.marginal == "observed" and self.values == "capacity":
            raise ValueError("capacity is that of the mixture: leave out marginal='observed'")

    @property
    def plain(self) -> bool:
        """Nothing but the default."""
        return self == Forcing()

    @property
    def of_source(self) -> bool:
        """Which samples donate depends on the source."""
        return self.values == "uniform" or callable(self.values)

    @property
    def config(self) -> dict[str, object]:
        """The same as JSON can hold it.

        Raises:
            ValueError: A sampler, of which nobody can tell whether it is the same.
        """
        if callable(self.values):
            raise ValueError("a checkpoint cannot tell one sampler from another: leave it out")
        within = self.within if isinstance(self.within, str) else list(self.within or ())
        only = self.only if self.only is None else str(self.only)
        return {
            "values": self.values, "within": within, "only": only, "marginal": self.marginal
        }  # fmt: skip

    def __str__(self) -> str:
        values = self.values
        name = values if isinstance(values, str) else getattr(values, "__name__", "sampler")
        parts = [str(name)]
        if self.within is not None:
            labels = self.within if isinstance(self.within, str) else "labels"
            parts.append(f"within {labels}")
        parts += [f"only {self.only!r}"] if self.only is not None else []
        parts += ["against the observed marginal"] if self.marginal == "observed" else []
        return ", ".join(parts)


ForcingLike = Forcing | Values | Sampler


def as_forcing(given: ForcingLike) -> Forcing:
    """A distribution's name or a sampler stands for `Forcing` of it.

    Examples:
        >>> as_forcing("uniform").values
        'uniform'
    """
    return given if isinstance(given, Forcing) else Forcing(given)
