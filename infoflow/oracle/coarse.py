"""A trained network as a small causal network over the codes of its modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.information.binning import fit_unit_bins
from infoflow.information.codebook import fit_codebook, unique_codes
from infoflow.information.donors import table_flow
from infoflow.information.tables import code_tables
from infoflow.information.targets import Target, fit_target, normal_codes
from infoflow.measured import Bins, Correction, Draws
from infoflow.oracle.cutting import pgmpy_classes, query
from infoflow.oracle.exact import interventional_information, observational_information
from infoflow.partition import Partition, PartitionLike, as_partition
from infoflow.recording import Recording

if TYPE_CHECKING:
    import pandas as pd
    from pgmpy.models import DiscreteBayesianNetwork

_MOST_CELLS = 1_000_000


@dataclass(frozen=True, eq=False)
class CoarseNetwork:
    """A discrete causal network whose variables are the modules' codes, layer by layer.

    Attributes:
        network: pgmpy network: `input`, then `module{a}@{layer}` for each module and each recorded
            layer it has units in.
        modules: Per module, the names of its variables.
        codes: `(K, variables)` DataFrame: every variable's code on every sample.
    """

    network: DiscreteBayesianNetwork
    modules: tuple[tuple[str, ...], ...]
    codes: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """One row per variable: name, module (-1: the input), codes, parents."""
        import pandas as pd

        card: Any = self.network.get_cardinality()
        owner = {name: a for a, names in enumerate(self.modules) for name in names}
        return pd.DataFrame(
            {
                "variable": list(self.codes),
                "module": [owner.get(name, -1) for name in self.codes],
                "codes": [card[name] for name in self.codes],
                "parents": [list(self.network.get_parents(name)) for name in self.codes],
            }
        )

    def __repr__(self) -> str:
        sizes = ", ".join(str(len(names)) for names in self.modules)
        return (
            f"CoarseNetwork({len(self.modules)} modules of {sizes} variables, "
            f"{self.network.number_of_edges()} edges, {len(self.codes)} samples)"
        )


def from_partition(
    rec: Recording,
    partition: PartitionLike,
    *,
    codes: Bins = 4,
    input_codes: Bins = 16,
    seed: int = 0,
) -> CoarseNetwork:
    """Fit a causal network over module codes to the normal run, to be queried or drawn.

    Each module has one variable per recorded layer, the joint code of its units there. The layers
    are taken to follow each other in the order recorded: the parents of a variable are all
    modules' variables in the layer below; those of the first layer hang on `input`, the code of
    the model's input. The tables are relative frequencies in the normal run; for parents' codes
    that never occurred together the child is given its overall frequencies.

    What the codes do not keep, and unused units, are lost to the network: it is a picture, and an
    adjustment for what it keeps. `adjusted_flows` sets it beside real interventions.

    Args:
        rec: A recording.
        partition: One label per recorded unit, -1 for unused.
        codes: Size of each variable's codebook, or "unique" to tell all activations apart.
        input_codes: The same for the input.
        seed: Seed of the codebooks.

    Raises:
        ValueError: Labels of another length, no module, a table of more than a million cells.

    Examples:
        >>> from infoflow.toys import load_modules
        >>> toy = load_modules("isolated_tracks")
        >>> coarse = from_partition(toy.record(), toy.planted[0], codes="unique")
        >>> coarse.modules[1]
        ('module1@layer1', 'module1@layer2')
    """
    partition = _checked(rec, partition)
    values = _input_values(rec)
    columns = {"input": _codes_of(values, input_codes, seed)}
    parents: dict[str, list[str]] = {"input": []}
    names: dict[tuple[int, int], str] = {}
    below = ["input"]
    for position, layer in enumerate(rec.units.layers):
        here = []
        for module, target in _layer_targets(rec, partition, position, codes, seed).items():
            name = f"module{module}@{layer}"
            columns[name] = normal_codes(rec, target)[:, 0]
            parents[name] = below
            names[module, position] = name
            here.append(name)
        below = here or below
    modules = tuple(
        tuple(name for (a, _), name in names.items() if a == module)
        for module in range(partition.n_modules)
    )
    return _fitted(columns, parents, modules)


def adjusted_flows(
    rec: Recording,
    partition: PartitionLike,
    *,
    codes: Bins = 4,
    input_codes: Bins = 16,
    donors: int = 200,
    contexts: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """What adjustment makes of the normal run, beside what interventions say; bits per ordered
    pair of modules.

    Columns `source`, `target`, and

    - `observational`: I(B; C) of the modules' codes in the normal run;
    - `adjusted`: I(do(B); C) on the network of `from_partition`: p(c | do(b)) by the truncated
      factorisation, the back-door adjustment for every variable's parents;
    - `interventional`: I(do(B); C) by running donors of B in contexts, C coded the same way;
    - `unsupported`: the largest probability, over the variables outside B, with which do(B) leads
      to parents' codes that never occurred together. There the data say nothing, and `adjusted`
      rests on the overall frequencies: it can be trusted where this is small.

    The adjusted value is a plug-in estimate: it carries the bias of its tables' cells, and B passes
    on no more than its code, while an intervention sets B's exact activations. Args and
    errors as in `from_partition`; `donors`, `contexts` as in `flow` (at most all samples).

    Examples:
        Coins that meet in a sum: nothing is confounded, and adjustment agrees with intervention.

        >>> from infoflow.toys import load_modules
        >>> toy = load_modules("fully_mixed_layers")
        >>> halves = [0, 0, 1, 1, 0, 0, 1, 1]
        >>> exact = adjusted_flows(toy.record(), halves, codes="unique", input_codes="unique")
        >>> exact.round(4).iloc[0][["adjusted", "interventional", "unsupported"]].tolist()
        [1.5, 1.5, 0.0]
    """
    import pandas as pd

    partition = _checked(rec, partition)
    coarse = from_partition(rec, partition, codes=codes, input_codes=input_codes, seed=seed)
    rows = []
    for a in range(partition.n_modules):
        measured = _interventional(rec, partition, a, codes, donors, contexts, seed)
        unsupported = _unsupported(coarse, coarse.modules[a])
        for b, bits in measured.items():
            groups = (coarse.network, coarse.modules[a], coarse.modules[b])
            rows.append(
                {
                    "source": a,
                    "target": b,
                    "observational": observational_information(*groups),
                    "adjusted": interventional_information(*groups),
                    "interventional": bits,
                    "unsupported": unsupported,
                }
            )
    return pd.DataFrame(rows)


def _checked(rec: Recording, partition: PartitionLike) -> Partition:
    found = as_partition(partition, len(rec.units))
    if found.n_modules == 0:
        raise ValueError("expected at least one module, got a partition with all units unused")
    return found


def _input_values(rec: Recording) -> np.ndarray:
    return np.concatenate([x.reshape(len(x), -1).double().numpy() for x in rec.inputs], 1)


def _codes_of(values: np.ndarray, codes: Bins, seed: int) -> np.ndarray:
    if codes == "unique":
        return unique_codes(values)[:, 0]
    if values.shape[1] == 1:
        return fit_unit_bins(values, codes).encode(values)[:, 0]
    return fit_codebook(values, np.zeros(values.shape[1]), codes, seed).encode(values)[:, 0]


def _layer_targets(
    rec: Recording, partition: Partition, position: int, codes: Bins, seed: int
) -> dict[int, Target]:
    """The code of each module's units in one layer, for the modules that have any there."""
    here = rec.units.layer_index == position
    draws = Draws(bins=codes, seed=seed)
    return {
        module: fit_target(rec, np.intersect1d(units, np.flatnonzero(here)), draws)
        for module, units in enumerate(partition.modules)
        if here[units].any()
    }


def _fitted(
    columns: dict[str, np.ndarray],
    parents: dict[str, list[str]],
    modules: tuple[tuple[str, ...], ...],
) -> CoarseNetwork:
    import pandas as pd

    new_network, new_table, _ = pgmpy_classes()
    dense = {name: np.unique(codes, return_inverse=True)[1] for name, codes in columns.items()}
    card = {name: int(codes.max()) + 1 for name, codes in dense.items()}
    network = new_network([(p, name) for name in parents for p in parents[name]])
    for name, codes in dense.items():
        above = [card[p] for p in parents[name]]
        _guard(name, card[name], parents[name], above)
        counts = _counts(codes, card[name], [dense[p] for p in parents[name]], above)
        seen = counts.sum(0)
        overall = np.bincount(codes, minlength=card[name]) / len(codes)
        table = np.where(seen > 0, counts / np.maximum(seen, 1), overall[:, None])
        network.add_cpds(new_table(name, card[name], table, parents[name] or None, above or None))
    network.check_model()
    return CoarseNetwork(network, modules, pd.DataFrame(dense))


def _guard(name: str, own: int, parents: Sequence[str], above: Sequence[int]) -> None:
    cells = own * int(np.prod(np.array(above, dtype=object)))
    if cells > _MOST_CELLS:
        raise ValueError(
            f"the table of {name!r} given {list(parents)} would have {cells:,} cells, more than "
            f"{_MOST_CELLS:,}: use fewer codes, or a partition into fewer modules"
        )


def _counts(
    codes: np.ndarray, card: int, parents: Sequence[np.ndarray], above: Sequence[int]
) -> np.ndarray:
    """`(codes, joint states of the parents)` samples in each cell; the last parent runs fastest."""
    width = int(np.prod(above, dtype=np.int64))
    column = np.ravel_multi_index(tuple(parents), tuple(above)) if parents else 0
    return np.bincount(codes * width + column, minlength=card * width).reshape(card, width)


def _interventional(
    rec: Recording,
    partition: Partition,
    source: int,
    codes: Bins,
    donors: int,
    contexts: int,
    seed: int,
) -> dict[int, float]:
    """I(do(source); C) of every other module, coded layer by layer as in the network."""
    rows, columns = Draws(donors, contexts, seed=seed).rows(len(rec))
    targets = [
        (module, target)
        for position in range(len(rec.units.layers))
        for module, target in _layer_targets(rec, partition, position, codes, seed).items()
        if module != source
    ]
    tables = code_tables(rec, partition.modules[source], [t for _, t in targets], rows, columns)
    joint: dict[int, np.ndarray] = {}
    for (module, _), table in zip(targets, tables, strict=True):
        before = joint.get(module, np.zeros_like(table.codes))
        joint[module] = before * table.n_codes + table.codes
    enumerated = len(rows) == len(columns) == len(rec)  # every case, each once: nothing to correct
    estimator = "none" if enumerated else "auto"
    return {a: _flow_bits(table, estimator) for a, table in joint.items()}


def _flow_bits(codes: np.ndarray, estimator: Correction) -> float:
    dense = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    return float(table_flow(dense, int(dense.max()) + 1, estimator=estimator).bits[0])


def _unsupported(coarse: CoarseNetwork, source: Sequence[str]) -> float:
    """Largest probability, over variables outside the source, of parents' codes never seen
    together when the source is set to what it was on a sample."""
    cut: Any = coarse.network.do(list(source))
    settings, counts = np.unique(coarse.codes[list(source)], axis=0, return_counts=True)
    fixed = [dict(zip(source, setting.tolist(), strict=True)) for setting in settings]
    weights = counts / counts.sum()
    worst = 0.0
    for name in coarse.codes:
        parents = list(coarse.network.get_parents(name))
        if name not in source and not set(parents) <= set(source):
            missing = [_never_seen(coarse, cut, parents, states) for states in fixed]
            worst = max(worst, float(weights @ missing))
    return worst


def _never_seen(
    coarse: CoarseNetwork, cut: Any, parents: Sequence[str], fixed: dict[str, int]
) -> float:
    """Probability, with the source `fixed`, of parents' codes that no sample had together."""
    free = [p for p in parents if p not in fixed]
    reached = query(cut, [[p] for p in free], fixed)
    agrees = np.ones(len(coarse.codes), dtype=bool)
    for name in set(parents) & set(fixed):
        agrees &= coarse.codes[name].to_numpy() == fixed[name]
    seen = np.zeros(reached.shape, dtype=bool)
    seen[tuple(coarse.codes.loc[agrees, free].to_numpy().T)] = True
    return float(reached[~seen].sum())
