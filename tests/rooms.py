"""Through which files of the package a call goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import infoflow

_ROOT = Path(infoflow.__file__).parent


def files_entered(call: Callable[[], Any]) -> list[str]:
    """The package's files of which a function ran in this thread, in the order first entered."""
    found: dict[str, None] = {}

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(_ROOT)):
            found[str(Path(path).relative_to(_ROOT))] = None

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(found)
