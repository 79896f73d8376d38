"""The table of n-cuts on docs/compiled.md, from the saved rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
KINDS = {"mnist": "MNIST", "dropout": "with dropout", "halves": "halves"}
HEAD = (
    "| networks | stage | theirs: trained, shuffled | ours: trained, shuffled | z | accuracy "
    "(theirs, ours) | met |\n|---|---|---|---|---|---|---|"
)
NEAR = 0.15


def means(kind: str, stage: str) -> tuple[pd.Series, pd.Series]:
    """Means over the study's networks and over ours."""
    found = []
    for name in ("published", "cuts"):
        rows = pd.read_csv(RESULTS / f"{name}.csv")
        rows = rows[(rows["kind"] == kind) & (rows["stage"] == stage)]
        found.append(rows.drop(columns=["kind", "stage"]).mean())
    return found[0], found[1]


def met(theirs: pd.Series, ours: pd.Series) -> bool:
    """The rule of README.md: both numbers near, and the difference within a factor of two."""
    near = all(abs(ours[name] - theirs[name]) <= NEAR for name in ("cut", "shuffled"))
    factor = (ours["cut"] - ours["shuffled"]) / (theirs["cut"] - theirs["shuffled"])
    return bool(near and 0.5 <= factor <= 2)


def table() -> str:
    """One line a kind of network and stage, and what the issue's numbers are."""
    lines = [HEAD]
    for kind, title in KINDS.items():
        for stage in ("unpruned", "pruned"):
            theirs, ours = means(kind, stage)
            lines.append(
                f"| {title} | {stage} | {theirs['cut']:.2f}, {theirs['shuffled']:.2f} | "
                f"{ours['cut']:.2f}, {ours['shuffled']:.2f} | {ours['z']:.1f} | "
                f"{theirs['accuracy']:.3f}, {ours['accuracy']:.3f} | "
                f"{'yes' if met(theirs, ours) else 'no'} |"
            )
    return "\n".join(lines)


def both_stages(kind: str) -> tuple[float, float]:
    """The study's mean over unpruned and pruned networks: trained, shuffled."""
    found = pd.concat([means(kind, stage)[0] for stage in ("unpruned", "pruned")], axis=1)
    return float(found.loc["cut"].mean()), float(found.loc["shuffled"].mean())
