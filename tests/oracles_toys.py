"""Naive versions: information by counting cases one at a time, sharing nothing with infoflow."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from math import log2

import numpy as np
import torch
from torch import nn

from infoflow.toys.relays import Skip


def entropy(counts: Counter) -> float:
    """Bits of a table of (weighted) counts."""
    total = sum(counts.values())
    return -sum(n / total * log2(n / total) for n in counts.values() if n > 0)


def mutual_information(pairs: Counter) -> float:
    """I(first; second) in bits from weighted counts of pairs."""
    first, second = Counter(), Counter()
    for (a, b), n in pairs.items():
        first[a] += n
        second[b] += n
    return entropy(first) + entropy(second) - entropy(pairs)


def conditional_mutual_information(triples: Counter) -> float:
    """I(first; second | third) in bits from weighted counts of triples."""
    by_third: dict[Hashable, Counter] = defaultdict(Counter)
    for (a, b, x), n in triples.items():
        by_third[x][a, b] += n
    total = sum(triples.values())
    return sum(sum(c.values()) / total * mutual_information(c) for c in by_third.values())


def run_by_hand(model: nn.Module, x: torch.Tensor, forced: dict) -> dict[str, torch.Tensor]:
    """Outputs of a feed-forward network's layers, computed layer by layer without hooks;
    `forced` is `{layer: {unit: value}}`."""
    seen = {}
    for name, layer in model.named_children():
        skips = isinstance(model, Skip) and name == "layer3"
        x = layer(torch.cat([seen["layer1"], x], 1) if skips else x).clone()
        for unit, value in forced.get(name, {}).items():
            x[:, unit] = value
        seen[name] = x
    return seen


def code(seen: dict[str, torch.Tensor], units: dict[str, list[int]], row: int) -> tuple:
    """The joint value of some units on one row."""
    return tuple(seen[layer][row, u].item() for layer, inside in units.items() for u in inside)


def three_numbers(model, inputs, source, target) -> tuple[float, float, float]:
    """I(B; C), I(do(B); C) and E_x H(C | x) under do(B), every donor run on every context."""
    with torch.no_grad():
        normal = run_by_hand(model, inputs, {})
        rows = range(len(inputs))
        together = Counter((code(normal, source, k), code(normal, target, k)) for k in rows)
        sent: Counter = Counter()
        by_context: dict[int, Counter] = defaultdict(Counter)
        for donor in rows:
            forced = {a: {u: normal[a][donor, u] for u in inside} for a, inside in source.items()}
            moved = run_by_hand(model, inputs, forced)
            for context in rows:
                c = code(moved, target, context)
                sent[code(normal, source, donor), c] += 1
                by_context[context][c] += 1
    given_context = sum(map(entropy, by_context.values())) / len(inputs)
    return mutual_information(together), mutual_information(sent), given_context


def forced_numbers(
    model, inputs, source, target, *, values=None, prior=None, pairs=None, held=()
) -> tuple[float, float]:
    """I(do(B); C) and E_x H(C | x), by listing weighted cases: `values` (default: what B was on
    each input) with probabilities `prior`; `pairs[d, k]` says which donors go with which contexts;
    all units of the layers `held` stay at what they are on the context."""
    with torch.no_grad():
        normal = run_by_hand(model, inputs, {})
        k = len(inputs)
        values = [code(normal, source, row) for row in range(k)] if values is None else values
        prior = [1 / len(values)] * len(values) if prior is None else prior
        sent: Counter = Counter()
        by_context: dict[int, Counter] = defaultdict(Counter)
        for donor, (value, p) in enumerate(zip(values, prior, strict=True)):
            for context in range(k):
                if pairs is not None and not pairs[donor, context]:
                    continue
                given, forced = iter(value), {}
                for layer, inside in source.items():
                    forced[layer] = {unit: next(given) for unit in inside}
                for layer in held:
                    stay = normal[layer][context].tolist()
                    forced.setdefault(layer, {}).update(enumerate(stay))
                c = code(run_by_hand(model, inputs[[context]], forced), target, 0)
                sent[value, c] += p
                by_context[context][c] += p
    given_context = sum(map(entropy, by_context.values())) / len(by_context)
    return mutual_information(sent), given_context


def assignments(cards: dict[str, int]) -> Iterable[dict[str, int]]:
    """Every joint state of the variables."""
    for states in itertools.product(*(range(n) for n in cards.values())):
        yield dict(zip(cards, states, strict=True))


def probability(tables: dict, state: dict[str, int], forced: dict[str, int]) -> float:
    """Truncated factorisation: the product of the tables of all variables that are not forced.

    `tables` is `{variable: (parents, array (states, *parents' states))}`.
    """
    if any(state[name] != value for name, value in forced.items()):
        return 0.0
    factors = [
        table[(state[name], *(state[p] for p in parents))]
        for name, (parents, table) in tables.items()
        if name not in forced
    ]
    return float(np.prod(factors))


def network_numbers(tables: dict, source: list[str], target: list[str], inputs: list[str]) -> dict:
    """The four informations of a causal network, by summing over every joint state."""
    cards = {name: table.shape[0] for name, (_, table) in tables.items()}

    def pick(state: dict[str, int], names: list[str]) -> tuple[int, ...]:
        return tuple(state[name] for name in names)

    normal, prior, moved = Counter(), Counter(), Counter()
    for state in assignments(cards):
        p = probability(tables, state, {})
        normal[pick(state, source), pick(state, target), pick(state, inputs)] += p
        prior[pick(state, source)] += p
    for value, weight in prior.items():
        forced = dict(zip(source, value, strict=True))
        for state in assignments(cards):
            p = weight * probability(tables, state, forced)
            moved[value, pick(state, target), pick(state, inputs)] += p
    return {
        "observational": mutual_information(_first_two(normal)),
        "interventional": mutual_information(_first_two(moved)),
        "given_context": conditional_mutual_information(moved),
        "conditional": conditional_mutual_information(normal),
    }


def _first_two(triples: Counter) -> Counter:
    pairs: Counter = Counter()
    for (a, b, _), p in triples.items():
        pairs[a, b] += p
    return pairs
