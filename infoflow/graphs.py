"""Results as graphs of other libraries: networkx, igraph (its arguments), pgmpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.units import UnitSpace

if TYPE_CHECKING:
    import networkx
    import pandas as pd
    from pgmpy.base import DAG


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes and weighted edges, in plain Python numbers and texts.

    Attributes:
        nodes: Attributes of each node, by its name.
        edges: Source, target and attributes of each edge.
        directed: Whether edges have a direction.
    """

    nodes: Mapping[int, Mapping[str, Any]]
    edges: tuple[tuple[int, int, Mapping[str, Any]], ...]
    directed: bool

    def to_networkx(self) -> networkx.Graph[int]:
        """As a networkx `DiGraph`, or a `Graph` where edges have no direction.

        Raises:
            ImportError: networkx is missing (pgmpy, which infoflow needs, installs it).
        """
        import networkx

        made: networkx.Graph[int] = networkx.DiGraph() if self.directed else networkx.Graph()
        made.add_nodes_from((name, dict(about)) for name, about in self.nodes.items())
        made.add_edges_from((a, b, dict(about)) for a, b, about in self.edges)
        return made

    def to_igraph(self) -> dict[str, Any]:
        """Arguments of igraph's constructor: `igraph.Graph(**graph.to_igraph())`. igraph is GPL;
        nothing of it is imported here. A vertex's `name` is the node's."""
        place = {name: number for number, name in enumerate(self.nodes)}
        return {
            "n": len(self.nodes),
            "edges": [(place[a], place[b]) for a, b, _ in self.edges],
            "directed": self.directed,
            "vertex_attrs": {"name": list(place), **_columns(self.nodes.values())},
            "edge_attrs": _columns(about for *_, about in self.edges),
        }

    def to_pgmpy(self) -> DAG:
        """As pgmpy's `DAG`, edges weighted by their bits: the structure of a Bayesian network.

        Raises:
            ValueError: Undirected, or some nodes send each other something in a circle, which no
                such network has.
        """
        import warnings

        import networkx

        if not self.directed:
            raise ValueError("expected a directed graph: a similarity has no direction")
        graph = self.to_networkx()
        if not networkx.is_directed_acyclic_graph(graph):
            circle = [a for a, *_ in networkx.find_cycle(graph)]
            raise ValueError(
                f"nodes {circle} send each other something in a circle, and a Bayesian network has "
                "none: measure the exchange of graphs.layer_parts(rec.units, partition), whose "
                "modules are the parts of yours in single layers"
            )
        with warnings.catch_warnings():  # pgmpy announces its own renames on import
            warnings.simplefilter("ignore")
            from pgmpy.base import DAG

        made = DAG()
        for name, about in self.nodes.items():
            made.add_node(name)
            made.nodes[name].update(about)
        for a, b, about in self.edges:
            made.add_edge(a, b, weight=about["bits"])
            made.edges[a, b].update(about)
        return made

    def to_frame(self) -> pd.DataFrame:
        """One row an edge: `source`, `target` and its attributes."""
        import pandas as pd

        return pd.DataFrame([{"source": a, "target": b, **about} for a, b, about in self.edges])

    def __repr__(self) -> str:
        kind = "directed" if self.directed else "undirected"
        return f"Graph({len(self.nodes)} nodes, {len(self.edges)} edges, {kind})"


class GraphOfModules:
    """A result that is a graph of modules and the bits they send each other."""

    __slots__ = ()

    def graph(self) -> Graph:
        """Nodes: modules by the labels they were given, with their `units` (how many). Edges:
        `bits`, `se` and `bits_given_context` from one to another, where anything is sent."""
        raise NotImplementedError

    def to_networkx(self) -> networkx.Graph[int]:
        """The graph of modules, for networkx (see `Graph.to_networkx`)."""
        return self.graph().to_networkx()

    def to_igraph(self) -> dict[str, Any]:
        """The graph of modules as arguments of `igraph.Graph` (see `Graph.to_igraph`)."""
        return self.graph().to_igraph()

    def to_pgmpy(self) -> DAG:
        """The graph of modules for pgmpy, where it has no circle (see `Graph.to_pgmpy`)."""
        return self.graph().to_pgmpy()


def of_units(
    units: UnitSpace, flows: np.ndarray, partition: PartitionLike | None = None, *, least: float = 0
) -> Graph:
    """What single units send each other.

    Args:
        units: `rec.units`.
        flows: `(n, n)` bits, as `unit_flow` gives them; `[i, j]` is what i sends j.
        partition: Modules to note with the nodes.
        least: Flows up to so many bits are no edges.

    Raises:
        ValueError: Flows or a partition of another number of units.
    """
    flows = np.asarray(flows)
    if flows.shape != (len(units), len(units)):
        raise ValueError(f"expected flows between {len(units)} units, got shape {flows.shape}")
    nodes = {row.pop("unit"): row for row in units.table.to_dict("records")}
    for unit, label in enumerate(_labels(partition, len(units))):
        nodes[unit]["module"] = label
    pairs = np.argwhere((flows > least) & ~np.eye(len(units), dtype=bool)).tolist()
    return Graph(nodes, tuple((i, j, {"bits": float(flows[i, j])}) for i, j in pairs), True)


def of_similarity(S: np.ndarray, partition: PartitionLike | None = None) -> Graph:
    """A similarity matrix as an undirected graph; edges have a `weight`, nodes their `module`.

    Raises:
        ValueError: Not a square matrix, or a partition of another number of units.
    """
    S = np.asarray(S)
    if S.ndim != 2 or S.shape[0] != S.shape[1]:
        raise ValueError(f"expected a square matrix, got shape {S.shape}")
    nodes = {unit: {"module": label} for unit, label in enumerate(_labels(partition, len(S)))}
    pairs = np.argwhere(np.triu(S != 0, 1)).tolist()
    return Graph(nodes, tuple((i, j, {"weight": float(S[i, j])}) for i, j in pairs), False)


def layer_parts(units: UnitSpace, partition: PartitionLike) -> Partition:
    """Each module's units of each layer as a module of their own: what these send each other in a
    network without loops has no circle. Module m in layer number l has the label m L + l, of L
    layers.

    Examples:
        >>> from infoflow import Site
        >>> space = UnitSpace((Site("fc1"), Site("fc2")), (2, 2), np.zeros(4, bool))
        >>> layer_parts(space, [0, 1, 0, 1]).given.tolist()
        [0, 2, 1, 3]
    """
    given = as_partition(partition, len(units)).given
    parts = given * len(units.layers) + units.layer_index
    return Partition(np.where(given < 0, -1, parts))


def _labels(partition: PartitionLike | None, n: int) -> list[int]:
    return as_partition([-1] * n if partition is None else partition, n).given.tolist()


def _columns(rows: Any) -> dict[str, list[Any]]:
    rows = list(rows)
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
