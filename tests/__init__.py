"""Tests; shapes of public arrays are checked while they run."""

import os

os.environ.setdefault("INFOFLOW_CHECK_SHAPES", "1")
