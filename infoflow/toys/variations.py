"""The same toys with B set in other ways, or its relays held: where these differ from the plain
do(B), exact three ways."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow import oracle
from infoflow.forcing import Forcing, ForcingLike
from infoflow.information import flow
from infoflow.oracle import Setting
from infoflow.toys.catalogue import load
from infoflow.toys.system import Toy

if TYPE_CHECKING:
    import pandas as pd

_EXACT = 1e-7  # capacity: an optimiser's answer
_FOUR_DECIMALS = 0.5e-4 + 1e-7


@dataclass(frozen=True, eq=False, kw_only=True)
class Variation:
    """A toy whose B is set in another way.

    Attributes:
        toy: Its name.
        said: What is varied, in words.
        do: The same for `infoflow.flow`.
        setting: The same for the oracle.
        within: Variable of the toy's causal network that is the class of `do.within`, if any.
        direct: All recorded units but B and C are held.
        interventional, given_context: The numbers on paper, to four decimals.
    """

    toy: str
    said: str
    do: ForcingLike = "empirical"
    setting: Setting = Setting()  # noqa: RUF009 (frozen)
    within: str | None = None
    direct: bool = False
    interventional: float
    given_context: float

    def by_engine(self) -> tuple[float, float]:
        """The network itself: everything enumerated, no correction."""
        toy, how = load(self.toy), {"bins": "unique", "correction": "none"}
        every: dict[str, Any] = {"donors": "all", "contexts": "all", "do": self.do, **how}
        found = flow(toy.record(), toy.source, toy.target, direct=self.direct, **every)
        found = found.direct if self.direct and found.direct is not None else found
        return found.bits, found.bits_given_context

    def by_oracle(self) -> tuple[float, float]:
        """Variable elimination on the causal network."""
        toy = load(self.toy)
        held = tuple(toy.between_variables) if self.direct else ()
        setting = replace(self.setting, held=held)
        network = toy.network()
        if self.within is None:
            return _asked(toy, network, setting, {})
        chance = oracle.query(network, [[self.within]], {})
        names = network.get_cpds(self.within).state_names[self.within]  # type: ignore[union-attr]
        each = [_asked(toy, network, setting, {self.within: name}) for name in names]
        plain, given = chance @ np.array(each)
        return float(plain), float(given)

    @property
    def paper(self) -> tuple[float, float]:
        """Interventional and given the context, on paper."""
        return self.interventional, self.given_context


def _asked(
    toy: Toy, network: Any, setting: Setting, given: Mapping[str, Hashable]
) -> tuple[float, float]:
    groups = (network, toy.source_variables, toy.target_variables)
    inputs, given = toy.input_variables, {**toy.given, **given}
    plain = oracle.interventional_information(*groups, given=given, inputs=inputs, setting=setting)
    known = oracle.information_given_context(*groups, inputs, given=given, setting=setting)
    return plain, known


def _values(*values: float) -> Any:
    """A sampler that sets a single unit to each of these as often."""
    return lambda rec, units, count, rng: np.array(values)[:, None]


def _rows(*rows: int) -> Any:
    """A sampler of these donors."""
    return lambda rec, units, count, rng: np.array(rows)


def _variation(toy: str, said: str, bits: float, given_context: float, **how: Any) -> Variation:
    return Variation(toy=toy, said=said, interventional=bits, given_context=given_context, **how)


_OBSERVED = {"do": Forcing(marginal="observed"), "setting": Setting(marginal="observed")}
_UNIFORM = {"do": "uniform", "setting": Setting("uniform")}
_CAPACITY = {"do": "capacity", "setting": Setting("capacity")}
_CLASSES = (0, 0, 1, 1)


def _class(label: int) -> dict[str, Any]:
    return {
        "do": Forcing(within=_CLASSES, only=label),
        "setting": Setting(donors={"S": label}),
    }


VARIATIONS = (
    _variation("rare_signal", "both values of B alike", 1, 1, **_UNIFORM),
    _variation("rare_signal", "capacity", 1, 1, **_CAPACITY),
    _variation(
        "rare_signal", "donors X = 0, 7", 1, 1,
        do=_rows(0, 7), setting=Setting({(0,): 0.5, (1,): 0.5}),
    ),
    _variation("bob_listens", "all answers alike", 2, 2, **_UNIFORM),
    _variation("bob_checks", "all answers alike", 0.0867, 0.8113, **_UNIFORM),
    _variation("bob_checks", "against the observed marginal", np.inf, 0.8387, **_OBSERVED),
    _variation(
        "integer_division", "B = 0 or 7", 1, 1,
        do=_values(0, 7), setting=Setting({(0,): 0.5, (7,): 0.5}),
    ),
    _variation("confounded_and", "capacity: log2(5/4), and half a bit", 0.3219, 0.5, **_CAPACITY),
    _variation("context_gate", "capacity", 0.0691, 0.125, **_CAPACITY),
    _variation("nested_outer", "capacity", 0.1981, 0.25, **_CAPACITY),
    _variation("confounded_and", "against the observed marginal", 0.5, 0.5, **_OBSERVED),
    _variation("redundant_or_one", "against the observed marginal", 0.5, 0.5, **_OBSERVED),
    _variation("xor_of_copies", "against the observed marginal", np.inf, 1, **_OBSERVED),
    _variation("class_gate", "donors of the context's class", 0.5, 0.5,
        do=Forcing(within=_CLASSES), within="S"),
    _variation("class_gate", "donors of class 0", 0.3113, 0.5, **_class(0)),
    _variation("class_gate", "donors of class 1", 0.5, 0.5, **_class(1)),
    _variation("relayed", "M held", 0, 0, direct=True),
    _variation("half_relayed", "M held", 0.5, 1, direct=True),
    _variation("cancelled", "M held", 0, 1, direct=True),
)  # fmt: skip
"""Every variation, with what it gives."""


def table(variations: Iterable[Variation] = VARIATIONS) -> pd.DataFrame:
    """Every variation three ways, in bits: a row each.

    Columns: `name`, `varied`, `interventional` and `given_context` each by `_engine`, `_oracle`
    and `_paper`, `agree`.

    Examples:
        >>> table(VARIATIONS[:1])[["name", "interventional_engine", "agree"]]
                  name  interventional_engine  agree
        0  rare_signal                    1.0   True
    """
    import pandas as pd

    rows = []
    for variation in variations:
        ways = {way: getattr(variation, f"by_{way}")() for way in ("engine", "oracle")}
        ways["paper"] = variation.paper
        row: dict[str, Any] = {"name": variation.toy, "varied": variation.said}
        for place, what in enumerate(("interventional", "given_context")):
            row |= {f"{what}_{way}": found[place] for way, found in ways.items()}
        exact = np.allclose(ways["engine"], ways["oracle"], rtol=0, atol=_EXACT)
        near = np.allclose(ways["paper"], ways["oracle"], rtol=0, atol=_FOUR_DECIMALS)
        rows.append({**row, "agree": exact and near})
    return pd.DataFrame(rows)
