"""Where the rows of this study are."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
