"""The tables of docs/how_many.md, from the saved rows.

python -m experiments.how_many.page    # prints them
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from experiments.how_many.nothing import KINDS
from experiments.how_many.rows import RESULTS
from experiments.weightings.table import wilson

PAGE = Path(__file__).parents[2] / "docs/how_many.md"
HEADING = "## All numbers\n\n"


def share(hits: Any) -> str:
    """A share with its 95 % Wilson interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def recovery(rows: Any) -> str:
    """How often the number is right, and how near the partitions are to the tracks."""
    parts = [("1 (nothing planted)", rows[rows["k"] == 1])]
    weak = rows[rows["cross"] <= 0.1]
    parts += [(str(k), weak[weak["k"] == k]) for k in range(2, 9)]
    parts += [("**all**", weak)]
    linked = weak[weak["k"] > 1]
    parts += [(f"links {c:g}", linked[linked["cross"] == c]) for c in sorted({*linked["cross"]})]
    strong = rows[rows["cross"] > 0.1]
    if len(strong):
        parts += [("links 0.25", strong)]
    lines = [
        [
            name,
            str(len(part)),
            share(part["found"] == part["k"]),
            f"{(part['found'] < part['k']).sum()} / {(part['found'] > part['k']).sum()}",
            f"{part['ari_counted'].mean():.3f}",
            f"{part['ari'].mean():.3f}",
            "" if part["ari_given"].isna().all() else f"{part['ari_given'].mean():.3f}",
        ]
        for name, part in parts
        if len(part)
    ]
    header = ["tracks", "networks", "right number", "too few / many", "ARI of the count",
              "ARI searched", "ARI, number given"]  # fmt: skip
    return table(header, lines)


def false_alarms(rows: Any) -> str:
    """Networks in which nothing is planted."""
    rows = rows[rows["kind"].isin(KINDS)]
    parts = [(kind, rows[rows["kind"] == kind]) for kind in sorted({*rows["kind"]})]
    lines = [
        [
            name,
            str(len(part)),
            share(part["p_value"] <= 0.05),
            share(part["p_value"] <= 0.01),
            share(part["counted"] > 1),
            f"{part['p_value'].mean():.2f}",
            share(part["p_shuffled"].dropna() <= 0.05),
        ]
        for name, part in [*parts, ("**all**", rows)]
    ]
    header = ["network", "networks", "p ≤ .05", "p ≤ .01", "more than one counted", "mean p",
              "`shuffled_units` after a search, p ≤ .05"]  # fmt: skip
    return table(header, lines)


def power(rows: Any) -> str:
    """Two tracks."""
    rows = rows[rows["kind"] == "tracks"]
    lines = [
        [f"{cross:g}", str(len(part)), share(part["p_value"] <= 0.05), share(part["counted"] == 2)]
        for cross, part in rows.groupby("cross")
    ]
    return table(["links", "networks", "p ≤ .05", "two counted"], lines)


def trained(rows: Any) -> str:
    """Networks trained on digits."""
    rows = rows[rows["kind"].str.startswith("digits")]
    lines = [
        [
            f"{width} + {width}",
            ", ".join(f"{p:g}" for p in part["p_value"]),
            ", ".join(map(str, part["counted"])),
        ]
        for width, part in rows.groupby(rows["kind"].str.split().str[1].astype(int))
    ]
    return table(["units", "p of five networks", "modules counted"], lines)


def sureness(rows: Any) -> str:
    """Repeated searches."""

    def line(name: str, part: Any) -> list[str]:
        units, sure = part["units"].sum(), part["sure"].sum()
        unsure = units - sure
        return [
            name,
            str(len(part)),
            f"{part['ari'].mean():.3f}",
            f"{part['ari_agreed'].mean():.3f}",
            f"{part['right'].sum() / units:.3f}",
            f"{sure / units:.2f}",
            f"{part['right_sure'].sum() / sure:.3f}" if sure else "",
            f"{part['right_unsure'].sum() / unsure:.3f}" if unsure else "",
            f"{part['nowhere'].sum() / units:.3f}",
        ]

    lines = [line(f"{cross:g}", part) for cross, part in rows.groupby("cross")]
    header = ["links", "networks", "ARI, one search", "ARI of what ten agree on", "units right",
              "units sure", "right if sure", "right if not", "nowhere"]  # fmt: skip
    return table(header, [*lines, line("**all**", rows)])


def rules(rows: Any) -> str:
    """Other rules, on tuning networks."""
    kinds = [
        ("nothing planted", rows["k"] == 1),
        ("2 to 4 tracks", rows["k"].between(2, 4) & (rows["cross"] <= 0.1)),
        ("5 to 8 tracks", (rows["k"] > 4) & (rows["cross"] <= 0.1)),
        ("links 0.25", rows["cross"] > 0.1),
    ]
    lines = [
        [str(rule), *(f"{part.loc[kind, 'right'].mean():.2f}" for _, kind in kinds)]
        for rule, part in rows.groupby("rule", sort=False)
    ]
    counts = [f"{name} ({int(kind.sum() / rows['rule'].nunique())})" for name, kind in kinds]
    return table(["rule", *counts], lines)


PARTS = {
    "Planted tracks, fresh networks": ("fresh.csv", recovery),
    "Nothing planted": ("nothing.csv", false_alarms),
    "Power": ("nothing.csv", power),
    "Trained on digits": ("nothing.csv", trained),
    "Repeated searches": ("sureness.csv", sureness),
    "Other rules, on tuning networks": ("candidates.csv", rules),
}


def page(results: Path = RESULTS) -> str:
    """All tables under their headings, of the files that are there."""
    found = [
        f"### {title}\n\n{write(pd.read_csv(results / name))}"
        for title, (name, write) in PARTS.items()
        if (results / name).exists()
    ]
    return "\n".join(found)


def main() -> None:
    """Write the tables into the page."""
    text = PAGE.read_text(encoding="utf-8").split(HEADING)[0]
    PAGE.write_text(text + HEADING + page(), encoding="utf-8")


if __name__ == "__main__":
    main()
