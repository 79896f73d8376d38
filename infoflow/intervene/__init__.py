"""do(): set units to chosen values while the model runs, and see what follows."""

from infoflow.intervene.counterfactual import counterfactual
from infoflow.intervene.operator import do
from infoflow.intervene.resample import resample

__all__ = ["counterfactual", "do", "resample"]
