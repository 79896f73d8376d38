"""The table of docs/what_b_does.md, *Subspaces*, from the saved rows."""

from __future__ import annotations

import pandas as pd

from experiments.bases import rotation
from experiments.forcing.page import markdown


def table() -> str:
    """The table as the page has it."""
    return markdown(rotation.summary(pd.read_csv(rotation.PATH)))


if __name__ == "__main__":
    print(table())
