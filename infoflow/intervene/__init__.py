"""do(): set units to chosen values while the model runs, and see what follows."""

from infoflow.intervene.counterfactual import counterfactual
from infoflow.intervene.fold import resample_each
from infoflow.intervene.kinds import (
    Intervention,
    Mean,
    Noise,
    Project,
    Resample,
    Scale,
    Set,
    Shuffle,
    Zero,
    intervention_from,
)
from infoflow.intervene.operator import do
from infoflow.intervene.resample import resample

__all__ = [
    "Intervention",
    "Mean",
    "Noise",
    "Project",
    "Resample",
    "Scale",
    "Set",
    "Shuffle",
    "Zero",
    "counterfactual",
    "do",
    "intervention_from",
    "resample",
    "resample_each",
]
