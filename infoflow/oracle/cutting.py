"""Cutting a causal network: p(c | do(b)) for every value of B, by variable elimination (pgmpy)."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.units import UnknownName, unknown_name

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

_MOST_CELLS = 10_000_000


@dataclass(frozen=True)
class Setting:
    """How B is set, and what stays: the variations of do(B) (see `infoflow.forcing.Forcing`).

    Attributes:
        prior: p(b): "empirical", that of a normal run; "uniform" over the values that B takes;
            "capacity", under which most is sent; or the probability of values `{(b, ...): p}`.
        donors: States that hold where B's values come from: p(b | these).
        marginal: "mixture" of p(c | do(b)), or "observed", p(c) in a normal run (plain only).
        held: Variables outside B and C that stay at what they are in the run whose input it is;
            the inputs must determine them.
    """

    prior: str | Mapping[tuple[Hashable, ...], float] = "empirical"
    donors: Mapping[str, Hashable] = field(default_factory=dict)
    marginal: str = "mixture"
    held: Sequence[str] = ()


def interventions(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    inputs: Sequence[str] | None,
    given: Mapping[str, Hashable] | None,
    setting: Setting,
) -> tuple[np.ndarray, np.ndarray]:
    """p(b) of the values B takes, `(b,)`, and p(x, c | do(b)), `(b, x, c)`; no inputs: `(b, c)`."""
    context = {} if inputs is None else {"inputs": inputs}
    held = {"held": setting.held} if setting.held else {}
    check_groups(network, {"source": source, "target": target, **context, **held}, given)
    given = dict(given or {})
    _check_upstream(network, source, {**context, "given": list(given)})
    values, prior = _prior(network, source, given, setting)
    cut: Any = network.do([*source, *setting.held])
    effect = []
    for value in values:
        states = dict(zip(source, value, strict=True))
        if setting.held:
            effect.append(_with_held(network, cut, states, target, inputs or (), given, setting))
        else:
            asked = [*context.values(), target]
            effect.append(query(cut, asked, {**given, **states}))
    return prior, np.stack(effect)


def _prior(
    network: Any, source: Sequence[str], given: Mapping[str, Hashable], setting: Setting
) -> tuple[list[tuple[Hashable, ...]], np.ndarray]:
    """The values that B takes, and their probabilities."""
    joint = query(network, [[name] for name in source], {**given, **setting.donors})
    seen = np.argwhere(joint > 0)
    names = [_states(network, n) for n in source]
    values = [tuple(n[s] for n, s in zip(names, value, strict=True)) for value in seen]
    if not isinstance(setting.prior, str):
        return list(setting.prior), np.array(list(setting.prior.values()), dtype=np.float64)
    if setting.prior == "empirical":
        return values, joint[tuple(seen.T)]
    return values, np.full(len(values), 1 / len(values))


def _with_held(
    network: Any,
    cut: Any,
    states: Mapping[str, Hashable],
    target: Sequence[str],
    inputs: Sequence[str],
    given: Mapping[str, Hashable],
    setting: Setting,
) -> np.ndarray:
    """p(x, c | do(b), held variables at what they are for x), `(x, c)`."""
    chance = query(network, [[name] for name in inputs], given)
    rows = []
    for place in np.ndindex(chance.shape):
        x = {n: _states(network, n)[s] for n, s in zip(inputs, place, strict=True)}
        if not chance[place]:
            rows.append(None)
            continue
        normal = query(network, [[name] for name in setting.held], {**given, **x})
        if normal.max() < 1 - 1e-9:
            raise ValueError(
                f"held {list(setting.held)} are not determined by inputs {list(inputs)}"
            )
        at = np.unravel_index(int(normal.argmax()), normal.shape)
        fixed = {n: _states(network, n)[s] for n, s in zip(setting.held, at, strict=True)}
        rows.append(chance[place] * query(cut, [target], {**given, **states, **x, **fixed}))
    empty = np.zeros_like(next(row for row in rows if row is not None))
    return np.stack([empty if row is None else row for row in rows])


def query(
    network: DiscreteBayesianNetwork,
    groups: Sequence[Sequence[str]],
    evidence: Mapping[str, Hashable],
) -> np.ndarray:
    """p(groups | evidence), one axis per group (its joint states)."""
    names = [name for group in groups for name in group]
    card: Any = network.get_cardinality()
    guard(f"the joint table of {names}", [card[name] for name in names])
    _, _, elimination = pgmpy_classes()
    factor = elimination(network).query(names, dict(evidence) or None, show_progress=False)
    axes = [factor.variables.index(name) for name in names]
    table = np.asarray(factor.values, dtype=np.float64).transpose(axes)
    return table.reshape([int(np.prod([card[n] for n in group])) for group in groups])


def check_groups(
    network: DiscreteBayesianNetwork,
    groups: Mapping[str, Sequence[str]],
    given: Mapping[str, Hashable] | None,
) -> None:
    known = [str(node) for node in network.nodes()]
    owner: dict[str, str] = {}
    fixed = {"given": list(given)} if given else {}
    for label, names in {**groups, **fixed}.items():
        if isinstance(names, str):
            raise ValueError(
                f"expected a list of variable names as {label}, got the string {names!r}"
            )
        if len(names) == 0:
            raise ValueError(f"expected at least one variable as {label}, got none")
        for name in names:
            if name not in known:
                raise UnknownName(unknown_name("variable", name, known))
            if name in owner:
                raise ValueError(
                    f"variable {name!r} is named twice: as {owner[name]} and as {label}"
                )
            owner[name] = label


def _check_upstream(
    network: DiscreteBayesianNetwork, source: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> None:
    """What is held fixed must not answer to the intervention."""
    import networkx as nx

    below = set(source).union(*(nx.descendants(network, name) for name in source))
    for label, names in groups.items():
        moved = sorted(set(names) & below)
        if moved:
            raise ValueError(
                f"{label} {moved} belong to the source {list(source)} or lie downstream of it: "
                "intervening would change them; name variables upstream of the source"
            )


def capacity_prior(effect: np.ndarray) -> np.ndarray:
    """p(b) that maximises the information of the channel `(b, c)`, by a general optimiser."""
    from scipy.optimize import minimize

    def lost(prior: np.ndarray) -> float:
        return float(prior @ entropy(effect) - entropy(prior @ effect))

    def slope(prior: np.ndarray) -> np.ndarray:
        mixture = prior @ effect
        logs = np.log2(np.where(mixture > 0, mixture, 1.0))
        return entropy(effect) + effect @ logs

    n = len(effect)
    one = {"type": "eq", "fun": lambda prior: prior.sum() - 1, "jac": lambda _: np.ones(n)}
    how: Any = {"bounds": [(0.0, 1.0)] * n, "constraints": [one], "method": "SLSQP"}
    found = minimize(lost, np.full(n, 1 / n), jac=slope, options={"ftol": 1e-15}, **how).x
    found = np.maximum(found, 0.0)
    return found / found.sum()


def pgmpy_classes() -> tuple[Any, Any, Any]:
    """pgmpy's network, table and inference; its warnings about its own renames are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        from pgmpy.factors.discrete import TabularCPD
        from pgmpy.inference import VariableElimination
        from pgmpy.models import DiscreteBayesianNetwork
    return DiscreteBayesianNetwork, TabularCPD, VariableElimination


def _states(network: Any, name: str) -> list[Hashable]:
    return network.get_cpds(name).state_names[name]


def guard(what: str, sizes: Sequence[int]) -> None:
    cells = int(np.prod(np.asarray(sizes, dtype=object)))
    if cells > _MOST_CELLS:
        raise ValueError(
            f"{what} would have {cells:,} cells, more than {_MOST_CELLS:,}: "
            "name fewer variables, or give them fewer states"
        )


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in bits along the last axis."""
    return -np.sum(p * np.log2(np.where(p > 0, p, 1)), axis=-1)
