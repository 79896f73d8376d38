"""What the paper says, claim by claim, beside what the saved rows say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.common.effects import strong_minus_weak
from experiments.lange2022.networks import LEAST_ACCURACY
from experiments.lange2022.rows import NETWORK, agreement, clusterable
from infoflow.study import Estimate, Table, estimate
from infoflow.unit_similarity import DOWNSTREAM, MEASURES, UPSTREAM

FAMILIES = ("l2", "l1", "dropout")
EDGE = 3  # settings at each end of a family that stand for weak and strong regularisation

Verdict = Literal["replicated", "partly", "not"]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        text: What it says.
        numbers: Ours, with intervals.
        verdict: By the rule given in `claims`.
    """

    text: str
    numbers: str
    verdict: Verdict


@dataclass(frozen=True)
class Tables:
    """The rows, and the tables that claims are read from."""

    rows: Table
    agreement: Table

    def q(self, column: str = "q_star") -> Callable[..., dict[str, Estimate]]:
        """Strong minus weak regularisation in `column`, of chosen measures and layers."""

        def change(
            measures: Sequence[str] = MEASURES, layers: Sequence[str] = ("fc1", "fc2")
        ) -> dict[str, Estimate]:
            some = clusterable(self.rows)
            some = some[some["measure"].isin(measures) & some["layer"].isin(layers)]
            return {f: estimate(_change(some, f, column)) for f in FAMILIES}

        return change


def _change(rows: Table, family: str, column: str) -> Table:
    """Strong minus weak regularisation of one kind, per seed."""
    return strong_minus_weak(rows[rows["family"] == family], column, ends=EDGE)


def pairs_of(kind: str) -> list[str]:
    """Names of the pairs of measures of one kind."""

    def base(name: str) -> str:
        return name.removesuffix("_norm")

    found = {"upstream": [], "downstream": [], "across": [], "normalised": [], "moment": []}
    for i, a in enumerate(MEASURES):
        for b in MEASURES[i + 1 :]:
            families = {"upstream" if m in UPSTREAM else "downstream" for m in (a, b)}
            found["across" if len(families) == 2 else families.pop()].append(f"{a}|{b}")
            if base(a) == base(b):
                found["normalised"].append(f"{a}|{b}")
            elif (a in UPSTREAM) == (b in UPSTREAM):
                found["moment"].append(f"{a}|{b}")
    return found[kind]


def _by_seed(table: Table, pairs: Sequence[str]) -> Table:
    """Mean agreement of each seed's trained networks."""
    trained = table[table["family"] != "untrained"]
    return trained[list(pairs)].mean(axis=1).groupby(trained["seed"]).mean()


def _untrained(table: Table, pairs: Sequence[str]) -> float:
    return float(table.loc[table["family"] == "untrained", list(pairs)].mean().mean())


def _verdict(*met: bool) -> Verdict:
    return "replicated" if all(met) else "partly" if any(met) else "not"


def claims(rows: Table, *, partition: str = "partition") -> list[Claim]:
    """All claims. A claim about a direction is met where the whole interval lies on its side of 0;
    one of several parts is `partly` replicated where some of them are met.

    Args:
        rows: From `load_rows`.
        partition: `"partition_default"` takes the clusters of our default optimiser.
    """
    column = "q_star" if partition == "partition" else "q_default"
    tables = Tables(rows, agreement(rows, partition=partition))
    return [*_of_q(tables, column), *_of_agreement(tables), *_of_clusters(tables, partition)]


def without_unused(rows: Table, *, partition: str = "partition") -> list[Claim]:
    """The claims about agreement once more, units unused in either clustering left out."""
    return _of_agreement(Tables(rows, agreement(rows, partition=partition, unused="drop")))


def _of_q(tables: Tables, column: str) -> list[Claim]:
    change = tables.q(column)
    every, up, down = change(), change(UPSTREAM), change(DOWNSTREAM)
    some = clusterable(tables.rows)
    per_seed = {f: _change(some, f, column) for f in FAMILIES}
    over_l2 = estimate(per_seed["dropout"] - per_seed["l2"])
    over_l1 = estimate(per_seed["dropout"] - per_seed["l1"])
    upstream = some[some["measure"].isin(UPSTREAM)]
    layer = {
        name: _change(upstream[upstream["layer"] == name], "dropout", column)
        for name in ("fc1", "fc2")
    }
    first = estimate(layer["fc1"] - layer["fc2"])
    kind = estimate(
        _change(upstream, "dropout", column)
        - _change(some[some["measure"].isin(DOWNSTREAM)], "dropout", column)
    )
    return [
        Claim(
            "Dropout raises Q* most of the three",
            f"change in Q*, strong − weak: dropout {every['dropout']}, L2 {every['l2']}, L1 "
            f"{every['l1']}; dropout − L2 {over_l2}, dropout − L1 {over_l1}",
            _verdict(every["dropout"].positive, over_l2.positive, over_l1.positive),
        ),
        Claim(
            "... most apparent in the upstream measures",
            f"dropout: upstream {up['dropout']}, downstream {down['dropout']}; difference {kind}",
            _verdict(kind.positive),
        ),
        Claim(
            "... and stronger in the first layer",
            f"dropout, upstream measures: layer 1 − layer 2 {first}",
            _verdict(first.positive),
        ),
        Claim(
            "L2 raises Q*",
            f"all measures {every['l2']}; upstream {up['l2']}, downstream {down['l2']}",
            _verdict(up["l2"].positive, down["l2"].positive),
        ),
        Claim(
            "L1 has a weak effect, like L2's",
            f"all measures {every['l1']}; L1 − L2 {estimate(per_seed['l1'] - per_seed['l2'])}; "
            f"L1 − dropout {estimate(per_seed['l1'] - per_seed['dropout'])}",
            _verdict(over_l1.positive, abs(every["l1"].mean) < 0.5 * abs(every["dropout"].mean)),
        ),
    ]


def _of_agreement(tables: Tables) -> list[Claim]:
    table = tables.agreement
    mean = {
        kind: _by_seed(table, pairs_of(kind))
        for kind in ("upstream", "downstream", "across", "normalised", "moment")
    }
    before = {kind: _untrained(table, pairs_of(kind)) for kind in mean}
    rise = {kind: estimate(mean[kind] - before[kind]) for kind in mean}
    up, down = (estimate(mean[kind] - mean["across"]) for kind in ("upstream", "downstream"))
    split = 0.5 * (mean["upstream"] + mean["downstream"]) - mean["across"]
    split_before = 0.5 * (before["upstream"] + before["downstream"]) - before["across"]
    narrower = estimate(split - split_before)
    same = estimate(mean["normalised"] - mean["moment"])
    level = {kind: f"{mean[kind].mean():.3f}" for kind in mean}
    return [
        Claim(
            "Clusters agree within upstream and within downstream measures, little across",
            f"agreement: upstream {level['upstream']}, downstream {level['downstream']}, across "
            f"{level['across']}; upstream − across {up}, downstream − across {down}",
            _verdict(up.positive, down.positive),
        ),
        Claim(
            "Normalising matters little; moments and gradients differ moderately",
            f"agreement of S with Ŝ {level['normalised']}, of moment with gradient measures of one "
            f"family {level['moment']}; difference {same}",
            _verdict(same.positive),
        ),
        Claim(
            "Training raises the agreement of upstream measures; downstream structure is there "
            "before",
            f"trained − untrained: upstream {rise['upstream']}, downstream {rise['downstream']}",
            _verdict(
                rise["upstream"].positive, abs(rise["downstream"].mean) < rise["upstream"].mean / 2
            ),
        ),
        Claim(
            "Training attenuates the split of upstream and downstream slightly",
            f"within − across: untrained {split_before:+.3f}, trained {split.mean():+.3f}, change "
            f"{narrower}; across, trained − untrained {rise['across']}",
            _verdict(narrower.negative),
        ),
        *_of_strength(table),
    ]


def _of_strength(table: Table) -> list[Claim]:
    """Figure S5: agreement over the strength of regularisation."""
    norm_down = [f"{m}|{m}_norm" for m in ("o_sens", "hess")]
    plain = [pair for pair in pairs_of("across") if not pair.endswith("_norm")]

    def change(pairs: Sequence[str]) -> dict[str, Estimate]:
        with_mean = table.assign(mean=table[list(pairs)].mean(axis=1))
        return {f: estimate(_change(with_mean, f, "mean")) for f in FAMILIES}

    up, normalised, across = change(pairs_of("upstream")), change(norm_down), change(plain)
    return [
        Claim(
            "Agreement of upstream measures grows with regularisation",
            "strong − weak: " + ", ".join(f"{f} {up[f]}" for f in FAMILIES),
            _verdict(*(up[f].positive for f in FAMILIES)),
        ),
        Claim(
            "Strong L2 and L1 make downstream clusters depend on normalisation",
            "agreement of S with Ŝ, downstream, strong − weak: "
            + ", ".join(f"{f} {normalised[f]}" for f in ("l2", "l1")),
            _verdict(normalised["l2"].negative, normalised["l1"].negative),
        ),
        Claim(
            "Strong L1 brings upstream and unnormalised downstream clusters together",
            f"agreement across, unnormalised downstream, strong − weak: l1 {across['l1']}",
            _verdict(across["l1"].positive),
        ),
    ]


def _of_clusters(tables: Tables, partition: str) -> list[Claim]:
    some = clusterable(tables.rows)
    suffix = "" if partition == "partition" else "_default"
    column = f"n_effective{suffix}"
    trained = some.loc[some["trained"], column]
    inside = float(trained.between(2, 6).mean())
    change = tables.q(column)()
    found = [
        Claim(
            "2 to 6 clusters, little changed by training and regularisation",
            f"trained: {100 * inside:.1f} % in 2–6, median {trained.median():.2f} (untrained "
            f"{some.loc[~some['trained'], column].median():.2f}); strong − weak: "
            + ", ".join(f"{f} {change[f]}" for f in FAMILIES),
            _verdict(inside > 0.9, all(abs(change[f].mean) < 1 for f in FAMILIES)),
        )
    ]
    return (
        found if suffix else [*found, _both_halves(some), _discarded(tables.rows), _sparsity(some)]
    )


def _both_halves(some: Table) -> Claim:
    """Figure S2."""
    parts, gains = [], {}
    for half in ("q_spectral", "q_monte_carlo_1000", "q_monte_carlo"):
        difference = some["q_star"] - some[half]
        gains[half] = difference
        at_least = 100 * float((difference >= -1e-12).mean())
        relative = 100 * difference.mean() / some[half].mean()
        parts.append(f"{half[2:]} alone: both ≥ it in {at_least:.1f} %, mean gain {relative:.1f} %")
    return Claim(
        "Both halves of the clustering matter: never below either alone",
        "; ".join(parts),
        _verdict(
            bool((gains["q_spectral"] >= -1e-12).all()),
            bool((gains["q_monte_carlo_1000"] >= -1e-12).all()),
            gains["q_monte_carlo"].mean() > 0,
        ),
    )


def _discarded(rows: Table) -> Claim:
    networks = rows[rows["trained"]].drop_duplicates(NETWORK)
    low = networks[networks["test_accuracy"] < LEAST_ACCURACY]
    strongest = bool((low["percent"] >= 75).all()) and not (low["family"] == "dropout").any()
    least = ", ".join(f"{f} {p:.0f} %" for f, p in low.groupby("family")["percent"].min().items())
    return Claim(
        "21 of 270 networks (8 %) fall below 80 % test accuracy, only at extreme regularisation",
        f"{len(low)} of {len(networks)} ({100 * len(low) / len(networks):.1f} %); least percent "
        f"regularisation among them: {least}",
        _verdict(strongest, len(low) / len(networks) < 0.12),
    )


def _sparsity(some: Table) -> Claim:
    """Figure S1, bottom row."""
    networks = some.drop_duplicates(NETWORK)
    mean = networks.groupby(["family", "seed"])["sparsity"].mean()
    difference = estimate(mean["l1"] - mean["l2"])
    ends = {f: networks.loc[networks["family"] == f, "sparsity"] for f in ("l1", "l2")}
    ranges = ", ".join(f"{f} {s.min():.2f} to {s.max():.2f}" for f, s in ends.items())
    return Claim(
        "L1 and L2 give fairly commensurate sparsity",
        f"share of |W| ≤ 0.001: {ranges}; means, L1 − L2 {difference}".replace("|", "\\|"),
        _verdict(abs(difference.mean) < 0.1),
    )


def page(rows: Table) -> str:
    """All tables of claims: by the paper's clustering, and by our default one, each with unused
    units as a cluster and left out."""
    heading = "With the default optimiser of `find_modules` in place of the paper's clustering:"
    left_out = "Claims about agreement, units unused in either clustering left out:"
    parts = []
    for partition in ("partition", "partition_default"):
        parts += [heading] if parts else []
        parts += [to_markdown(claims(rows, partition=partition)), left_out]
        parts += [to_markdown(without_unused(rows, partition=partition))]
    return "\n\n".join(parts) + "\n"


def to_markdown(found: Sequence[Claim]) -> str:
    """A table of claims, numbers and verdicts."""
    lines = ["| The paper | Here | Verdict |", "|---|---|---|"]
    lines += [f"| {c.text} | {c.numbers} | {c.verdict} |" for c in found]
    return "\n".join(lines)
