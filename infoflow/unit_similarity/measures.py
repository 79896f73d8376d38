"""The table of similarity measures (Lange et al. 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from infoflow.units import unknown_name


@dataclass(frozen=True)
class Measure:
    """One way to say how alike two hidden units are.

    Attributes:
        name: The name by which it is asked for.
        base: The measure whose matrix it is, or is normalised from.
        family: `"upstream"` looks at what drives the units, `"downstream"` at what they drive;
            `"other"` is for comparison, and not from the paper.
        normalised: Divided by the diagonal as in eq. 5.
        equation: Number of the base's equation in the paper.
    """

    name: str
    base: str
    family: Literal["upstream", "downstream", "other"]
    normalised: bool
    equation: int | None = None


TABLE: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("cov", "cov", "upstream", False, 1),
        Measure("cov_norm", "cov", "upstream", True, 1),
        Measure("i_sens", "i_sens", "upstream", False, 2),
        Measure("i_sens_norm", "i_sens", "upstream", True, 2),
        Measure("o_sens", "o_sens", "downstream", False, 3),
        Measure("o_sens_norm", "o_sens", "downstream", True, 3),
        Measure("hess", "hess", "downstream", False, 4),
        Measure("hess_norm", "hess", "downstream", True, 4),
        Measure("weights", "weights", "other", False),
        Measure("w_in", "w_in", "other", False),
        Measure("w_in_norm", "w_in", "other", True),
        Measure("w_out", "w_out", "other", False),
        Measure("w_out_norm", "w_out", "other", True),
        Measure("spearman", "spearman", "other", False),
    )
}

OTHERS: tuple[str, ...] = tuple(m.name for m in TABLE.values() if m.family == "other")
MEASURES: tuple[str, ...] = tuple(name for name in TABLE if name not in OTHERS)
UPSTREAM: tuple[str, ...] = tuple(m.name for m in TABLE.values() if m.family == "upstream")
DOWNSTREAM: tuple[str, ...] = tuple(m.name for m in TABLE.values() if m.family == "downstream")


def chosen(measures: str | Sequence[str] | None) -> list[Measure]:
    """The measures asked for, or (None) all eight.

    Raises:
        ValueError: No measure of that name (near misses are named), or none asked for.
    """
    names = MEASURES if measures is None else measures
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"expected at least one measure of {list(MEASURES)}, got none")
    for name in names:
        if name not in TABLE:
            raise ValueError(unknown_name("similarity measure", name, tuple(TABLE)))
    return [TABLE[name] for name in names]
