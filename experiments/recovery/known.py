"""A network whose modules are known, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

import infoflow as ifl


@dataclass(frozen=True)
class KnownNetwork:
    """A network with the module that each recorded unit belongs to.

    `labels` has one whole number for each unit of the recorded sites, in the order of the recording
    (layer by layer); -1 is a unit that belongs to no module, or of which nothing is known: it is
    measured like the others and left out of the score. With one label for all, there is nothing to
    find: the right answer is one module.
    """

    name: str
    """One word for this network alone, seed and all, as `"tracks-k4-cross0.05-7"`."""
    family: str
    model: nn.Module
    inputs: Tensor
    sites: tuple[ifl.Site | str, ...]
    labels: np.ndarray
    reason: str
    """Why the labels are true, in one sentence."""
    limits: str
    """Where they may not be."""
    targets: Tensor | None = None
    loss: Callable[..., Any] | None = None

    def record(self) -> ifl.Recording:
        """Its recording: all that a method of finding modules is given."""
        return ifl.record(self.model, list(self.sites), self.inputs, self.targets, loss=self.loss)
