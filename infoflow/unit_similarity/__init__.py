"""Similarity of hidden units: the eight measures of Lange et al. (2022)."""

from infoflow.unit_similarity.nearest import strongest_similarities
from infoflow.unit_similarity.request import (
    DOWNSTREAM,
    MEASURES,
    OTHERS,
    UPSTREAM,
    Measure,
    allowed_measures,
    refused_measures,
)
from infoflow.unit_similarity.shared import (
    normalised,
    similarities,
    similarities_by_layer,
    similarities_with_errors,
    similarity,
)

__all__ = [
    "DOWNSTREAM",
    "MEASURES",
    "OTHERS",
    "UPSTREAM",
    "Measure",
    "allowed_measures",
    "normalised",
    "refused_measures",
    "similarities",
    "similarities_by_layer",
    "similarities_with_errors",
    "similarity",
    "strongest_similarities",
]
