"""Traffic: what the units of a network send and receive one by one, for the weightings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from infoflow.exchanges.sent import Sender
from infoflow.information.entropy import miller_madow_bits
from infoflow.information.tables import Pool, draw_rows, fit_target, normal_codes
from infoflow.information.unit_flows import unit_flow
from infoflow.partition import Partition
from infoflow.recording import Recording

NEARLY_DEAD = 0.05  # of the median unit's strongest flow


@dataclass(frozen=True, eq=False)
class Traffic:
    """What the weightings need to know about a network beside the partition.

    Attributes:
        unit_flow: `(n, n)` flow between single units in the quantity that is weighted, bits.
        entropy: `(n,)` entropy of each unit's code in the normal run, bits.
        connected: `(n, n)` bool; i's layer can reach j's at all.
        floor: Bits that one changed code amounts to: less is not told from nothing.
    """

    unit_flow: np.ndarray
    entropy: np.ndarray
    connected: np.ndarray
    floor: float = 0.0

    @cached_property
    def per_unit(self) -> np.ndarray:
        """`(n,)` bits that each unit sends, and receives.

        Senders tell a receiver much the same, and no more than it can take up: what it receives is
        the sum of single flows, but at most its entropy. Without that limit a unit that everything
        drives (entropy 3.3 bits, single flows that add up to 23) had traffic its exchange with all
        others could never come near, and by itself was the best module of a trained network.
        """
        received = np.minimum(self.unit_flow.sum(0), self.entropy)
        return received + self.unit_flow.sum(1)

    @cached_property
    def silent(self) -> np.ndarray:
        """`(n,)` bool; units whose strongest flow, to or from any other by itself, cannot be
        detected, or is less than a twentieth of the median unit's: hardly any exchange depends on
        where they are put, so that together they would make the quietest module."""
        strongest = np.maximum(self.unit_flow.max(0), self.unit_flow.max(1))
        heard = strongest[strongest > self.floor]
        typical = float(np.median(heard)) if len(heard) else 0.0
        return strongest <= max(self.floor, NEARLY_DEAD * typical)

    def among(self, units: np.ndarray) -> Traffic:
        """The traffic among some of the units; all else is at zero."""
        inside = np.zeros(len(self.unit_flow), dtype=bool)
        inside[units] = True
        return replace(self, unit_flow=self.unit_flow * np.outer(inside, inside))

    def volume(self, partition: Partition) -> np.ndarray:
        """`(k,)` bits that each module's units send and receive, inside and out."""
        labels = partition.labels
        used = labels >= 0
        return np.bincount(labels[used], self.per_unit[used], minlength=partition.n_modules)


def measure_traffic(
    rec: Recording,
    *,
    given_context: bool,
    bins: int,
    seed: int,
    pool: Pool,
    donors: int = 30,
    contexts: int = 30,
) -> Traffic:
    """The traffic of a network, in the quantity (given the context or plain) that is weighted.

    Args:
        rec: A recording.
        given_context: Flow given the context, or plain.
        bins: Bins per unit.
        seed: Seed of the draws.
        pool: What to do with positions.
        donors, contexts: Samples drawn, at most the data set.
    """
    n = len(rec.units)
    rng = np.random.default_rng(seed)
    rows = draw_rows(rec, donors, "donors", rng), draw_rows(rec, contexts, "contexts", rng)
    if given_context and pool != "positions":
        flows = np.zeros((n, n))
        used = np.flatnonzero(~rec.units.unused)
        sent = Sender(rec, *rows, bins, pool)([np.array([i]) for i in used])
        for i, row in zip(used, sent, strict=True):
            flows[i] = row.given_context
    else:
        flows = unit_flow(
            rec, given_context=given_context, donors=donors, contexts=contexts,
            bins=bins, seed=seed, pool=pool,
        )  # fmt: skip
    everyone = fit_target(rec, np.arange(n), bins=bins, coding="units", pool=pool)
    entropy = [
        float(miller_madow_bits(np.bincount(c))) for c in normal_codes(rec, everyone, pool).T
    ]
    layer = rec.units.layer_index
    reach = np.zeros((len(rec.units.sites),) * 2, dtype=bool)
    sender, receiver = np.nonzero(flows > 0)
    reach[layer[sender], layer[receiver]] = True
    runs = len(rows[0]) * len(rows[1])
    return Traffic(flows, np.array(entropy), reach[layer[:, None], layer], resolution_bits(runs))


def resolution_bits(runs: int) -> float:
    """Bits that one changed code among so many runs amounts to.

    Examples:
        >>> round(resolution_bits(2500), 4)
        0.0045
    """
    return float(np.log2(runs) / runs)
