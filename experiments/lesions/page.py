"""Tables and figures of docs/lesions.md from the saved rows.

python -m experiments.lesions.page
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.common.effects import rank_correlation
from experiments.forcing.page import markdown
from experiments.lesions.study import GRAPHS, KEY, METHODS, PATH
from infoflow.plot import CAUSAL_COLOR, CHANCE_COLOR, DOWNSTREAM_COLOR, UPSTREAM_COLOR
from infoflow.study import Estimate, Table, estimate, load_table

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PREDICTORS = {
    "-exchange": "less_exchange",
    "-cut of the unit flows": "less_cut",
    **{f"Q {graph}": f"q_{graph}" for graph in GRAPHS},
}
QUANTITIES = {"errors": "specialisation", "loss": "by_loss", "change of outputs": "by_change"}


def rows() -> Table:
    """The saved rows, predictors signed so that more should mean more specialised."""
    table = load_table(PATH)
    return table.assign(less_exchange=-table["weighted"], less_cut=-table["cut"])


def correlations(
    table: Table,
    predictor: str = "less_exchange",
    quantity: str = "specialisation",
    *,
    random: bool = False,
    given: str | None = None,
) -> pd.Series:
    """Spearman's correlation over partitions, network by network; with `given` the partial one."""
    if random:
        table = table[table["method"] == "random"]

    def of_network(some: Table) -> float:
        fixed = None if given is None else some[given]
        return float(rank_correlation(some[predictor], some[quantity], fixed))

    return table.groupby(list(KEY)).apply(of_network, include_groups=False)


def verdict(over_all: Estimate, over_random: Estimate) -> str:
    """The rule of the README for question 1."""
    if over_all.positive and over_random.positive:
        return "yes" if min(over_all.mean, over_random.mean) >= 0.3 else "weakly"
    return "only for optimised partitions" if over_all.positive else "no"


def tracking(table: Table) -> Table:
    """What tells how specialised a partition's modules are."""
    found = []
    for name, column in PREDICTORS.items():
        made = [correlations(table, column, random=random) for random in (False, True)]
        held = correlations(table, column, given="damage")
        texts = [text(estimate(values)) for values in (*made, held)]
        found.append((name, *texts))
    names = ["predictor", "all 58", "random 40", "all 58, damage held fixed"]
    return pd.DataFrame(found, columns=names)


def by_family(table: Table) -> Table:
    """-exchange and specialisation, for each family and quantity."""
    found = []
    groups = {"all": table, **dict(list(table.groupby("family", sort=False)))}
    for family, some in groups.items():
        for name, column in QUANTITIES.items():
            if some[column].isna().all():
                continue
            known = some[some[column].notna()]
            over = [correlations(known, quantity=column, random=r) for r in (False, True)]
            found.append((family, name, len(over[0]), *(text(estimate(one)) for one in over)))
    return pd.DataFrame(found, columns=["networks", "by", "count", "all 58", "random 40"])


def standing(table: Table) -> Table:
    """Of each network and method its best partition beside the random ones: z of specialisation,
    share of random ones below it, exchange in that of the random ones."""
    found = []
    for names, some in table.groupby(list(KEY), sort=False):
        chance = some[some["method"] == "random"]
        for method in METHODS:
            own = some[(some["method"] == method) & (some["blur"] == 0)].iloc[0]
            spread = chance["specialisation"].std()
            z = (own["specialisation"] - chance["specialisation"].mean()) / spread
            found.append(
                {
                    **dict(zip(KEY, names, strict=True)),
                    "method": method,
                    "z": z,
                    "above": float((chance["specialisation"] < own["specialisation"]).mean()),
                    "bits": own["specialisation"],
                    "random_bits": chance["specialisation"].mean(),
                    "exchange": own["weighted"] / chance["weighted"].mean(),
                    "dissociated": own["dissociated"],
                }
            )
    return pd.DataFrame(found)


def methods(table: Table) -> Table:
    """Whose modules are specialised."""
    own = standing(table)
    wide = own.pivot_table(index=list(KEY), columns="method", values="z")
    found = []
    for method in METHODS:
        some = own[own["method"] == method]
        beside = "" if method == "causal" else text(estimate(wide["causal"] - wide[method]))
        found.append(
            (
                method,
                f"{some['exchange'].mean():.3f}",
                f"{some['bits'].mean():.3f}",
                text(estimate(some["z"])),
                f"{some['above'].mean():.2f}",
                beside,
            )
        )
    names = [
        "least, or largest", "exchange ÷ random", "specialisation, bits", "z among random",
        "random below", "causal - it, in z",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=names)


def in_families(table: Table) -> Table:
    """Specialisation in bits (by errors) of the best partitions and of random ones."""
    own = standing(table)
    wide = own.pivot_table(index="family", columns="method", values="bits", sort=False)
    made = wide[list(METHODS)].assign(
        random=own.groupby("family", sort=False)["random_bits"].mean()
    )
    pairs = own[own["method"] == "causal"].groupby("family", sort=False)["dissociated"].mean()
    chance = table[table["method"] == "random"].groupby("family", sort=False)["dissociated"].mean()
    made = made.map("{:.3f}".format).assign(
        **{
            "dissociated, causal": pairs.map("{:.2f}".format),
            "random ": chance.map("{:.2f}".format),
        }
    )
    return made.reset_index().rename(columns={"family": "networks"})


def text(found: Estimate) -> str:
    """An estimate with its interval, two digits."""
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def tables() -> list[str]:
    """The tables of the page, in order."""
    table = rows()
    made = (tracking(table), by_family(table), methods(table), in_families(table))
    return [markdown(one) for one in made]


def answer() -> str:
    """The verdict on question 1."""
    table = rows()
    over = [estimate(correlations(table, random=random)) for random in (False, True)]
    return verdict(over[0], over[1])


def draw(table: Table) -> None:
    """Specialisation beside exchange, family by family; and the methods' z."""
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(table["family"]))
    figure = Figure(figsize=(3.2 * len(families) + 4.2, 3.2), layout="constrained")
    axes = figure.subplots(1, len(families) + 1, width_ratios=[3] * len(families) + [3.6])
    for ax, family in zip(axes, families, strict=False):
        some = table[table["family"] == family]
        chance = some[some["method"] == "random"].groupby(list(KEY))
        mean = chance[["weighted", "specialisation"]].mean()
        own = some.set_index(list(KEY))
        x = own["weighted"] / mean["weighted"].reindex(own.index)
        y = own["specialisation"] - mean["specialisation"].reindex(own.index)
        for method, color in (("random", CHANCE_COLOR), ("other", UPSTREAM_COLOR),
                              ("causal", CAUSAL_COLOR)):  # fmt: skip
            is_it = own["method"] == method
            if method == "other":
                is_it = ~own["method"].isin(["random", "causal"])
            ax.scatter(x[is_it], y[is_it], s=5, color=color, alpha=0.6, linewidths=0, label=method)
        ax.axhline(0, color="0.7", lw=0.6)
        ax.set_title(family, fontsize=9)
        ax.set_xlabel("exchange ÷ mean of random", fontsize=8)
        ax.tick_params(labelsize=7)
    axes[0].set_ylabel("specialisation above random, bits", fontsize=8)
    axes[0].legend(fontsize=7)
    own = standing(table)
    for place, method in enumerate(METHODS[::-1]):
        found = estimate(own[own["method"] == method]["z"])
        color = DOWNSTREAM_COLOR if method in ("Q o_sens", "Q hess_norm") else UPSTREAM_COLOR
        color = CAUSAL_COLOR if method == "causal" else color
        axes[-1].hlines(place, found.low, found.high, color=color, lw=2)
        axes[-1].plot(found.mean, place, "o", color=color)
    axes[-1].set_yticks(range(len(METHODS)), METHODS[::-1], fontsize=8)
    axes[-1].axvline(0, color=CHANCE_COLOR, lw=0.8)
    axes[-1].set_xlabel("z of specialisation among random", fontsize=8)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "lesions.png", dpi=110)


if __name__ == "__main__":
    print(f"{len(np.unique(rows()[list(KEY)].astype(str).agg(' '.join, axis=1)))} networks")
    print("\n\n".join([*tables(), answer()]))
    print("damage and exchange:", text(estimate(-correlations(rows(), quantity="damage"))))
    draw(rows())
