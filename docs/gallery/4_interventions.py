"""
Interventions, and what breaks
==============================

``do`` sets units while the model runs; ``counterfactual`` runs the whole data set with units at
what they were on other samples.
"""

import torch

import infoflow as ifl
from infoflow.data import load_digits
from infoflow.interventions import Mean, Zero
from infoflow.train import TrainConfig, train

data = load_digits()
trained = train(TrainConfig(hidden=(32, 32), max_epochs=40), data)
model, x, y = trained.model.eval(), data.test_x, data.test_y
rec = ifl.record(model, ["fc1", "fc2"], x, y)


def accuracy(outputs):
    return (outputs.argmax(1) == y).float().mean().item()


print(f"as it is: {accuracy(model(x)):.3f}")

# %%
# The first sixteen units of the first layer set to zero, to their mean, and to what they were on
# another sample of the data.
half = list(range(16))
with ifl.do(model, {"fc1": Zero(half)}):
    print(f"zero: {accuracy(model(x)):.3f}")
with ifl.do(model, {"fc1": Mean(half)}, recording=rec):
    print(f"mean: {accuracy(model(x)):.3f}")
resampled = ifl.counterfactual(rec, {"fc1": half}, observe="fc2", seed=0)
with torch.no_grad():
    print(f"another sample's: {accuracy(model.out(resampled)):.3f}")
