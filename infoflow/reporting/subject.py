"""What a report is about, and what is measured for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from infoflow.comparing import Comparison
from infoflow.exchanges import ExchangeMeter
from infoflow.lesioning import Lesions, lesions
from infoflow.measured import SEARCH, Objective
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.searching import SearchResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Subject:
    """A search, and what else is known.

    Attributes:
        search: The search whose modules are shown.
        rec: Its recording; None where only the search was given.
        comparison: What the search is a part of, if anything.
        sent: What the modules' parts in single layers send each other (`layer_parts`).
        hurt: What breaks when a module is resampled.
        notes: What could not be measured, and why.
    """

    search: SearchResult
    rec: Recording | None
    comparison: Comparison | None
    sent: pd.DataFrame | None = None
    hurt: Lesions | None = None
    notes: tuple[str, ...] = ()


def subject(result: Comparison | SearchResult, rec: Recording | None, *, measure: bool) -> Subject:
    """What is known of a result; with `measure` also what takes runs of the network.

    Raises:
        ValueError: A recording of other units than the search's.
    """
    comparison = result if isinstance(result, Comparison) else None
    search = result if isinstance(result, SearchResult) else result.search
    rec = comparison.rec if comparison is not None and rec is None else rec
    if rec is not None and len(rec.units) != len(search.partition):
        raise ValueError(
            f"expected rec= of {len(search.partition)} units, as the search has, got one of "
            f"{len(rec.units)}"
        )
    found = Subject(search, rec, comparison)
    if rec is None:
        note = "No recording was given (rec=), so units have numbers but no layers"
        return replace(found, notes=(f"{note}, and nothing was measured on the network.",))
    if not measure or search.partition.n_modules < 1:
        return found
    try:
        hurt = lesions(rec, search.partition)
        sent = layer_parts(search, rec) if search.partition.n_modules > 1 else None
    except (RuntimeError, ValueError) as error:
        note = "Not measured: what breaks when a module is resampled, and flows from layer to layer"
        return replace(found, notes=(f"{note} ({error}).",))
    return replace(found, hurt=hurt, sent=sent)


def layer_parts(search: SearchResult, rec: Recording) -> pd.DataFrame:
    """What each module's part in each layer sends each other one, forced by itself, on draws that
    the search did not see.

    Returns:
        Columns `from`, `from_module`, `to`, `to_module`, `bits_given_context`, `bits`; pairs
        without any flow are left out.
    """
    import pandas as pd

    found, partition = search.exchange, search.partition
    estimate = "codes" if found.coding in ("units", "joint") else found.coding
    meter = ExchangeMeter(rec, SEARCH, Objective("none", found.given_context, estimate)).fresh()  # type: ignore[arg-type]
    layer, k = rec.units.layer_index, partition.n_modules
    parts = Partition(np.where(partition.labels >= 0, layer * k + partition.labels, -1))
    (flow,) = meter.flows([parts])
    cleaned = meter.checked(parts)
    place = [(rec.units.layers[layer[p[0]]], _name(partition, p)) for p in cleaned.modules]
    pairs = np.argwhere((flow != 0).any(0)).tolist()
    rows = [(*place[a], *place[b], flow[1, a, b], flow[0, a, b]) for a, b in pairs]
    names = ["from", "from_module", "to", "to_module", "bits_given_context", "bits"]
    return pd.DataFrame(rows, columns=names)


def _name(partition: Partition, units: Sequence[int] | np.ndarray) -> int:
    return partition.names[partition.labels[units[0]]]
