"""
Modules of a similarity matrix
==============================

Three layers' worth of units, similar within groups: ``find_modules`` finds the groups, and
``plot.similarity_matrix`` shows the matrix sorted by them.
"""

import matplotlib.pyplot as plt
import numpy as np

import infoflow as ifl

rng = np.random.default_rng(0)
signals = rng.normal(size=(400, 3))
group = np.repeat([0, 1, 2], [8, 12, 10])
activations = signals[:, group] + 1.5 * rng.normal(size=(400, 30))
shuffled = rng.permutation(30)
S = np.abs(np.corrcoef(activations[:, shuffled].T))

# %%
# The partition with the largest modularity Q, and a bound on what any partition could reach.
modules = ifl.find_modules(S, seed=0)
print(modules)

# %%
# How well it agrees with the groups that were put in (1: the same).
print(ifl.agreement(modules.partition, group[shuffled]))

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 3.4))
ifl.plot.similarity_matrix(S, np.zeros(30, int), ax=axes[0], title="as given")
ifl.plot.similarity_matrix(S, modules, ax=axes[1], title="sorted by modules")
