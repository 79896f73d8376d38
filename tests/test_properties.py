"""What must hold of any network: claims about networks that Hypothesis draws.

The same ones each time; `INFOFLOW_EXAMPLES=500` draws other and more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import infoflow as ifl
from infoflow._replay import run as running
from infoflow.toys.system import relu_layer, stack
from tests.nets import normal, seeded

EXAMPLES = int(os.environ.get("INFOFLOW_EXAMPLES", "8"))
EXACT: Any = {"donors": "all", "contexts": "all", "bins": "unique", "correction": "none"}
few = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 8,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
LABELS = np.array([0, 1, 1, 0, 0, 1, 1, 0, 1])


@dataclass(frozen=True)
class Net:
    """A ReLU network of integers and all its inputs, so that flows are enumerated.

    Attributes:
        weights, biases: Of each layer.
        inputs: `(K, d)`.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    inputs: np.ndarray

    @property
    def widths(self) -> list[int]:
        return [len(b) for b in self.biases]

    def record(self) -> ifl.Recording:
        layers = [
            relu_layer(w.tolist(), b.tolist())
            for w, b in zip(self.weights, self.biases, strict=True)
        ]
        names = [f"layer{i + 1}" for i in range(len(layers))]
        return ifl.record(stack(*layers), names, torch.tensor(self.inputs, dtype=torch.float32))

    def values(self, x: np.ndarray) -> list[np.ndarray]:
        """What each layer's units are, the naive way."""
        seen = []
        for w, b in zip(self.weights, self.biases, strict=True):
            x = np.maximum(x @ w.T + b, 0)
            seen.append(x)
        return seen

    def permuted(self, order: np.ndarray) -> Net:
        """The same function, the units of the first layer in another order."""
        first, second, *more = self.weights
        one, *others = self.biases
        return Net((first[order], second[:, order], *more), (one[order], *others), self.inputs)


@st.composite
def nets(draw: Callable[[Any], Any]) -> Net:
    """Three layers of three units each, weights -2 to 2, three to seven inputs."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    inputs = rng.integers(0, 3, (draw(st.integers(3, 7)), 3))
    weights = tuple(rng.integers(-2, 3, (3, 3)) for _ in range(3))
    return Net(weights, tuple(rng.integers(0, 2, 3) for _ in range(3)), inputs)


def entropy(values: Iterable[Any]) -> float:
    counts = np.array(list(Counter(values).values()), float)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def enumerated(net: Net, source: list[int], layer: int, target: list[int]) -> tuple[float, float]:
    """I(do(S); T) in bits for S in the first layer, and the entropy of T under do(S)."""
    first = net.values(net.inputs)[0]
    rows = []
    for donor in first:
        h = first.copy()
        h[:, source] = donor[source]
        rest = Net(net.weights[1:], net.biases[1:], net.inputs)
        rows.append([tuple(row) for row in rest.values(h)[layer - 1][:, target].tolist()])
    whole = entropy(code for row in rows for code in row)
    return whole - float(np.mean([entropy(row) for row in rows])), whole


groups = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True).map(sorted)


@few
@given(nets(), groups, groups, st.sampled_from([1, 2]))
def test_a_flow_is_what_enumeration_gives_and_at_most_what_source_and_target_hold(
    net: Net, source: list[int], target: list[int], layer: int
) -> None:
    rec = net.record()
    bits = ifl.flow(rec, {"layer1": source}, {f"layer{layer + 1}": target}, **EXACT).bits
    right, most = enumerated(net, source, layer, target)
    sent = entropy(map(tuple, net.values(net.inputs)[0][:, source].tolist()))
    assert bits == pytest.approx(right, abs=1e-9)
    assert -1e-12 <= bits <= min(most, sent) + 1e-9


@few
@given(nets(), groups)
def test_what_is_computed_from_a_layer_knows_no_more_than_the_layer(
    net: Net, source: list[int]
) -> None:
    rec, everything = net.record(), [0, 1, 2]
    flows = [
        ifl.flow(rec, {"layer1": source}, {layer: everything}, **EXACT).bits
        for layer in ("layer2", "layer3")
    ]
    part = ifl.flow(rec, {"layer1": source}, {"layer2": [0, 2]}, **EXACT).bits
    assert flows[0] >= flows[1] - 1e-9 and flows[0] >= part - 1e-9


@few
@given(nets(), groups, groups)
def test_nothing_flows_to_what_cannot_be_reached(
    net: Net, source: list[int], target: list[int]
) -> None:
    cut = net.weights[1].copy()
    cut[np.ix_(target, source)] = 0
    rec = Net((net.weights[0], cut, net.weights[2]), net.biases, net.inputs).record()
    assert ifl.flow(rec, {"layer3": target}, {"layer1": source}, **EXACT).bits == 0
    ways = ifl.flow(rec, {"layer1": source}, {"layer2": target}, **EXACT)
    assert ways.bits == 0 and ways.bits_given_context == 0


def divided(rec: ifl.Recording) -> bool:
    """Both modules have units that change, in layers that follow one another."""
    used = ~rec.units.unused
    return len(set(LABELS[used])) == 2 and bool(used[:3].any() and used[3:6].any())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # that all flows are 0, of some networks
@few
@given(nets(), st.permutations(range(3)))
def test_units_in_another_order_have_the_same_results_in_that_order(
    net: Net, shuffled: list[int]
) -> None:
    order = np.array([*shuffled, *range(3, 9)])
    rec, other = net.record(), net.permuted(np.array(shuffled)).record()
    assume(divided(rec))
    F, G = (ifl.unit_flow(r, donors="all", contexts="all", bins=10) for r in (rec, other))
    assert np.allclose(G, F[np.ix_(order, order)], atol=1e-9)
    for measure in ("cov", "i_sens_norm", "o_sens"):
        S, T = (ifl.similarity(r, measure) for r in (rec, other))
        assert np.allclose(T, S[np.ix_(order, order)], rtol=1e-5, atol=1e-9)
    exact = {"donors": "all", "contexts": "all"}
    exchanges = [
        ifl.exchange(r, p, **exact).bits for r, p in ((rec, LABELS), (other, LABELS[order]))
    ]
    assert exchanges[0] == pytest.approx(exchanges[1], abs=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@few
@given(nets(), st.lists(st.integers(0, 50), min_size=2, max_size=2, unique=True))
def test_the_names_of_labels_do_not_matter(net: Net, names: list[int]) -> None:
    labels, renamed, rec = LABELS, np.array(names)[LABELS], net.record()
    assume(divided(rec))
    S = np.abs(np.random.default_rng(names[0]).normal(size=(9, 9)))
    S += S.T
    assert ifl.modularity(S, renamed) == ifl.modularity(S, labels)
    assert ifl.agreement(labels, renamed) == pytest.approx(1)
    one, other = (ifl.exchange(rec, p, donors=4, contexts=3) for p in (labels, renamed))
    assert sorted(one.flow.ravel()) == sorted(other.flow.ravel())
    assert one.bits == pytest.approx(other.bits) and one.weighted == pytest.approx(other.weighted)


def curved() -> nn.Sequential:
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)
        )
    )


def measured(rec: ifl.Recording) -> list[float]:
    """Some of everything."""
    labels = [0, 1] * 5 + [0]
    return [
        ifl.flow(rec, {"1": [0, 1, 2]}, {"3": [0, 1]}, donors=12, contexts=9).bits,
        ifl.exchange(rec, labels, donors=8, contexts=8).bits,
        *ifl.unit_flow(rec, donors=8, contexts=8).ravel(),
        *(1e3 * ifl.similarity(rec, "o_sens_norm")).round().ravel(),
    ]


@pytest.mark.parametrize("what", ["batches of 1", "batches of 7", "chunks", "threads"])
def test_how_it_is_run_changes_nothing(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(40, 4)
    right = measured(ifl.record(curved(), ["1", "3"], x))
    size = int(what.split()[-1]) if "batches" in what else 512
    if what == "chunks":
        monkeypatch.setattr(running, "chunk_rows", lambda *_: 5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if what == "threads" else before)
        found = measured(ifl.record(curved(), ["1", "3"], x, batch_size=size))
    finally:
        torch.set_num_threads(before)
    assert np.allclose(found, right, rtol=1e-6, atol=1e-9)
