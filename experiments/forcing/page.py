"""Tables of docs/what_b_does.md from the saved rows."""

from __future__ import annotations

import pandas as pd

from experiments.forcing import direct, ranks


def markdown(table: pd.DataFrame) -> str:
    """The table as the page has it."""
    rows = [
        list(table.columns),
        ["---"] * len(table.columns),
        *table.astype(str).to_numpy().tolist(),
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def tables() -> list[str]:
    """The tables of the page, in order."""
    return [
        markdown(ranks.summary(pd.read_csv(ranks.PATH))),
        markdown(direct.summary(pd.read_csv(direct.PATH))),
    ]


if __name__ == "__main__":
    print("\n\n".join(tables()))
