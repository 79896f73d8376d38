"""
Flow is not correlation
=======================

Two hidden units read the same input, and neither reads the other. In the normal run each tells
everything about the other; forced to change, neither tells anything. The other way round, one input
of an XOR sends a bit that no correlation shows.
"""

import pandas as pd
import torch

import infoflow as ifl

exact = {"donors": "all", "contexts": "all", "bins": "unique", "correction": "none"}


class Fork(torch.nn.Module):
    """Two units that see the same input."""

    def __init__(self):
        super().__init__()
        self.left, self.right = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, x):
        return self.left(x) + self.right(x)


fork = ifl.record(
    Fork(),
    [ifl.Site("left", unit_dim=1), ifl.Site("right", unit_dim=1)],
    torch.tensor([[0.0], [1.0], [2.0], [3.0]]),
)
common_cause = ifl.flow(fork, "left", "right", **exact)

# %%
# The XOR of two coins: a - b and b - a, each through a ReLU, and their sum.
xor = torch.nn.Sequential(
    torch.nn.Identity(), torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)
)
with torch.no_grad():
    xor[1].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    xor[1].bias.zero_()
    xor[3].weight.fill_(1.0)
    xor[3].bias.zero_()
coins = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
rec = ifl.record(xor, [ifl.Site("0", unit_dim=1), "3"], coins)
parity = ifl.flow(rec, {"0": [0]}, {"3": [0]}, **exact)

# %%
# What was sent (plain), what was sent given the context, and what is merely shared:
pd.DataFrame(
    {
        "sent": [common_cause.bits, parity.bits],
        "sent given the context": [common_cause.bits_given_context, parity.bits_given_context],
        "shared in the normal run": [
            common_cause.observational_bits,
            parity.observational_bits,
        ],
    },
    index=["a common cause", "one coin of an XOR"],
)
