"""Interventions as data: what is done to which units. Frozen, hashable, and JSON in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from infoflow._arguments import check_fields, integers, numbers, real

Units = Iterable[int] | None


def _frozen(value: Any) -> Any:
    """Lists, arrays, ranges and tensors as nested tuples of plain numbers."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _frozen(value.tolist())
    if value is None or isinstance(value, (str, int, float, Intervention)):
        return value
    return tuple(map(_frozen, value))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.to_dict() if isinstance(value, Intervention) else value


def _put(name: str, value: Any) -> Any:
    numbers(name, value)
    return value


def _units(name: str, value: Any) -> Any:
    """Indices, one of them, or None."""
    single = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return value if value is None else integers(name, [value] if single else value)


@dataclass(frozen=True)
class Intervention:
    """Something done to units of one layer.

    Attributes:
        units: Indices within the layer; None: all of them.
    """

    units: Units = None
    needs_data: ClassVar[bool] = False
    """The values come from the recorded data set."""

    def __post_init__(self) -> None:
        check_fields(self, units=_units, values=_put, factor=real(), std=real(0))
        for field in fields(self):
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    def to_dict(self) -> dict[str, Any]:
        """The intervention as JSON can hold it: its kind and its fields.

        Examples:
            >>> Zero([0, 3]).to_dict()
            {'kind': 'Zero', 'units': [0, 3]}
        """
        return {"kind": type(self).__name__} | {
            field.name: _plain(getattr(self, field.name)) for field in fields(self)
        }


@dataclass(frozen=True)
class Set(Intervention):
    """Units take fixed values: one for all, one per unit, or per unit and position."""

    values: Any = 0.0


@dataclass(frozen=True)
class Zero(Intervention):
    """Units are zero."""


@dataclass(frozen=True)
class Mean(Intervention):
    """Units take their mean over the recorded data set, at each position."""

    needs_data: ClassVar[bool] = True


@dataclass(frozen=True)
class Scale(Intervention):
    """Units are multiplied by a factor."""

    factor: float = 1.0


@dataclass(frozen=True)
class Noise(Intervention):
    """Gaussian noise is added, its standard deviation in the activations' own scale.

    The noise of a sample depends on the seed and the sample's row, not on the batch.
    """

    std: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Resample(Intervention):
    """Units take the values of a donor, drawn for every row from the whole data set.

    Attributes:
        seed: Interventions on several layers with the same seed (and `within`) have the same
            donors: the joint trajectory of one sample.
        within: One label per sample, or "targets": donors share their context's label.
    """

    seed: int = 0
    within: Any = None
    needs_data: ClassVar[bool] = True


@dataclass(frozen=True)
class Shuffle(Resample):
    """Like `Resample`, but donors are a permutation of the data set: each donates once."""


@dataclass(frozen=True)
class Project(Intervention):
    """An intervention on coordinates along some directions; the rest of the space stays.

    Attributes:
        units: Which directions; None: all.
        basis: `(directions, units of the layer)`, rows linearly independent.
        then: What is done to the coordinates; its own `units` are left open.

    Examples:
        >>> out = Project(basis=[[1.0, 1.0]], then=Zero())  # takes the direction (1, 1) out
        >>> intervention_from(out.to_dict()) == out
        True
    """

    basis: Any = ()
    then: Intervention = Zero()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.then, Intervention) or isinstance(self.then, Project):
            raise ValueError(f"expected an intervention on coordinates, got {self.then!r}")
        if self.then.units is not None:
            raise ValueError("name the directions in Project(units=...), not in its `then`")

    @property
    def needs_data(self) -> bool:  # type: ignore[override]
        """The coordinates' values come from the data set."""
        return self.then.needs_data


KINDS = {
    kind.__name__: kind for kind in (Set, Zero, Mean, Scale, Noise, Resample, Shuffle, Project)
}

Done = Intervention | tuple[Any, Any] | Callable[[Tensor], Tensor]
"""What `do` takes for a layer: an intervention, `(units, values)`, or a function from the
activations `(batch, units[, positions])` to new ones of that shape."""


def intervention_from(given: Mapping[str, Any]) -> Intervention:
    """The intervention that `to_dict` wrote down.

    Raises:
        ValueError: An unknown kind.
    """
    facts = dict(given)
    kind = facts.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"unknown intervention {kind!r}: expected one of {list(KINDS)}")
    if isinstance(facts.get("then"), Mapping):
        facts["then"] = intervention_from(facts["then"])
    return KINDS[kind](**facts)
