"""What a report says in words: three sentences that follow from the tables by rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from infoflow.comparing import CAUSAL, Comparison
from infoflow.plot.ink import shortened
from infoflow.searching import SearchResult

if TYPE_CHECKING:
    import pandas as pd

    from infoflow.units import UnitSpace

LEVELS = ("misleads", "hardly tells", "partly tells", "largely tells")
NOTHING = "nothing to tell"
References = Mapping[str, Sequence[float]]
"""Module scores of networks to compare with, by what they are ("untrained networks")."""


def finding(comparison: Comparison | SearchResult, references: References | None = None) -> str:
    """In three sentences: which modules, what they send each other, would Q have told.

    Every number in it is in the tables. All scores are those of `Comparison.partitions`, measured
    beside the same random partitions on draws that the search did not see.

    Args:
        comparison: What `compare` returned; of a search by itself there is no third sentence.
        references: Module scores of untrained or shuffled networks, searched in the same way,
            beside those that the comparison has.
    """
    return " ".join(three_sentences(comparison, known_references(comparison, references)))


def known_references(
    result: Comparison | SearchResult, given: References | None
) -> dict[str, Sequence[float]]:
    """The comparison's own references and those given."""
    own = result.references if isinstance(result, Comparison) else {}
    return {**own, **(given or {})}


def three_sentences(
    result: Comparison | SearchResult, references: References, units: UnitSpace | None = None
) -> list[str]:
    """The sentences of `finding`."""
    if isinstance(result, SearchResult):
        score = result.score
        facts = {
            "score": score.ratio, "score_se": score.ratio_se, "isolated": score.isolated,
            "bits": result.exchange.bits,
            "bits_given_context": result.exchange.bits_given_context,
        }  # fmt: skip
        if result.partition.n_modules < 2:
            p = f" (p = {result.count.p_value:.2g})" if result.count else ""
            return [
                f"No modules were found: the flows between units show no more structure than "
                f"shuffled ones do{p}.",
                "One module exchanges nothing with any other, so that there is no score.",
            ]
        which = _which(result, units)
        return [which, _sent(facts, result.weighting, references)]
    best: dict[str, Any] = result.partitions.loc[CAUSAL].to_dict()
    which = _which(result.search, result.rec.units)
    found = [which, _sent(best, result.weighting, references, _undercut(result))]
    return [*found, told] if (told := _told(result)) else found


def verdict(rho: float, score: float, best: float) -> str:
    """Would Q of a measure have told which division exchanges least?

    - "nothing to tell": no division was found with a score above 1.05.
    - "misleads": Q ranks partitions the wrong way round (Spearman below -0.3), or the division of
      largest Q exchanges more than random ones (score below 0.95).
    - "largely", "partly" (else "hardly") "tells": both the correlation and the share that the
      division of largest Q reaches of the search's reduction, (1 - 1/score) / (1 - 1/best), are
      above 0.7, 0.3.

    Args:
        rho: Spearman's correlation of Q with -exchange.
        score: Module score of the division of largest Q; nan if there is none.
        best: Module score of the causal search.

    Examples:
        >>> verdict(0.8, 1.9, 2.0), verdict(0.8, 1.2, 2.0), verdict(0.5, 0.5, 1.2)
        ('largely tells', 'partly tells', 'misleads')
    """
    if not best > 1.05:
        return NOTHING
    if rho < -0.3 or score < 0.95:
        return "misleads"
    reached = (1 - 1 / score) / (1 - 1 / best) if score == score else rho
    least = min(rho, reached)
    return f"{'largely' if least > 0.7 else 'partly' if least > 0.3 else 'hardly'} tells"


def verdicts(comparison: Comparison) -> dict[str, str]:
    """The verdict on Q of each similarity measure, the most telling first."""
    best = float(comparison.partitions["score"].to_dict()[CAUSAL])
    scores = of_largest_q(comparison)["score"].to_dict()
    found = {
        name: verdict(rho, float(scores.get(name, np.nan)), best)
        for name, rho in comparison.tracking.items()
    }
    order = (*LEVELS, NOTHING)
    return dict(sorted(found.items(), key=lambda item: -order.index(item[1])))


def score_verdict(row: Mapping[str, Any], references: References | None = None) -> str:
    """What a module score says: by itself it is a ratio to the mean of random divisions.

    "like random" within 0.05 or two standard errors of 1. References, scores that networks without
    learnt modules reach in the same search, say more: any search beats the mean of random
    divisions, in any network.

    Args:
        row: `score`, `isolated`; `score_se`, `p_same_size` where known.
        references: Scores of networks to compare with; for the best of a search only.

    Examples:
        >>> score_verdict({"score": 1.15, "isolated": False})
        'exchanges less than random'
        >>> score_verdict({"score": 1.15, "isolated": False}, {"untrained networks": [1.1, 1.2]})
        'exchanges less than random, no more modular than untrained networks (1.10 to 1.20)'
    """
    score = row["score"]
    if np.isnan(score):
        return "one module"
    error = row.get("score_se", 0.0)
    margin = max(0.05, 2 * error if np.isfinite(error) else 0.0)
    if row["isolated"]:
        said = "isolated"
    elif abs(score - 1) <= margin:
        said = "like random"
    else:
        said = f"exchanges {'less' if score > 1 else 'more'} than random"
    compared = [_against(score, name, known) for name, known in (references or {}).items()]
    return ", ".join([said, *compared])


def _against(score: float, name: str, known: Iterable[float]) -> str:
    values = sorted(float(v) if v == v else 1.0 for v in known)  # nan: no modules were found
    spread = f"({values[0]:.2f} to {values[-1]:.2f})"
    if score > values[-1]:
        return f"more modular than all {len(values)} {name} {spread}"
    return f"{'no more' if score >= values[0] else 'less'} modular than {name} {spread}"


def _which(search: SearchResult, units: UnitSpace | None) -> str:
    partition = search.partition
    k, used = partition.n_modules, int(partition.sizes.sum())
    if k > 6:
        sizes = f"{int(partition.sizes.min())} to {int(partition.sizes.max())} units each"
        return f"The search divides {used} units into {k} modules of {sizes}."
    parts = [
        f"module {name} ({composition(units, module)})"
        for name, module in zip(partition.names, partition.modules, strict=True)
    ]
    return f"The search divides {used} units into {k} modules: {listed(parts)}."


def composition(units: UnitSpace | None, module: np.ndarray) -> str:
    """How many units of each layer a module has."""
    parts = units.by_layer(module) if units is not None else {}
    if units is None or not 1 < len(parts) <= 4:
        across = f" in {len(parts)} layers" if len(parts) > 1 else ""
        return f"{len(module)} units{across}"
    short = dict(zip(units.layers, shortened(units.layers), strict=True))
    return ", ".join(f"{len(inside)} of {short[layer]}" for layer, inside in parts.items())


def listed(parts: Sequence[str]) -> str:
    """Names in a sentence.

    Examples:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _sent(
    best: Mapping[str, Any], weighting: str, references: References, undercut: str = ""
) -> str:
    """What the modules send each other, and what exchanges still less."""
    if best["isolated"]:
        return (
            "They send each other nothing that can be detected: whatever one is forced to do, the "
            "others do not notice."
        )
    saved = 100 * (1 - 1 / best["score"])
    return (
        f"They send each other {best['bits_given_context']:.1f} bits given the context "
        f"({best['bits']:.1f} plain); weighted by {weighting} that is {abs(saved):.0f} % "
        f"{'less' if saved >= 0 else 'more'} than random divisions (module score "
        f"{best['score']:.2f}: {score_verdict(best, references)}){undercut}."
    )


def _undercut(comparison: Comparison) -> str:
    """Where a division that was not searched for exchanges less on fresh draws, that is said."""
    table = comparison.partitions
    best = table.loc[CAUSAL]
    rival = table["origin"].isin(["Q*", "n-cut", "given"])
    scores = table.loc[rival & (table["n_modules"] == best["n_modules"]), "score"].to_dict()
    name, score = max(scores.items(), key=lambda item: item[1], default=("", 0.0))
    if not score > float(best["score"]) + 2 * float(np.nan_to_num(best["score_se"])):
        return ""
    return f"; “{name}” exchanges still less (score {score:.2f})"


def _told(comparison: Comparison) -> str:
    """Would Q have told: the middle verdict, as nobody knows beforehand which measure to take."""
    found = verdicts(comparison)
    if not found:
        return ""
    middle = list(found.values())[len(found) // 2]
    if middle == NOTHING:
        return "There was nothing for Q to tell: no division found beats random ones by 5 %."
    tracked, scores = comparison.tracking, of_largest_q(comparison)["score"].to_dict()
    counts = [
        f"under {n} it {level}"
        for level in LEVELS[::-1]
        if (n := sum(said == level for said in found.values()))
    ]
    top, least = next(iter(tracked)), list(tracked)[-1]
    own = {name: f"score {scores[name]:.2f}" if name in scores else "" for name in (top, least)}
    ends = [
        f"{what} is {name} (Spearman {tracked[name]:.2f}{', ' if own[name] else ''}{own[name]})"
        for what, name in (("the best", top), ("the worst", least))
    ]
    among = f", by the middle one of {len(found)} similarity measures" if len(found) > 1 else ""
    spread = f" ({listed(counts)})" if len(counts) > 1 else ""
    ends = f"; {', '.join(ends)}" if len(found) > 1 else f"; {ends[0].removeprefix('the best is ')}"
    return f"Would Q have told? Q {middle}{among}{spread}{ends}."


def of_largest_q(comparison: Comparison) -> pd.DataFrame:
    """Rows of the partitions into as many modules as the search's that maximise Q, by measure."""
    table = comparison.partitions
    k = table.loc[CAUSAL, "n_modules"]
    rows = table.loc[(table["origin"] == "Q*") & (table["k"] == k) & table["score"].notna()]
    return rows.set_index("measure")


def more_about_q(comparison: Comparison) -> list[str]:
    """What stands behind the third sentence."""
    tracked = comparison.tracking
    if not tracked:
        return []
    top = next(iter(tracked))
    rivals = of_largest_q(comparison)
    equal = comparison.spearman(kind="same sizes").get(top)
    others = comparison.spearman(others=True)
    found = [
        f"Over partitions of all qualities Q under {top} ranks them most like their exchange does "
        f"(Spearman {tracked[top]:.2f})"
        + ("." if equal is None else f"; among random ones of equal sizes it reaches {equal:.2f}.")
    ]
    name = next(iter(others), "")
    if name and others[name] > tracked[top]:
        found.append(f"{name} tells more than any of them ({others[name]:.2f}).")
    measured = rivals.loc[rivals.index.isin(list(tracked))]
    if len(measured):
        worse = int((measured["score"] < 1).sum())
        found.append(
            f"Under {worse} of {len(measured)} measures the division of largest Q exchanges more "
            "than random divisions do."
        )
    return [*found, *_closest(comparison, rivals)]


def _closest(comparison: Comparison, rivals: pd.DataFrame) -> list[str]:
    """Of the partitions of largest Q, that which exchanges least."""
    if rivals.empty:
        return []
    name = str(rivals["score"].idxmax())
    table = comparison.partitions
    chance = table.loc[table["origin"] == "random", "agreement_with_causal"].mean()
    return [
        f"That of {name} exchanges least (module score {rivals['score'][name]:.2f}; causal search "
        f"{table.loc[CAUSAL, 'score']:.2f}) and agrees with the causal one to "
        f"{rivals['agreement_with_causal'][name]:.2f} (random partitions: {chance:.2f})."
    ]
