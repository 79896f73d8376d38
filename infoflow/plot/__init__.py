"""Figures. Every function takes a matplotlib axes (or makes one) and returns it.

In a notebook new axes are shown under the cell; in a script `ax.figure.savefig(path)` keeps them.
Text and lines have the colours of matplotlib's style, so that under
`plt.style.use("dark_background")` figures are made for a dark page. What colours tell apart,
markers or labels tell apart, too.
"""

from infoflow.plot.flows import module_flow
from infoflow.plot.ink import (
    CAUSAL_COLOR,
    CHANCE_COLOR,
    DOWNSTREAM_COLOR,
    KIND_COLORS,
    MARKERS,
    MODULE_COLORS,
    UPSTREAM_COLOR,
    check_installed,
    measure_color,
    module_color,
)
from infoflow.plot.lines import against
from infoflow.plot.matrices import agreement, confidence, lesions, similarity_matrix
from infoflow.plot.rankings import q_against_exchange, q_by_measure, search_history, tracking

__all__ = [
    "CAUSAL_COLOR",
    "CHANCE_COLOR",
    "DOWNSTREAM_COLOR",
    "KIND_COLORS",
    "MARKERS",
    "MODULE_COLORS",
    "UPSTREAM_COLOR",
    "against",
    "agreement",
    "check_installed",
    "confidence",
    "lesions",
    "measure_color",
    "module_color",
    "module_flow",
    "q_against_exchange",
    "q_by_measure",
    "search_history",
    "similarity_matrix",
    "tracking",
]
