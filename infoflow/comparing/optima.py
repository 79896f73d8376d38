"""What maximising Q finds: under every measure, layer by layer and over all layers together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from infoflow.clustering import Modules, find_modules, modularity
from infoflow.partition import Partition
from infoflow.recording import Recording, show_progress

if TYPE_CHECKING:
    import pandas as pd

QMethod = Literal["default", "lange2022"]


def used_only(matrix: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Rows and columns of unused units set to zero, which `find_modules` takes as unused."""
    return matrix * np.outer(used, used)


def q_under(matrices: Mapping[str, np.ndarray], partition: Partition) -> dict[str, float]:
    """Q of one partition under every measure, as `q_<measure>`."""
    return {
        f"q_{name}": modularity(used_only(matrix, ~partition.unused), partition)
        for name, matrix in matrices.items()
    }


def optima(
    matrices: Mapping[str, np.ndarray],
    used: np.ndarray,
    *,
    method: QMethod,
    seed: int,
    n_modules: int | None = None,
    progress: bool = False,
) -> dict[str, Modules]:
    """The partition of largest Q under every measure; measures without any similarity left out.

    Args:
        matrices: Similarities by measure.
        used: `(n,)` bool; the other units become -1.
        method: As for `find_modules`.
        seed: Seed.
        n_modules: Exactly so many modules; None lets Q decide.
        progress: Show a progress bar.
    """
    found = {}
    for name in show_progress(list(matrices), progress, "modules"):
        modules = _optimum(used_only(matrices[name], used), method, seed, n_modules)
        if modules is not None:
            found[name] = modules
    return found


def _optimum(
    matrix: np.ndarray, method: QMethod, seed: int, n_modules: int | None = None
) -> Modules | None:
    linked = (matrix - np.diag(np.diag(matrix))).any(0)
    if not linked.any() or (n_modules is not None and n_modules > linked.sum()):
        return None
    return find_modules(matrix, method=method, seed=seed, n_modules=n_modules)


def layer_modules(
    rec: Recording,
    matrices: Mapping[str, np.ndarray],
    together: Mapping[str, Modules],
    *,
    method: QMethod = "default",
    seed: int = 0,
) -> pd.DataFrame:
    """Q*, modules and effective modules of every layer by itself and of all together.

    Args:
        rec: The recording.
        matrices: Similarity of all recorded layers together, by measure; a layer's own matrix is
            its diagonal block.
        together: What was found on the whole matrices.
        method: As for `find_modules`.
        seed: Seed.

    Returns:
        Columns `layer`, `measure`, `q_star`, `n_modules`, `n_effective`; q_star is nan for a layer
        with fewer than two used units or no similarity between them.
    """
    import pandas as pd

    rows = []
    for layer in rec.units.layers if len(rec.units.layers) > 1 else ():
        index = rec.units.indices(layer)
        for name, matrix in matrices.items():
            block = used_only(matrix[np.ix_(index, index)], ~rec.units.unused[index])
            rows.append(_layer_row(layer, name, _optimum(block, method, seed)))
    rows += [_layer_row("all", name, modules) for name, modules in together.items()]
    return pd.DataFrame(rows)


def _layer_row(layer: str, measure: str, modules: Modules | None) -> dict[str, Any]:
    return {
        "layer": layer,
        "measure": measure,
        "q_star": modules.q if modules else float("nan"),
        "n_modules": modules.n_modules if modules else 0,
        "n_effective": modules.n_effective if modules else 0.0,
    }
