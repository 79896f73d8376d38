"""Results as graphs of other libraries, and as cards in a notebook."""

import re
from html.parser import HTMLParser

import igraph
import networkx
import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow import graphs

FEW = {"donors": 12, "contexts": 10}


@pytest.fixture(scope="module")
def rec():
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.add_module("<b>a", torch.nn.Linear(4, 4))
    net.add_module("act", torch.nn.ReLU())
    net.add_module("out", torch.nn.Linear(4, 3))
    x = torch.randn(60, 4)
    loss = torch.nn.functional.cross_entropy
    return ifl.record(net, ["<b>a", "out"], x, net(x).argmax(1), loss=loss)


def test_modules_and_their_bits_are_the_same_in_every_library(rec):
    ex = ifl.exchange(rec, [7, 7, 2, 2, 7, 2, 2], **FEW)
    table = ex.to_frame().set_index(["source", "target"])
    ours, theirs = ex.to_networkx(), igraph.Graph(**ex.to_igraph())
    assert dict(ours.nodes(data="units")) == {7: 3, 2: 4}
    for a, b, about in ours.edges(data=True):
        row = table.loc[(a, b)]
        assert about == row.to_dict()
        edge = theirs.es[theirs.get_eid(theirs.vs.find(name=a), theirs.vs.find(name=b))]
        assert edge["bits_given_context"] == row["bits_given_context"]
    assert ours.number_of_edges() == theirs.ecount() == len(ex.graph().to_frame()) > 0
    assert networkx.readwrite.json_graph.node_link_data(ours)["directed"]


def test_parts_of_modules_in_single_layers_have_no_circle_for_pgmpy(rec):
    labels = [0, 0, 1, 1, 0, 1, 1]
    ring = ifl.exchange(rec, labels, **FEW)
    with pytest.raises(ValueError, match="layer_parts"):
        ring.to_pgmpy()
    parts = graphs.layer_parts(rec.units, labels)
    dag = ifl.exchange(rec, parts, **FEW).to_pgmpy()
    assert networkx.is_directed_acyclic_graph(dag) and set(dag.nodes) == {0, 1, 2, 3}
    assert set(dag.edges) <= {(0, 1), (0, 3), (2, 1), (2, 3)}  # layer 0 to layer 1 alone
    a, b, weight = next(iter(dag.edges(data="weight")))
    assert weight == dag.edges[a, b]["bits"]


def test_units_and_similarities_are_graphs_too(rec):
    F = ifl.unit_flow(rec, given_context=True, **FEW)
    graph = graphs.of_units(rec.units, F, [0] * 4 + [-1] * 3, least=0.1).to_networkx()
    assert graph.nodes[5] == {"layer": "out", "index": 1, "unused": False, "module": -1}
    assert {(i, j) for i, j in graph.edges} == {*map(tuple, np.argwhere(F > 0.1).tolist())}
    S = ifl.similarity(rec, "cov_norm")
    mods = ifl.find_modules(S)
    graph = graphs.of_similarity(S, mods).to_networkx()
    groups = [set(units.tolist()) for units in mods.partition.modules]
    np.fill_diagonal(S, 0)
    assert networkx.community.modularity(graph, groups) == pytest.approx(mods.q)
    with pytest.raises(ValueError, match="no direction"):
        graphs.of_similarity(S).to_pgmpy()
    with pytest.raises(ValueError, match="flows between 7 units"):
        graphs.of_units(rec.units, F[:3])


class _Tags(HTMLParser):
    """Tags that are opened and not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_notebooks_show_escaped_cards_that_say_what_was_found(rec):
    best = ifl.search(rec, budget=12, samples=6, **FEW)
    shown = {
        "Recording of Sequential": (rec, "60 samples"),
        "Modules of largest Q": (ifl.find_modules(ifl.similarity(rec, "cov_norm")), "effective"),
        "Flow": (ifl.flow(rec, "<b>a", "out", **FEW), "no evidence of sending"),
        "Exchange": (ifl.exchange(rec, best, **FEW), "module_flow reads each module as one"),
        "Search": (best, f"{best.score.ratio:.3g}"),
    }
    for title, (result, said) in shown.items():
        page = result._repr_html_()
        tags = _Tags()
        tags.feed(page)
        assert not tags.open and set(re.findall(r"<(\w+)", page)) <= {
            "div", "strong", "table", "thead", "tbody", "tr", "th", "td", "p",
        }  # fmt: skip
        assert tags.text[0] == title and said in " ".join(tags.text)
        assert len(page) < 5000
    assert "&lt;b&gt;a" in rec._repr_html_()


def test_exchange_and_module_flow_say_how_they_read_a_module(rec):
    labels = [0, 0, 1, 1, 0, 1, 1]
    assert "summed over target units" in repr(ifl.exchange(rec, labels, **FEW))
    joint = ifl.exchange(rec, labels, coding="joint", **FEW)
    assert "each target module read by one code" in repr(joint)
    frame = ifl.module_flow(rec, labels, **FEW)
    assert (frame.to_numpy() == joint.flow).all() and frame.attrs["read"] == joint.read_as


def test_a_comparison_is_a_card_and_a_graph(rec):
    cmp = ifl.compare(rec, budget=8, samples=4, same_size=2, donors=8, contexts=8, proxies=False)
    assert "causal search" in cmp._repr_html_() and "and " in cmp._repr_html_()
    assert set(cmp.to_networkx()) == set(cmp.search.partition.names)


def test_every_result_is_a_table_and_those_for_people_are_cards():
    results = ("Check", "Comparison", "Confidence", "Exchange", "Flow", "Lesions", "ModuleCount")
    for name in (*results, "ModuleScore", "Modules", "Partition", "Recording", "SearchResult"):
        assert callable(getattr(ifl, name).to_frame), name
    for name in ("Comparison", "Exchange", "Flow", "Modules", "Recording", "SearchResult"):
        assert callable(getattr(ifl, name)._repr_html_), name
