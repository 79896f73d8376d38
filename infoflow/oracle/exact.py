"""Exact information on a discrete causal network: the answer that estimates are held against.

The network is a pgmpy `DiscreteBayesianNetwork`. Interventions cut it with `model.do(...)` and the
rest is variable elimination; `CausalInference.query` of pgmpy is not used (it gave .9612 on a
network whose answer is .99).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.units import UnknownName, unknown_name

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

Mechanism = tuple[Sequence[str], Callable[..., Hashable]]
"""Names of the parents, and the function that gives the child's value from theirs."""

_MOST_CELLS = 10_000_000


def causal_network(
    inputs: Mapping[str, int | Sequence[float]], mechanisms: Mapping[str, Mechanism]
) -> DiscreteBayesianNetwork:
    """A network of independent random inputs and variables computed from them without noise.

    Args:
        inputs: Per input, how many equally likely values it has, or the probability of each. The
            values are 0, 1, 2, ...
        mechanisms: Per computed variable, its parents' names and the function of their values;
            in an order in which parents come first. States are named by their values.

    Raises:
        ValueError: A parent that is not defined before its child, a conditional table too large.

    Examples:
        >>> network = causal_network({"X": 4}, {"C": (["X"], lambda x: x // 2)})
        >>> observational_information(network, ["X"], ["C"])
        1.0
    """
    new_network, new_table, _ = pgmpy_classes()
    states: dict[str, list[Hashable]] = {}
    cpds = []
    for name, given in inputs.items():
        weights = np.full(given, 1 / given) if isinstance(given, int) else np.asarray(given)
        states[name] = list(range(len(weights)))
        cpds.append(new_table(name, len(weights), weights.reshape(-1, 1).tolist()))
    for name, (parents, function) in mechanisms.items():
        undefined = [p for p in parents if p not in states]
        if undefined or name in states:
            problem = f"has parents not defined before it: {undefined}" if undefined else "repeats"
            raise ValueError(f"variable {name!r} {problem}; defined so far: {list(states)}")
        _guard(f"the table of {name!r}", [len(states[p]) for p in parents])
        rows = [function(*row) for row in itertools.product(*(states[p] for p in parents))]
        states[name] = list(dict.fromkeys(rows))
        table = np.equal.outer(np.arange(len(states[name])), [states[name].index(r) for r in rows])
        card = [len(states[p]) for p in parents]
        names = {p: states[p] for p in [name, *parents]}
        cpds.append(new_table(name, len(table), table * 1.0, parents, card, state_names=names))
    network = new_network(
        [(parent, child) for child, (parents, _) in mechanisms.items() for parent in parents]
    )
    network.add_nodes_from(list(states))
    network.add_cpds(*cpds)
    network.check_model()
    return network


def interventional_information(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    *,
    given: Mapping[str, Hashable] | None = None,
) -> float:
    """I(do(B); C): bits that C receives when B is set without regard to the input.

    I = H(Σ_b p(b) p(C | do(b))) − Σ_b p(b) H(C | do(b)), with p(b) the joint distribution of all
    of B in a normal run. Every variable of B is set from the same draw, also those downstream of
    other variables of B.

    Args:
        network: Discrete network with all its conditional tables.
        source, target: Names of the variables that make up B and C.
        given: States of variables by which the data were selected; none downstream of B.

    Raises:
        UnknownName: A variable that the network does not have.
        ValueError: Groups that are empty or overlap, selection downstream of B.

    Examples:
        B and C copy the same X, with no edge between them: two bits shared, none sent.

        >>> copies = {"B": (["X"], lambda x: x), "C": (["X"], lambda x: x)}
        >>> fork = causal_network({"X": 4}, copies)
        >>> observational_information(fork, ["B"], ["C"])
        2.0
        >>> interventional_information(fork, ["B"], ["C"])
        0.0
    """
    prior, effect = _interventions(network, source, target, None, given)
    return _bits(_entropy(prior @ effect) - prior @ _entropy(effect))


def information_given_context(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    inputs: Sequence[str],
    *,
    given: Mapping[str, Hashable] | None = None,
) -> float:
    """I(do(B); C | X): bits that C receives from B when the rest of the run's input is known.

    E_x [H(C | x) − Σ_b p(b) H(C | x, do(b))] with b drawn as in a normal run but independently of
    x. Where the inputs determine every other variable the second term is zero and this is
    E_x H(C | x).

    Args and errors as in `interventional_information`; `inputs` are the names of the variables that
    make up the context X, none of them downstream of B.

    Examples:
        XOR with a coin sends nothing by itself, and one bit to whoever knows the coin.

        >>> xor = {"B": (["X1"], lambda x: x), "C": (["B", "X2"], lambda b, x: b ^ x)}
        >>> network = causal_network({"X1": 2, "X2": 2}, xor)
        >>> interventional_information(network, ["B"], ["C"])
        0.0
        >>> information_given_context(network, ["B"], ["C"], ["X1", "X2"])
        1.0
    """
    prior, effect = _interventions(network, source, target, inputs, given)
    context = effect[0].sum(axis=1)  # p(x), the same under every do(b)
    seen = context > 0
    by_context = effect[:, seen] / context[seen][:, None]
    known = _entropy(np.tensordot(prior, by_context, 1)) - np.tensordot(
        prior, _entropy(by_context), 1
    )
    return _bits(context[seen] @ known)


def observational_information(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    *,
    given: Mapping[str, Hashable] | None = None,
) -> float:
    """I(B; C) in a normal run, in bits: what is shared, whoever sent it.

    Args and errors as in `interventional_information`.

    Examples:
        >>> network = causal_network({"X": 2}, {"C": (["X"], lambda x: 1 - x)})
        >>> observational_information(network, ["X"], ["C"])
        1.0
    """
    _check_groups(network, {"source": source, "target": target}, given)
    joint = query(network, [source, target], given or {})
    return _bits(_entropy(joint.sum(1)) + _entropy(joint.sum(0)) - _entropy(joint.ravel()))


def conditional_information(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    inputs: Sequence[str],
    *,
    given: Mapping[str, Hashable] | None = None,
) -> float:
    """I(B; C | X) in a normal run, in bits: zero in any network that its inputs determine.

    The yardstick paper's reason against subtracting what the input explains. Args and errors as in
    `interventional_information`.

    Examples:
        >>> network = causal_network({"X": 4}, {"B": (["X"], int), "C": (["B"], lambda b: b // 2)})
        >>> conditional_information(network, ["B"], ["C"], ["X"])
        0.0
    """
    _check_groups(network, {"source": source, "target": target, "inputs": inputs}, given)
    joint = query(network, [inputs, source, target], given or {})
    with_source = _entropy(joint.sum(2).ravel()) - _entropy(joint.sum((1, 2)))
    jointly = _entropy(joint.ravel()) - _entropy(joint.sum(1).ravel())
    return _bits(with_source - jointly)


def _interventions(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    inputs: Sequence[str] | None,
    given: Mapping[str, Hashable] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """p(b) of the values B takes, `(b,)`, and p(x, c | do(b)), `(b, x, c)`; no inputs: `(b, c)`."""
    context = {} if inputs is None else {"inputs": inputs}
    _check_groups(network, {"source": source, "target": target, **context}, given)
    given = dict(given or {})
    _check_upstream(network, source, {**context, "given": list(given)})
    joint = query(network, [[name] for name in source], given)
    cut: Any = network.do(list(source))
    seen = np.argwhere(joint > 0)
    asked = [*context.values(), target]
    effect = []
    for value in seen:
        states = {n: _states(network, n)[s] for n, s in zip(source, value, strict=True)}
        effect.append(query(cut, asked, {**given, **states}))
    return joint[tuple(seen.T)], np.stack(effect)


def query(
    network: DiscreteBayesianNetwork,
    groups: Sequence[Sequence[str]],
    evidence: Mapping[str, Hashable],
) -> np.ndarray:
    """p(groups | evidence), one axis per group (its joint states)."""
    names = [name for group in groups for name in group]
    card: Any = network.get_cardinality()
    _guard(f"the joint table of {names}", [card[name] for name in names])
    _, _, elimination = pgmpy_classes()
    factor = elimination(network).query(names, dict(evidence) or None, show_progress=False)
    axes = [factor.variables.index(name) for name in names]
    table = np.asarray(factor.values, dtype=np.float64).transpose(axes)
    return table.reshape([int(np.prod([card[n] for n in group])) for group in groups])


def _check_groups(
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


def _guard(what: str, sizes: Sequence[int]) -> None:
    cells = int(np.prod(np.asarray(sizes, dtype=object)))
    if cells > _MOST_CELLS:
        raise ValueError(
            f"{what} would have {cells:,} cells, more than {_MOST_CELLS:,}: "
            "name fewer variables, or give them fewer states"
        )


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in bits along the last axis."""
    return -np.sum(p * np.log2(np.where(p > 0, p, 1)), axis=-1)


def _bits(value: Any) -> float:
    """No −1e-16, nor −0.0, where the answer is 0."""
    return max(0.0, float(value))
