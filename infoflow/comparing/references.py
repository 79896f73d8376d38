"""What the same search finds in networks that have learnt nothing: what a score is held against."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from infoflow._passes import show_progress
from infoflow.comparing.sources import graphs, of_graphs
from infoflow.exchanges import ExchangeMeter
from infoflow.measured import SEARCH, Budget, Objective, Weighting
from infoflow.recording import Recording, record
from infoflow.searching import search
from infoflow.searching.plan import Method
from infoflow.searching.space import divided_units

if TYPE_CHECKING:
    from infoflow.comparing.comparison import Comparison

SHUFFLED = "networks with shuffled weights"


def with_references(
    comparison: Comparison, *, networks: int = 3, progress: bool = False, **asked: Any
) -> Comparison:
    """The comparison, and what its causal search finds in copies of the network whose weights were
    dealt to their places at random.

    A search divides any network better than at random, so that its score says little by itself.
    In a copy every parameter of two or more dimensions keeps its values, and with them their
    distribution, zeros included; biases and scales stay. Copies are recorded on the same data and
    searched in the same way, from the optima of their own graphs.

    Args:
        comparison: What `compare` returned, its network loaded.
        networks: Copies; copy i is dealt with seed i.
        progress: Show a progress bar.
        asked: What `compare` was asked otherwise than by default, of `n_modules`, `weighting`,
            `methods`, `budget`, `samples`, `donors`, `contexts` and `seed`; `same_size` and
            `proxies` have no part in the search.

    Returns:
        The same with `references`, by which `finding` and `report` judge the score.

    Raises:
        ValueError: Fewer than one copy; a recording in a basis of its own, which no copy shares.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> asked = {"budget": 20, "samples": 10, "donors": 10, "contexts": 10}
        >>> cmp = ifl.compare(ifl.record(net, ["0", "2"], torch.randn(60, 4)), **asked)
        >>> len(with_references(cmp, networks=2, **asked).references[SHUFFLED])
        2
    """
    rec = comparison.rec
    if networks < 1:
        raise ValueError(f"expected at least one shuffled network, got networks={networks}")
    if any(site.basis is not None for site in rec.units.sites):
        raise ValueError("a shuffled network does not share the recording's basis: record without")
    rec.check_current()
    asked = {name: value for name, value in asked.items() if name not in ("same_size", "proxies")}
    scores = []
    for seed in show_progress(list(range(networks)), progress, "shuffled networks"):
        scores.append(causal_score(_recorded(rec, shuffled(rec.model, seed)), **asked))
    return replace(comparison, references={**comparison.references, SHUFFLED: tuple(scores)})


def causal_score(
    rec: Recording,
    *,
    n_modules: int = 2,
    weighting: Weighting = "ncut",
    methods: Sequence[Method] = ("genetic", "annealing"),
    budget: int = 400,
    samples: int = 40,
    donors: Budget = SEARCH.donors,
    contexts: Budget = SEARCH.contexts,
    seed: int = 0,
) -> float:
    """The module score that `compare` finds with the same arguments, without all the rest."""
    draws = replace(SEARCH, donors=donors, contexts=contexts, seed=seed)
    meter = ExchangeMeter(rec, draws, Objective(weighting))
    used = divided_units(meter, n_modules)
    found, _ = of_graphs(
        graphs(rec, meter), used, k=n_modules, method="default", seed=seed, progress=False
    )
    starts = [c.partition for c in found.values() if c.partition.n_modules >= 2]
    asked: dict[str, Any] = {"n_modules": n_modules, "weighting": weighting, "budget": budget}
    asked |= {"seed": seed, "meter": meter, "samples": samples, "starts": starts}
    searches = [search(rec, method=method, **asked) for method in methods]
    return min(searches, key=lambda found: found.trail[:, 2].min()).score.ratio


def shuffled(model: nn.Module, seed: int) -> nn.Module:
    """A copy with the values of each parameter of two or more dimensions dealt to its places.

    Examples:
        >>> net = torch.nn.Linear(3, 2)
        >>> other = shuffled(net, 0)
        >>> bool((other.weight.flatten().sort()[0] == net.weight.flatten().sort()[0]).all())
        True
    """
    made = copy.deepcopy(model)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim >= 2:
                order = torch.randperm(weight.numel(), generator=draws).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return made


def _recorded(rec: Recording, model: nn.Module) -> Recording:
    """The same recording of another network."""
    given = list(zip(rec.keywords, rec.inputs, strict=True))
    named = {name: values for name, values in given if name is not None}
    plain = tuple(values for name, values in given if name is None)
    return record(
        model,
        rec.units.sites,
        (*plain, named) if plain and named else named or plain,
        rec.targets,
        loss=rec.loss,
        output=rec.output.key,
        mask=rec.padding.mask if rec.padding is not None else None,
        batch_size=rec.batch_size,
        device=rec.device,
    )
