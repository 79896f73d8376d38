"""do(): set units to chosen values while the model runs, and see what follows."""

from infoflow.interventions.kinds import (
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
from infoflow.interventions.operator import do
from infoflow.interventions.resampling import counterfactual, resample, resample_each

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
