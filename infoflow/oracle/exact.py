"""Exact information on a discrete causal network: the answer that estimates are held against.

The network is a pgmpy `DiscreteBayesianNetwork`. Interventions cut it with `model.do(...)` and the
rest is variable elimination; `CausalInference.query` of pgmpy is not used (it gave .9612 on a
network whose answer is .99).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.oracle.cutting import (
    Setting,
    capacity_prior,
    check_groups,
    entropy,
    guard,
    interventions,
    pgmpy_classes,
    query,
)

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork

Mechanism = tuple[Sequence[str], Callable[..., Hashable]]
"""Names of the parents, and the function that gives the child's value from theirs."""


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
        guard(f"the table of {name!r}", [len(states[p]) for p in parents])
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
    inputs: Sequence[str] = (),
    setting: Setting = Setting(),  # noqa: B008 (frozen)
) -> float:
    """I(do(B); C): bits that C receives when B is set without regard to the input.

    I = H(Σ_b p(b) p(C | do(b))) − Σ_b p(b) H(C | do(b)), with p(b) the joint distribution of all
    of B in a normal run. Every variable of B is set from the same draw, also those downstream of
    other variables of B.

    Args:
        network: Discrete network with all its conditional tables.
        source, target: Names of the variables that make up B and C.
        given: States of variables by which the data were selected; none downstream of B.
        inputs: Names of the variables that make up the input; needed where some are held.
        setting: Another p(b), another marginal, variables that are held.

    Raises:
        UnknownName: A variable that the network does not have.
        ValueError: Groups that are empty or overlap, selection downstream of B, held variables
            that the inputs do not determine.

    Examples:
        B and C copy the same X, with no edge between them: two bits shared, none sent.

        >>> copies = {"B": (["X"], lambda x: x), "C": (["X"], lambda x: x)}
        >>> fork = causal_network({"X": 4}, copies)
        >>> observational_information(fork, ["B"], ["C"])
        2.0
        >>> interventional_information(fork, ["B"], ["C"])
        0.0

        A signal of one in eight, sent as often as not:

        >>> rare = causal_network({"X": 8}, {"B": (["X"], lambda x: x // 7), "C": (["B"], int)})
        >>> interventional_information(rare, ["B"], ["C"], setting=Setting("uniform"))
        1.0
    """
    context = list(inputs) if setting.held else None
    prior, effect = interventions(network, source, target, context, given, setting)
    effect = effect if context is None else effect.sum(1)
    if setting.prior == "capacity":
        prior = capacity_prior(effect)
    mixture = prior @ effect
    bits = _bits(entropy(mixture) - prior @ entropy(effect))
    if setting.marginal == "mixture":
        return bits
    observed = query(network, [target], given or {})
    if (observed[mixture > 0] == 0).any():
        return float("inf")
    safe = np.where(mixture > 0, mixture, 1.0), np.where(mixture > 0, observed, 1.0)
    return bits + _bits(mixture @ np.log2(safe[0] / safe[1]))


def information_given_context(
    network: DiscreteBayesianNetwork,
    source: Sequence[str],
    target: Sequence[str],
    inputs: Sequence[str],
    *,
    given: Mapping[str, Hashable] | None = None,
    setting: Setting = Setting(),  # noqa: B008 (frozen)
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
    prior, effect = interventions(network, source, target, inputs, given, setting)
    if setting.prior == "capacity":  # of the channel from b to x and c together
        prior = capacity_prior(effect.reshape(len(effect), -1))
    context = effect[0].sum(axis=1)  # p(x), the same under every do(b)
    seen = context > 0
    by_context = effect[:, seen] / context[seen][:, None]
    known = entropy(np.tensordot(prior, by_context, 1)) - np.tensordot(
        prior, entropy(by_context), 1
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
    check_groups(network, {"source": source, "target": target}, given)
    joint = query(network, [source, target], given or {})
    return _bits(entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint.ravel()))


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
    check_groups(network, {"source": source, "target": target, "inputs": inputs}, given)
    joint = query(network, [inputs, source, target], given or {})
    with_source = entropy(joint.sum(2).ravel()) - entropy(joint.sum((1, 2)))
    jointly = entropy(joint.ravel()) - entropy(joint.sum(1).ravel())
    return _bits(with_source - jointly)


def _bits(value: Any) -> float:
    """No −1e-16, nor −0.0, where the answer is 0."""
    return max(0.0, float(value))
