"""
Flows as a graph of networkx
============================

What single units send each other, given the context, is a directed graph: here its edges above
half a bit, units placed by layer and coloured by module.
"""

import matplotlib.pyplot as plt
import networkx
import torch

import infoflow as ifl

torch.manual_seed(1)
model = torch.nn.Sequential(
    torch.nn.Linear(6, 6), torch.nn.ReLU(), torch.nn.Linear(6, 6), torch.nn.ReLU()
)
rec = ifl.record(model, ["1", "3"], torch.randn(400, 6))
flows = ifl.unit_flow(rec, given_context=True)
found = ifl.search(rec, n_modules=2, budget=100, samples=20)

# %%
graph = ifl.graphs.of_units(rec.units, flows, found, least=0.5).to_networkx()
place = networkx.multipartite_layout(graph, subset_key="layer")
colors = [ifl.plot.module_color(module) for _, module in graph.nodes(data="module")]
fig, ax = plt.subplots(figsize=(5, 3.6))
widths = [bits for *_, bits in graph.edges(data="bits")]
networkx.draw_networkx(graph, place, ax=ax, node_color=colors, width=widths, font_color="white")
ax.set_axis_off()
