"""Results on disk: folders of JSON, safetensors and CSV, without pickle; `load` reads them."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from infoflow._arguments import door, flag, instance
from infoflow._arguments import path as checked_path
from infoflow._files import digest, with_formula, without_formulas, write_atomically
from infoflow._provenance import versions

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "infoflow.result.1"
_MANIFEST, _ARRAYS, _MISSING = "manifest.json", "arrays.safetensors", "<NA>"

# All that a file may name: nothing else is imported or called for what stands in one.
_CLASSES = {
    "infoflow.site": ("Site",),
    "infoflow.units": ("UnitSpace",),
    "infoflow.basis": ("Basis",),
    "infoflow.partition": ("Partition",),
    "infoflow.module_tree": ("ModuleTree", "Division"),
    "infoflow.measured": ("Null", "Draws", "Binning", "Objective"),
    "infoflow.forcing": ("Forcing",),
    "infoflow.lesioning.result": ("Lesions",),
    "infoflow._outputs": ("Output",),
    "infoflow._padding": ("Padding",),
    "infoflow.recording": ("Recording",),
    "infoflow.clustering.modules": ("Modules", "Trace"),
    "infoflow.clustering.co_membership": ("Consensus",),
    "infoflow.information.flows": ("Flow",),
    "infoflow.exchanges.result": ("Exchange",),
    "infoflow.searching.score": ("ModuleScore",),
    "infoflow.searching.result": ("SearchResult",),
    "infoflow.searching.count": ("ModuleCount",),
    "infoflow.searching.confidence": ("Confidence",),
    "infoflow.comparing.comparison": ("Comparison",),
    "infoflow.comparing.tracking": ("CommonSet", "Place"),
    "infoflow.comparing.ranks": ("RankCorrelation",),
}
_MODULES = {name: module for module, names in _CLASSES.items() for name in names}
# What a recording runs with cannot be written; `load` is given it again. Nor are caches.
_LEFT_OUT = {
    "Recording": ("model", "loss", "versions", "cache", "device", "stored"),
    "Basis": ("_kept",),
}


class Saved:
    """A result that can be saved."""

    __slots__ = ()

    def save(self, path: Any, *, overwrite: bool = False) -> Path:
        """Write this result as a folder of JSON, safetensors and CSV; `infoflow.load` reads it.

        The folder appears whole or not at all. A network is not written: a recording's folder has
        its activations and data, and what tells whether `load` is given the same network.

        Args:
            path: The folder; those on the way are made.
            overwrite: Replace an earlier result there.

        Raises:
            FileExistsError: There is something at `path`, and it is no result or `overwrite` is
                False.
            TypeError: A value of the user's own that cannot be written, such as an output that is
                a function.
            OSError: No room; an earlier result is then untouched.
        """
        where = checked_path("path", path)
        return _save(self, Path(where).expanduser(), flag("overwrite", overwrite))


class Absent(nn.Module):
    """Stands where a recording was loaded without its network: all that runs it is refused."""

    def forward(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "this recording was loaded without its network; load(path, model=your_network) takes it"
        )


@door(model=instance(nn.Module, "a torch.nn.Module", none=True))
def load(path: str | Path, *, model: nn.Module | None = None, loss: Any = None) -> Any:
    """What `save` wrote: a `Recording`, `Modules`, `Flow`, `Exchange`, `SearchResult`, `Comparison`
    or another result, equal to the bit.

    Args:
        path: The folder.
        model: The network of a recording, or of the recording in a comparison, to intervene again.
            Without it there is what was recorded, and whatever runs the network is refused.
        loss: A recording's loss, where it is none of torch's own.

    Raises:
        FileNotFoundError: No result there.
        ValueError: A damaged folder, one of another version, or another network's weights.

    Examples:
        >>> import tempfile, infoflow as ifl
        >>> mods = ifl.find_modules([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ifl.load(mods.save(folder + "/modules")).partition == mods.partition
        True
    """
    folder = Path(path).expanduser()
    if not (folder / _MANIFEST).is_file():
        raise FileNotFoundError(f"no result at {folder}: expected a folder that .save() wrote")
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']!r} instead of {FORMAT!r}")
        if manifest.pop("digest") != digest(manifest, *_contents(folder, manifest["files"])):
            raise ValueError("its contents do not match their digest")
        return _Reader(folder, manifest, model, loss).value(manifest["result"])
    except (KeyError, TypeError, OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the result at {folder} is damaged ({error!r})") from error
    except ValueError as error:
        raise ValueError(f"cannot load {folder}: {error}") from error


def _save(result: Any, folder: Path, overwrite: bool) -> Path:
    if folder.is_symlink():
        raise FileExistsError(f"{folder} is a link to {folder.resolve()}; choose another folder")
    if folder.exists() and not (overwrite and (folder / _MANIFEST).is_file()):
        raise FileExistsError(
            f"{folder} is there already; choose another folder"
            + (", or overwrite=True" if (folder / _MANIFEST).is_file() else "")
        )
    unfinished, replaced = (folder.with_name(folder.name + end) for end in (".new", ".old"))
    shutil.rmtree(unfinished, ignore_errors=True)
    writer = _Writer({}, {})
    tree = writer.tree(result)
    unfinished.mkdir(parents=True)
    try:
        writer.write(unfinished, tree)
        if folder.exists():
            folder.rename(replaced)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    return folder


def _contents(folder: Path, names: list[str]) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


@dataclass(frozen=True, eq=False)
class _Writer:
    arrays: dict[str, Tensor]
    tables: dict[str, pd.DataFrame]

    def write(self, folder: Path, tree: Any) -> None:
        from safetensors.torch import save

        files = [_ARRAYS, *self.tables]
        write_atomically(folder / _ARRAYS, save(self.arrays))
        for name, table in self.tables.items():
            (folder / name).parent.mkdir(exist_ok=True)
            text = without_formulas(table).to_csv(index=False, na_rep=_MISSING)
            write_atomically(folder / name, text)
        manifest = {"format": FORMAT, "versions": versions(), "files": files, "result": tree}
        described = {**manifest, "digest": digest(manifest, *_contents(folder, files))}
        write_atomically(folder / _MANIFEST, json.dumps(described, indent=1))

    def tree(self, value: Any, name: str = "") -> Any:
        """JSON for a value; arrays and tables are put aside under the name of their place."""
        import pandas as pd

        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, (float, np.generic)):
            number = value.item() if isinstance(value, np.generic) else value
            return number if np.isfinite(number) else {"kind": "float", "value": str(number)}
        if isinstance(value, (np.ndarray, Tensor)):
            return self._array(value, name)
        if isinstance(value, pd.DataFrame):
            return self._table(value, name)
        if isinstance(value, (tuple, list, range)):
            items = [self.tree(item, f"{name}.{n}") for n, item in enumerate(value)]
            return {"kind": "list" if isinstance(value, list) else "tuple", "items": items}
        if isinstance(value, Mapping):
            pairs = [[self.tree(k), self.tree(v, f"{name}.{k}")] for k, v in value.items()]
            return {"kind": "mapping", "items": pairs}
        return self._object(value, name)

    def _array(self, value: np.ndarray | Tensor, name: str) -> dict[str, Any]:
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        self.arrays[name] = tensor.detach().cpu().contiguous().clone()
        return {"kind": "tensor" if isinstance(value, Tensor) else "array", "name": name}

    def _table(self, value: pd.DataFrame, name: str) -> dict[str, Any]:
        import pandas as pd

        counted = isinstance(value.index, pd.RangeIndex) and value.index.name is None
        plain = value if counted else value.reset_index()
        file = f"tables/{name.lstrip('.')}.csv"
        self.tables[file] = plain
        index = [] if counted else list(plain)[: value.index.nlevels]
        about = {"kind": "table", "file": file, "index": index, "names": list(value.index.names)}
        dtypes = {str(column): str(dtype) for column, dtype in plain.dtypes.items()}
        return {**about, "dtypes": dtypes, "columns": value.columns.name}

    def _object(self, value: Any, name: str) -> dict[str, Any]:
        kind = type(value).__name__
        if kind == "Recomputed":  # outputs that a recording does not hold
            return self._array(value[:], name)
        if type(value).__module__ != _MODULES.get(kind):
            raise TypeError(f"cannot save {value!r}, a {kind}, at {name.lstrip('.') or 'the top'}")
        if kind == "Partition":
            return {"kind": kind, "given": self.tree(value.given, f"{name}.labels")}
        left_out = _LEFT_OUT.get(kind, ())
        kept = [f.name for f in fields(value) if f.name not in left_out]
        tree = {key: self.tree(getattr(value, key), f"{name}.{key}") for key in kept}
        about = {"about": value.saved_about()} if kind == "Recording" else {}
        return {"kind": kind, "fields": tree, **about}


@dataclass(frozen=True, eq=False)
class _Reader:
    folder: Path
    manifest: Mapping[str, Any]
    model: nn.Module | None
    loss: Any

    def value(self, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        kind = tree["kind"]
        if kind == "float":
            return float(tree["value"])
        if kind in ("array", "tensor"):
            return self._array(tree["name"], kind)
        if kind == "table":
            return self._table(tree)
        if kind in ("list", "tuple"):
            items = [self.value(item) for item in tree["items"]]
            return items if kind == "list" else tuple(items)
        if kind == "mapping":
            return {self.value(key): self.value(item) for key, item in tree["items"]}
        made = getattr(importlib.import_module(_MODULES[kind]), kind)
        if kind == "Partition":
            return made(self.value(tree["given"]))
        values = {key: self.value(item) for key, item in tree["fields"].items()}
        if "about" in tree:
            return made.restored(values, tree["about"], self.model, self.loss)
        return made(**values)

    def _array(self, name: str, kind: str) -> Any:
        from safetensors import safe_open

        with safe_open(self.folder / _ARRAYS, framework="pt") as file:
            tensor = file.get_tensor(name)
        return tensor if kind == "tensor" else tensor.numpy()

    def _table(self, tree: Mapping[str, Any]) -> pd.DataFrame:
        import pandas as pd

        # as text first: reading numbers, pandas may be off by the last bit
        table = pd.read_csv(self.folder / tree["file"], dtype=str, keep_default_na=False)
        table.columns = [with_formula(str(name)) for name in table.columns]
        for name, dtype in tree["dtypes"].items():
            table[name] = _column(table[name].tolist(), dtype)
        if tree["index"]:
            table = table.set_index(tree["index"]).rename_axis(index=tree["names"])
        return table.rename_axis(columns=tree["columns"])


def _column(texts: list[str], dtype: str) -> pd.Series:
    import pandas as pd

    if dtype == "bool":
        return pd.Series([text == "True" for text in texts], dtype=bool)
    if dtype.startswith("float"):
        return pd.Series(
            [math.nan if text == _MISSING else float(text) for text in texts], dtype=dtype
        )
    kept = [None if text == _MISSING else with_formula(text) for text in texts]
    missing = pd.Series(kept, dtype=object)
    return missing.map(int).astype(dtype) if dtype.startswith("int") else missing.astype(dtype)
