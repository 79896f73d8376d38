"""Flow between all pairs of single units: one intervention per unit serves all targets."""

from __future__ import annotations

import numpy as np

from infoflow._shapes import Float, shaped
from infoflow.information.codes import code_dtype
from infoflow.information.mutual import information_of_each
from infoflow.information.sent import Sender
from infoflow.information.shuffle import shuffled_codes
from infoflow.information.targets import fit_target, normal_codes
from infoflow.measured import Draws, Pool
from infoflow.recording import Recording, show_progress


@shaped
def unit_flow(
    rec: Recording,
    *,
    given_context: bool = False,
    donors: int = 50,
    contexts: int = 50,
    bins: int = 10,
    seed: int = 0,
    pool: Pool = "mean",
    progress: bool = False,
) -> Float[np.ndarray, "units units"]:
    """I(do(i); j) in bits for every ordered pair of recorded units.

    Plainly, unit by unit: one shuffled pass over the data set with unit i's values permuted, and
    the mutual information of the two binned units. Most single units send less than this
    estimator can tell from nothing (its noise is about (bins - 1)² / (2 K ln 2) bits before
    correction), so pictures and proxies use `given_context=True`: E_x H(j | context x) under
    do(i), from donors × contexts.

    Args:
        rec: A recording.
        given_context: Flow given the context rather than plain.
        donors, contexts: Samples drawn for the flow given the context.
        bins: Bins per unit.
        seed: Seed of permutations and draws; every unit uses the same ones.
        pool: Positions are averaged ("mean"), "max", or each a sample ("positions").
        progress: Show a progress bar over units.

    Returns:
        `(n, n)` float64; `[i, j]` is what i sends j. The diagonal, unused units and pairs without
        an effect are exactly 0.

    Raises:
        ValueError: Fewer than two bins, donors or contexts.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> rec = ifl.record(net, ["1", "2"], torch.randn(50, 4))
        >>> F = ifl.unit_flow(rec)
        >>> F.shape, bool((F[3:] == 0).all())  # the last layer sends nothing back
        ((5, 5), True)
    """
    draws = Draws(donors, contexts, bins, "units", pool, "auto", seed)
    return single_flows(rec, draws, given_context=given_context, progress=progress)


def single_flows(
    rec: Recording, draws: Draws, *, given_context: bool, progress: bool = False
) -> np.ndarray:
    """`(n, n)` what `unit_flow` measures; plain flows are all corrected with "auto"."""
    n, used = len(rec.units), ~rec.units.unused
    flows = np.zeros((n, n))
    singles = [np.array([i]) for i in np.flatnonzero(used)]
    if given_context:
        for source, sent in zip(singles, Sender(rec, draws)(singles, progress), strict=True):
            flows[source] = sent.given_context
        return flows
    everyone = fit_target(rec, np.arange(n), draws)
    normal = normal_codes(rec, everyone)
    for source in show_progress(singles, progress, "unit flow"):
        put_in, seen = shuffled_codes(rec, source, everyone)
        moved = (seen != normal).any(0) & used
        moved[source] = False
        flows[source, moved] = information_with_each(put_in, seen[:, moved], draws.binning.n_codes)
    return flows


def information_with_each(codes: np.ndarray, columns: np.ndarray, n_codes: int) -> np.ndarray:
    """Mutual information of `codes` `(N,)` with each of `columns` `(N, T)`, corrected, in bits.

    Each is what `information_bits` gives with "auto".

    Examples:
        >>> a = np.arange(400) % 2
        >>> information_with_each(a, np.stack([a, 0 * a], 1), 2).round(2).tolist()
        [1.0, 0.0]
    """
    from infoflow.information._histograms import pair_counts

    small = code_dtype(n_codes)
    rows = np.ascontiguousarray(columns.T, dtype=small)
    tables = pair_counts(codes.astype(small), rows, n_codes, n_codes)
    return information_of_each(tables)
