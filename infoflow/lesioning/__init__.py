"""Which tasks suffer when a module is resampled."""

from infoflow.lesioning.result import Lesions, Specialisation
from infoflow.lesioning.run import lesions

__all__ = ["Lesions", "Specialisation", "lesions"]
