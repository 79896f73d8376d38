"""The same numbers by three roads: running the network, the causal network, and paper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from infoflow import oracle
from infoflow._arguments import door, instance, texts
from infoflow.information import flow
from infoflow.toys.catalogue import TOYS, load
from infoflow.toys.system import Numbers, System, Toy

if TYPE_CHECKING:
    import pandas as pd

_EXACT = 1e-9
_FOUR_DECIMALS = 0.5e-4 + 1e-12


@dataclass(frozen=True)
class Check:
    """One toy by three roads.

    Attributes:
        name, description: The toy.
        engine: Every donor run on every context by the hook engine (`infoflow.flow`).
        oracle: Variable elimination on the causal network (`infoflow.oracle`).
        paper: The number known on paper, to four decimals.
        conditional: I(B; C | X) by the oracle: 0 in all of them, whatever flows.
    """

    name: str
    description: str
    engine: Numbers
    oracle: Numbers
    paper: Numbers
    conditional: float

    @property
    def agree(self) -> bool:
        """Engine and oracle to 1e-9, both with paper to its four decimals."""
        return (
            self.engine.difference(self.oracle) <= _EXACT
            and self.paper.difference(self.oracle) <= _FOUR_DECIMALS
        )

    def to_frame(self) -> pd.DataFrame:
        """One row; a column for each quantity and road, `agree`."""
        import pandas as pd

        roads = {"engine": self.engine, "oracle": self.oracle, "paper": self.paper}
        numbers = {
            f"{field.name}_{road}": getattr(value, field.name)
            for field in fields(Numbers)
            for road, value in roads.items()
        }
        row = {"name": self.name, "system": self.description, **numbers}
        return pd.DataFrame([{**row, "conditional": self.conditional, "agree": self.agree}])


def by_engine(system: System) -> Numbers:
    """The network itself: every input a donor to every input, no sampling, no correction."""
    found = flow(
        system.record(),
        system.source,
        system.target,
        donors="all",
        contexts="all",
        bins="unique",
        correction="none",
    )
    return Numbers(found.observational_bits, found.bits, found.bits_given_context)


def by_oracle(system: System) -> Numbers:
    """Variable elimination on the system's causal network."""
    network, given = system.network(), system.given
    groups = (network, system.source_variables, system.target_variables)
    return Numbers(
        observational=oracle.observational_information(*groups, given=given),
        interventional=oracle.interventional_information(*groups, given=given),
        given_context=oracle.information_given_context(
            *groups, system.input_variables, given=given
        ),
    )


@door(toy=instance((str, Toy), "a toy or its name"))
def check(toy: str | Toy) -> Check:
    """One toy by three roads.

    Raises:
        UnknownName: No toy of that name; near misses are named.

    Examples:
        >>> check("xor_one").engine
        Numbers(observational=0.0, interventional=0.0, given_context=1.0)
        >>> check("xor_one").agree
        True
    """
    toy = load(toy) if isinstance(toy, str) else toy
    conditional = oracle.conditional_information(
        toy.network(),
        toy.source_variables,
        toy.target_variables,
        toy.input_variables,
        given=toy.given,
    )
    return Check(toy.name, toy.description, by_engine(toy), by_oracle(toy), toy.paper, conditional)


@door(names=texts)
def table(names: Iterable[str] | None = None) -> pd.DataFrame:
    """All toys (or those named) by three roads, one row each.

    Columns: `name`, `system`, then `observational`, `interventional` and `given_context` each by
    `_engine`, `_oracle` and `_paper`; `conditional` and `agree`. In bits.

    Examples:
        >>> table(["copy", "ducks_and_shadows"])[["name", "interventional_engine", "agree"]]
                        name  interventional_engine  agree
        0               copy                    1.0   True
        1  ducks_and_shadows                    0.0   True
    """
    import pandas as pd

    chosen = TOYS if names is None else [names] if isinstance(names, str) else names
    rows = [check(name).to_frame() for name in chosen]
    return pd.concat(rows, ignore_index=True)
