"""Claims about compiled loops: damaged or missing caches cost time and nothing else."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.caching import CompileResultCacheImpl

import infoflow
from infoflow._compiled import _say_that_nothing_is_kept, compiled

SOURCE = """
from infoflow._compiled import compiled

@compiled
def doubled(x):
    return 2 * x
"""


def _module(folder: Path) -> Any:
    """The module as a new process would load it."""
    path = folder / "loops.py"
    if not path.exists():
        path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("loops", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("ending", ["nbc", "nbi"])
def test_a_cache_cut_short_is_compiled_again(tmp_path: Path, ending: str) -> None:
    assert _module(tmp_path).doubled(3) == 6
    kept = list((tmp_path / "__pycache__").glob(f"*.{ending}"))
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:40])
    again = _module(tmp_path).doubled
    assert again(3) == 6 and sum(again.stats.cache_hits.values()) == 0
    once_more = _module(tmp_path).doubled
    assert once_more(3) == 6 and sum(once_more.stats.cache_hits.values()) == 1


def test_nowhere_to_keep_the_code_is_said_and_the_answer_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def total(values: np.ndarray) -> float:
        return values.sum()

    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    _say_that_nothing_is_kept.cache_clear()
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        loop = compiled(total)
    assert loop(np.arange(4.0)) == 6.0


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    assert _module(tmp_path).doubled(4) == 8


def test_every_compiled_loop_of_the_package_is_kept_this_way() -> None:
    package = Path(infoflow.__file__).parent
    files = (path for path in package.rglob("*.py") if path.name != "_compiled.py")
    assert not [p.name for p in files if re.search(r"\bnjit\b", p.read_text(encoding="utf-8"))]
