"""Weightings: what an exchange is divided by, since small modules send little anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import torch

from infoflow._replay.chunks import free_bytes
from infoflow._warnings import warn
from infoflow.information.entropy import miller_madow_bits
from infoflow.information.group_flows import GroupSender
from infoflow.information.slopes import linear, slope_flows
from infoflow.information.targets import fit_target, normal_codes
from infoflow.information.unit_flows import Sender, single_flows
from infoflow.measured import TRAFFIC, Draws, Objective, Weighting
from infoflow.partition import Partition
from infoflow.recording import Recording

_MOST_PAIRS = 500  # interventions; of more units the group's bits are shared out instead


def joint_flows(
    sender: Sender, flows: np.ndarray, silent: np.ndarray, least: float, *, given_context: bool
) -> np.ndarray:
    """`(n, n)` bits that silent units send in company, beyond what they send by themselves.

    All silent units up to each layer are forced together first. Where that moves nothing more than
    they move one by one, nothing is hidden among them. Else every pair is forced: what it sends a
    unit beyond twice the sum of its two flows counts half for each of the two, the largest over
    pairs for each unit. (Twice, since two small flows that have nothing to do with each other may
    add up.) Where no pair is heard, or there are more than 500, what the group sends is shared out
    evenly.

    Args:
        sender: Measures what groups send.
        flows: `(n, n)` flows between single units, in the same quantity.
        silent: `(n,)` bool; units whose single flows cannot be told from nothing.
        least: Bits above which a flow is heard.
        given_context: The flow given the context, or the plain one.
    """
    units = np.flatnonzero(silent & ~sender.rec.units.unused)
    layer = sender.rec.units.layer_index
    groups = [units[layer[units] <= top] for top in np.unique(layer[units])]

    def beyond(sources: list[np.ndarray]) -> list[np.ndarray]:
        found = []
        for source, sent in zip(sources, sender(sources), strict=True):
            bits = sent.given_context if given_context else sent.bits
            excess = bits - 2 * flows[source].sum(0)
            found.append(np.where(excess > least, excess, 0.0))
        return found

    joint = np.zeros_like(flows)
    heard = [(g, sent) for g, sent in zip(groups, beyond(groups), strict=True) if sent.any()]
    if not heard:
        return joint
    pairs = [np.array(pair) for pair in combinations(units, 2)]
    if len(pairs) <= _MOST_PAIRS:
        for pair, sent in zip(pairs, beyond(pairs), strict=True):
            joint[pair] = np.maximum(joint[pair], sent / 2)
    if not joint.any():
        for group, sent in heard:
            joint[group] = np.maximum(joint[group], sent / len(group))
    return joint


NEARLY_DEAD = 0.05  # of the median unit's strongest flow
MOST_MEASURED = 1000
"""Units of which each is forced by itself; of more the unit flows are estimated from slopes."""
_TRIED = 12  # of these, units that are forced all the same
_DONORS = 100  # for slopes, where they cost next to nothing
_MATRICES = 6  # of all pairs, that are held at once here and while partitions are looked for


@dataclass(frozen=True, eq=False)
class Traffic:
    """What the weightings need to know about a network beside the partition.

    Attributes:
        unit_flow: `(n, n)` flow between single units in the quantity that is weighted, bits; of
            units that are silent one by one, their part of what they send together.
        entropy: `(n,)` entropy of each unit's code in the normal run, bits.
        connected: `(n, n)` bool; i's layer can reach j's at all.
        floor: Bits that one changed code amounts to: less is not told from nothing.
        together: `(n,)` what each unit sends all others, taken together, and receives from them,
            where modules are measured as wholes; of silent units by codes. None: single flows.
    """

    unit_flow: np.ndarray
    entropy: np.ndarray
    connected: np.ndarray
    floor: float = 0.0
    together: np.ndarray | None = None

    @cached_property
    def per_unit(self) -> np.ndarray:
        """`(n,)` bits that each unit sends, and receives.

        Senders tell a receiver much the same, and no more than it can take up: what it receives is
        the sum of single flows, but at most its entropy. Without that limit a unit that everything
        drives (entropy 3.3 bits, single flows that add up to 23) had traffic its exchange with all
        others could never come near, and by itself was the best module of a trained network.
        """
        if self.together is not None:
            return self.together
        received = np.minimum(self.unit_flow.sum(0), self.entropy)
        return received + self.unit_flow.sum(1)

    @cached_property
    def silent(self) -> np.ndarray:
        """`(n,)` bool; units whose strongest flow, to or from any other, by itself or together with
        another silent one, cannot be detected, or is less than a twentieth of the median unit's:
        hardly any exchange depends on where they are put, so that together they would make the
        quietest module."""
        return _strongest(self.unit_flow) <= _least_heard(self.unit_flow, self.floor)

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


def _strongest(flows: np.ndarray) -> np.ndarray:
    return np.maximum(flows.max(0), flows.max(1))


def _least_heard(flows: np.ndarray, floor: float) -> float:
    """Bits that the strongest flow of a unit has to exceed."""
    strongest = _strongest(flows)
    heard = strongest[strongest > floor]
    return max(floor, NEARLY_DEAD * (float(np.median(heard)) if len(heard) else 0.0))


def measure_traffic(
    rec: Recording,
    draws: Draws,
    objective: Objective,
    left_out: np.ndarray | None = None,
) -> Traffic:
    """The traffic of a network, in the quantity that is weighted.

    Of more than 1,000 units the flows come from slopes where these can stand for them (see
    `slope_flows`), which a warning says: 12 units are forced all the same, and if what they send is
    not what the slopes say, all units are.

    Args:
        rec: A recording.
        draws: How units are coded, and the seed; of donors and contexts there are 30 each.
        objective: Given the context or plain, and how the flow into groups is measured.
        left_out: `(n,)` bool; units that are in no module, where modules are taken together.

    Raises:
        ValueError: More units than there is memory for the flows between all pairs.
    """
    _check_room(len(rec.units))
    bins = draws.bins if isinstance(draws.bins, int) else TRAFFIC.bins
    how = {"pool": draws.pool, "seed": draws.seed, "do": draws.do, "direct": draws.direct}
    draws = replace(TRAFFIC, bins=bins, **how)
    given = objective.given_context
    flows = _unit_flows(rec, draws, objective)
    donors, contexts = draws.rows(len(rec))
    floor = bits_of_one_code(len(donors) * len(contexts))
    least = _least_heard(flows, floor)
    if not draws.direct:
        # plain flows of pairs are noisy: only of units that moved no code at all are they news
        silent, sender = _strongest(flows) <= (least if given else 0.0), Sender(rec, draws)
        flows = flows + joint_flows(sender, flows, silent, least, given_context=given)
    codes = normal_codes(rec, fit_target(rec, np.arange(len(flows)), draws))
    entropy = np.array([float(miller_madow_bits(np.bincount(c))) for c in codes.T])
    layer = rec.units.layer_index
    reach = np.zeros((len(rec.units.sites),) * 2, dtype=bool)
    sender, receiver = np.nonzero(flows > 0)
    reach[layer[sender], layer[receiver]] = True
    alone = Traffic(flows, entropy, reach[layer[:, None], layer], floor)
    if not objective.together:
        return alone
    out = rec.units.unused if left_out is None else rec.units.unused | left_out
    sent = _sent_and_received(GroupSender(rec, draws, objective), np.flatnonzero(~out))
    return replace(alone, together=np.where(out | (sent > 0), sent, alone.per_unit))


def _check_room(n: int) -> None:
    wanted, free = _MATRICES * 8 * n**2, free_bytes(torch.device("cpu"))
    if wanted > free:
        raise ValueError(
            f"flows between all pairs of {n:,} units take {wanted / 2**30:.1f} GB, and "
            f"{free / 2**30:.1f} GB are free: record fewer layers or units, take weighting='none' "
            "for single exchanges, or divide the units by find_modules(strongest_flows(rec)) or "
            "strongest_similarities"
        )


def _unit_flows(rec: Recording, draws: Draws, objective: Objective) -> np.ndarray:
    """`(n, n)` measured, or from slopes if there are many units and slopes agree for some."""
    given, used = objective.given_context, np.flatnonzero(~rec.units.unused)
    called = any(site.call == "all" for site in rec.units.sites)
    if len(used) <= MOST_MEASURED or not given or not linear(draws) or called:
        return single_flows(rec, draws, given_context=given)
    flows = slope_flows(rec, replace(draws, donors=_DONORS))
    tried = np.random.default_rng(draws.seed).permutation(used)[:_TRIED]
    sent = Sender(rec, draws)([np.array([unit]) for unit in tried])
    measured = np.stack([each.given_context for each in sent])
    if agrees(flows[tried], measured):
        said, found = f"from slopes, which agree with {_TRIED} units that were forced", flows
    else:
        said = f"measured unit by unit: slopes do not agree with {_TRIED} units that were forced"
        found = None
    warn(f"flows of {len(used)} units are {said}")
    return single_flows(rec, draws, given_context=given) if found is None else found


def agrees(estimated: np.ndarray, measured: np.ndarray) -> bool:
    """Whether flows `(sources, n)` from slopes are those measured: half to twice as many bits in
    all, and what the units receive in the same order (Spearman's rank correlation of at least a
    half). Slopes of functions with steps are zero, and say nothing of what they pass on.

    Examples:
        >>> flows = np.array([[0.0, 1.0, 2.0, 4.0]])
        >>> agrees(0.9 * flows, flows), agrees(0 * flows, flows), agrees(flows[:, ::-1], flows)
        (True, False, False)
    """
    from scipy.stats import spearmanr

    bits, true = estimated.sum(), measured.sum()
    if not 0.5 * true <= bits <= 2 * true:
        return False
    heard = (estimated > 0).any(0) | (measured > 0).any(0)
    if heard.sum() < 3:
        return True
    return bool(spearmanr(estimated.sum(0)[heard], measured.sum(0)[heard])[0] >= 0.5)  # type: ignore


def _sent_and_received(sender: GroupSender, units: np.ndarray) -> np.ndarray:
    """`(n,)` flow from each unit to all others, and from all others to it, those given."""
    alone = [np.array([unit]) for unit in units]
    others = [np.setdiff1d(units, unit) for unit in units]
    found = np.zeros((2, len(sender.rec.units)))
    given = sender.objective.given_context
    for number, (flow,) in sender([*alone, *others], [[t] for t in [*others, *alone]]):
        way, unit = divmod(number, len(units))
        found[way, units[unit]] = flow.given_context if given else flow.bits
    return np.maximum(found, 0.0).sum(0)


def bits_of_one_code(runs: int) -> float:
    """Bits that one changed code among so many runs amounts to.

    Examples:
        >>> round(bits_of_one_code(2500), 4)
        0.0045
    """
    return float(np.log2(runs) / runs)


def of_same_sizes(
    partition: Partition, seed: int, samples: int = 20
) -> tuple[Partition, Iterator[Partition]]:
    """One partition into modules of these sizes, the same for all such, and random ones."""
    sizes = np.sort(partition.sizes)
    labels = partition.labels.copy()
    labels[labels >= 0] = np.repeat(np.arange(len(sizes)), sizes)
    first = Partition(labels)
    rng = np.random.default_rng([seed, *sizes.tolist()])

    def drawn() -> Iterator[Partition]:
        last = first
        for _ in range(samples):
            last = last.shuffled(rng)
            yield last

    return first, drawn()


def weigh(
    weighting: Weighting,
    flow: np.ndarray,
    partition: Partition,
    traffic: Callable[[], Traffic],
    chance: Callable[[], tuple[float, float]],
) -> float:
    """The weighted exchange of a partition.

    | weighting | exchange is divided by |
    |---|---|
    | none | 1 |
    | min_size | units in the smallest module |
    | pairs | ordered pairs of units in different modules |
    | min_entropy | entropy of the least varied module, unit by unit |
    | cut_connections | ordered pairs of units in different modules that layers connect |
    | conductance | traffic of the least busy module: sent and received by its units, inside too |
    | ncut | each module's own traffic: Σ_a (sent + received by a) / traffic of a |
    | size_null | mean exchange of random partitions with the same module sizes |
    | size_z | their standard deviation, after their mean is taken off (may be negative) |

    Args:
        weighting: One of the names above.
        flow: `(k, k)` bits from module to module, diagonal 0.
        partition: The partition, unused units at -1.
        traffic: Gives the network's `Traffic`; called only where needed.
        chance: Gives mean and standard deviation of the exchange of same-size random partitions,
            likewise.

    Returns:
        The weighted value; inf where the divisor is 0 (a module without any traffic).
    """
    total = float(flow.sum())
    if weighting == "none":
        return total
    if weighting == "ncut":
        volume = traffic().volume(partition)
        crossing = flow.sum(0) + flow.sum(1)
        return sum(_ratio(c, v) for c, v in zip(crossing, volume, strict=True))
    if weighting == "size_null":
        return _ratio(total, chance()[0])
    if weighting == "size_z":
        mean, spread = chance()
        return _ratio(total - mean, spread)
    return _ratio(total, _divisor(weighting, partition, traffic))


def _divisor(weighting: str, partition: Partition, traffic: Callable[[], Traffic]) -> float:
    if weighting == "min_size":
        return float(partition.sizes.min())
    labels = partition.labels
    used = labels >= 0
    apart = (labels[:, None] != labels) & used[:, None] & used
    if weighting == "pairs":
        return float(apart.sum())
    if weighting == "cut_connections":
        return float((apart & traffic().connected).sum())
    if weighting == "min_entropy":
        entropy = traffic().entropy
        return min(float(entropy[module].sum()) for module in partition.modules)
    return float(traffic().volume(partition).min())


def _ratio(value: float, divisor: float) -> float:
    return float(value) / float(divisor) if divisor > 0 else float("inf")
