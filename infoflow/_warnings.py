"""Warnings that point at the user's own line, however deep they arise."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

import torch

_ON_THE_WAY = (str(Path(__file__).parent), str(Path(torch.__file__).parent), contextlib.__file__)


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn where this package was called from."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_ON_THE_WAY):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
