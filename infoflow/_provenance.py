"""What made a result: the code's commit, and versions of what decides the numbers."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    import infoflow  # its own version, also where it runs from a checkout

    found = {"python": platform.python_version(), "infoflow": infoflow.__version__}
    for name in ("torch", "numpy", "scipy", "pandas", "scikit-learn", "clusim"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str:
    """The commit this code is at, `+` after it where files were changed since; "" where it does
    not run from its own checkout (installed, it may lie inside another project's)."""
    import subprocess

    here = Path(__file__).parent.parent
    if not (here / ".git").exists() or not (here / "pyproject.toml").is_file():
        return ""
    # no hook of anybody's: a status is all that is wanted
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "describe"]
    command += ["--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def without_paths(text: str) -> str:
    """A traceback as it may be shown to others: where this package, the working folder, Python and
    the user's home lie is left out."""
    own = [(Path.cwd(), "."), (Path(sys.prefix), "<python>"), (Path(sys.base_prefix), "<python>")]
    own += [(Path(__file__).parents[1], ""), (Path.home(), "~"), (Path(tempfile.gettempdir()), "")]
    for folder, name in sorted(own, key=lambda pair: -len(str(pair[0]))):
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}{os.sep}", f"{name}{os.sep}" if name else "")
    return text
