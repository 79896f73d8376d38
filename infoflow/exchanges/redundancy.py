"""What units send together that send nothing one by one, such as copies behind a majority vote."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from infoflow.information.unit_flows import Sender

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
