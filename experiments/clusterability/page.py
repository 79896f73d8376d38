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


def means(kind: str, stage: str, epsilon: float | None = None) -> pd.Series:
    """Means over our networks trained with an epsilon of Adam; None: over the study's."""
    rows = pd.read_csv(RESULTS / ("published.csv" if epsilon is None else "cuts.csv"))
    rows = rows.query("kind == @kind and stage == @stage")
    if epsilon is not None:
        rows = rows.query("epsilon == @epsilon")
    return rows.drop(columns=["kind", "stage"]).mean()


def met(theirs: pd.Series, ours: pd.Series) -> bool:
    """The rule of README.md: both numbers near, and the difference within a factor of two."""
    near = all(abs(ours[name] - theirs[name]) <= NEAR for name in ("cut", "shuffled"))
    factor = (ours["cut"] - ours["shuffled"]) / (theirs["cut"] - theirs["shuffled"])
    return bool(near and 0.5 <= factor <= 2)


def table() -> str:
    """One line a kind of network and stage; last the network that was trained otherwise."""
    lines = [HEAD]
    found = [(kind, title, 1e-7) for kind, title in KINDS.items()]
    found += [("mnist", "MNIST, epsilon 1e-8, 12 epochs", 1e-8)]
    for kind, title, epsilon in found:
        for stage in ("unpruned", "pruned"):
            theirs, ours = means(kind, stage), means(kind, stage, epsilon)
            if ours.isna().all():
                continue
            lines.append(
                f"| {title} | {stage} | {theirs['cut']:.2f}, {theirs['shuffled']:.2f} | "
                f"{ours['cut']:.2f}, {ours['shuffled']:.2f} | {ours['z']:.1f} | "
                f"{theirs['accuracy']:.3f}, {ours['accuracy']:.3f} | "
                f"{'yes' if met(theirs, ours) else 'no'} |"
            )
    return "\n".join(lines)


def both_stages(kind: str) -> tuple[float, float]:
    """The study's mean over unpruned and pruned networks: trained, shuffled."""
    found = pd.concat([means(kind, stage) for stage in ("unpruned", "pruned")], axis=1)
    return float(found.loc["cut"].mean()), float(found.loc["shuffled"].mean())
