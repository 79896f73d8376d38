"""The oracle against summation over every joint state, and against what is known on paper."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoflow import oracle
from tests.oracles_toys import network_numbers


def noisy_network(seed):
    """A random network X1, X2 → B1, B2, M, C with noise in every table; and the tables."""
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    rng = np.random.default_rng(seed)
    names = ["X1", "X2", "B1", "B2", "M", "C"]
    cards = dict(zip(names, rng.integers(2, 4, len(names)).tolist(), strict=True))
    parents = {name: [] for name in names}
    for j, name in enumerate(names[2:], 2):
        count = rng.integers(1, 4)
        parents[name] = [names[i] for i in sorted(rng.permutation(j)[:count].tolist())]
    tables, network = {}, DiscreteBayesianNetwork()
    network.add_nodes_from(names)
    network.add_edges_from([(p, name) for name in names for p in parents[name]])
    for name in names:
        shape = [cards[p] for p in parents[name]]
        columns = rng.dirichlet(np.full(cards[name], 0.5), size=int(np.prod(shape)))
        tables[name] = (parents[name], columns.T.reshape(cards[name], *shape))
        network.add_cpds(TabularCPD(name, cards[name], columns.T, parents[name] or None, shape))
    return network, tables


def test_causal_network_tables_have_the_parents_in_the_order_given():
    network = oracle.causal_network({"A": 2, "B": 3}, {"C": (["B", "A"], lambda b, a: 10 * b + a)})
    table = network.get_cpds("C")
    assert table.variables == ["C", "B", "A"]
    states = table.state_names["C"]
    for b in range(3):
        for a in range(2):
            assert states[int(table.values[:, b, a].argmax())] == 10 * b + a


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_all_four_informations_equal_the_sum_over_all_joint_states(seed):
    network, tables = noisy_network(seed)
    source, target, inputs = ["B1", "B2"], ["C"], ["X1", "X2"]
    expected = network_numbers(tables, source, target, inputs)
    found = {
        "observational": oracle.observational_information(network, source, target),
        "interventional": oracle.interventional_information(network, source, target),
        "given_context": oracle.information_given_context(network, source, target, inputs),
        "conditional": oracle.conditional_information(network, source, target, inputs),
    }
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_knowing_the_context_never_lowers_the_flow(seed):
    network, _ = noisy_network(seed)
    plain = oracle.interventional_information(network, ["B1"], ["C"])
    given_context = oracle.information_given_context(network, ["B1"], ["C"], ["X1", "X2"])
    assert given_context >= plain - 1e-12


def test_flow_against_the_arrows_is_zero():
    network, _ = noisy_network(3)
    assert oracle.interventional_information(network, ["C"], ["B1", "M"]) < 1e-12
    assert oracle.observational_information(network, ["C"], ["B1", "M"]) > 0.01


def test_flow_through_a_noisy_channel_is_its_capacity():
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    network = DiscreteBayesianNetwork([("B", "C")])
    network.add_cpds(
        TabularCPD("B", 2, [[0.5], [0.5]]),
        TabularCPD("C", 2, [[0.9, 0.1], [0.1, 0.9]], ["B"], [2]),
    )
    capacity = 1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)
    assert oracle.interventional_information(network, ["B"], ["C"]) == pytest.approx(capacity)


def test_a_group_is_set_as_a_whole_also_where_one_member_follows_the_other():
    # h2 copies h1; if it followed its own draw, h1 − h2 would vary
    network = oracle.causal_network(
        {"X": 3},
        {
            "h1": (["X"], lambda x: x),
            "h2": (["h1"], lambda h: h),
            "C": (["h1", "h2"], lambda a, b: a - b),
        },
    )
    assert oracle.interventional_information(network, ["h1", "h2"], ["C"]) == 0
    assert oracle.interventional_information(network, ["h2"], ["C"]) > 0.5


def test_selection_by_a_common_effect_is_shared_information_but_no_flow():
    network = oracle.causal_network(
        {"X1": 2, "X2": 2}, {"same": (["X1", "X2"], lambda a, b: a == b), "B": (["X1"], int)}
    )
    kept = {"same": True}
    assert oracle.observational_information(network, ["B"], ["X2"]) == 0
    assert oracle.observational_information(network, ["B"], ["X2"], given=kept) == 1
    assert oracle.interventional_information(network, ["B"], ["X2"], given=kept) == 0


@pytest.fixture
def chain():
    return oracle.causal_network(
        {"X": 2, "Y": 2}, {"B": (["X"], int), "C": (["B", "Y"], lambda b, y: b ^ y)}
    )


def test_unknown_variable_is_named_with_its_near_miss():
    network = oracle.causal_network({"input": 2}, {"hidden": (["input"], int)})
    with pytest.raises(KeyError, match=r"'hiden'; did you mean 'hidden'"):
        oracle.interventional_information(network, ["hiden"], ["input"])


@pytest.mark.parametrize(
    ("source", "target", "inputs", "message"),
    [
        (["B"], ["B"], ["X"], "named twice: as source and as target"),
        (["B"], ["C"], ["B"], "named twice: as source and as inputs"),
        ([], ["C"], ["X"], "at least one variable as source"),
        ("B", ["C"], ["X"], "list of variable names as source"),
        (["X"], ["C"], ["B"], "downstream"),
    ],
)
def test_groups_that_make_no_sense_are_refused(chain, source, target, inputs, message):
    with pytest.raises(ValueError, match=message):
        oracle.information_given_context(chain, source, target, inputs)


def test_selection_downstream_of_the_intervention_is_refused(chain):
    with pytest.raises(ValueError, match="downstream"):
        oracle.interventional_information(chain, ["X"], ["Y"], given={"C": 1})


def test_a_table_too_large_is_refused_before_it_is_built():
    with pytest.raises(ValueError, match="16,777,216 cells"):
        oracle.causal_network(
            {f"X{i}": 2 for i in range(24)}, {"C": ([f"X{i}" for i in range(24)], max)}
        )


def test_a_parent_defined_after_its_child_is_refused():
    with pytest.raises(ValueError, match=r"not defined before it: \['B'\]"):
        oracle.causal_network({"X": 2}, {"C": (["B"], int), "B": (["X"], int)})


def test_a_variable_defined_twice_is_refused():
    with pytest.raises(ValueError, match="'X' repeats"):
        oracle.causal_network({"X": 2}, {"X": (["X"], int)})


def test_pgmpy_is_imported_only_when_asked_and_without_its_warnings():
    script = (
        "import sys, infoflow.oracle as o, infoflow.toys\n"
        "assert 'pgmpy' not in sys.modules\n"
        "o.causal_network({'X': 2}, {'C': (['X'], int)})\n"
        "assert 'pgmpy' in sys.modules\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", script], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
