"""
Who sends whom what
===================

Two small networks side by side, each with its own inputs and outputs, in one model: the search
for the partition that exchanges least takes them apart again, and the drawing shows what is left
between the modules.
"""

import matplotlib.pyplot as plt
import torch

import infoflow as ifl

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU()
)
leak = 0.15  # how much of the weights between the two halves is left
with torch.no_grad():
    for layer in (model[0], model[2]):
        layer.weight[:4, 4:] *= leak
        layer.weight[4:, :4] *= leak
        layer.weight *= 2
rec = ifl.record(model, ["1", "3"], torch.randn(500, 8))

# %%
found = ifl.search(rec, n_modules=2, budget=150, samples=30)
print(found)
print("agreement with the halves:", ifl.agreement(found, [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4))

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
ifl.plot.module_flow(found.exchange, units=rec.units, ax=axes[0], title="what modules send")
ifl.plot.search_history(found, ax=axes[1])
