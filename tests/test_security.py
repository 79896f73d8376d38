"""Files from elsewhere are read within bounds, and files that others open do them no harm."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import infoflow as ifl
from infoflow._files import with_formula, without_formulas
from infoflow.checkpoint import load_checkpoint, save_checkpoint
from infoflow.data import load
from infoflow.searching.checkpoint import _read
from infoflow.study import load_table, save_table
from infoflow.train import TrainConfig, train

MANY = (2**20, 2**20)


def promising(shape: tuple[int, ...]) -> bytes:
    """A small .npy that says it holds an array of that shape."""
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(64)


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_checkpoint_that_promises_terabytes_is_refused_before_room_is_made(
    tmp_path: Path, packed: int
) -> None:
    path = tmp_path / "search.npz"
    with zipfile.ZipFile(path, "w", packed) as parts:
        for name in ("labels", "values", "state", "config", "digest", "format"):
            parts.writestr(f"{name}.npy", promising(MANY))
    with pytest.raises(ValueError, match=r"damaged .*(has not the size|is compressed)"):
        _read(path)


def test_a_model_that_promises_terabytes_is_refused_before_room_is_made(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(train(TrainConfig(hidden=(4,), max_epochs=0), load("digits")), path)
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    about = json.loads(header["__metadata__"]["infoflow"])
    about["config"]["hidden"] = [2**20, 2**20]
    header["__metadata__"]["infoflow"] = json.dumps(about)
    said = json.dumps(header).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + whole[8 + size :])
    with pytest.raises(ValueError, match="needs more than there are"):
        load_checkpoint(path)
    header["fc1.linear.weight"]["shape"] = [2**20, 2**20]
    said = json.dumps(header).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + whole[8 + size :])
    with pytest.raises(ValueError, match="no intact safetensors file"):
        load_checkpoint(path)


FORMULAS = ("=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "'=x", "plain", "0-1")


def test_cells_of_tables_are_no_formulas_and_come_back_as_they_were(tmp_path: Path) -> None:
    table = pd.DataFrame({"=name": FORMULAS, "bits": -np.arange(len(FORMULAS)) / 2})
    table = table.set_index(pd.Index(FORMULAS, name="row"))
    text = without_formulas(table).to_csv()
    cells = [cell for line in text.splitlines() for cell in line.split(",")]
    dangerous = [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)]
    assert [float(cell) for cell in dangerous if cell]  # numbers alone
    assert without_formulas(table)["bits"].tolist() == table["bits"].tolist()
    assert [with_formula(cell) for cell in without_formulas(table).index] == list(FORMULAS)
    rows = pd.DataFrame({"partition": ["-1,0,1", "001"], "q": [-0.5, 1 / 3]})
    save_table(rows, tmp_path / "rows.csv")
    assert "'-1,0,1" in (tmp_path / "rows.csv").read_text()
    assert load_table(tmp_path / "rows.csv").to_dict() == rows.to_dict()


def test_overwriting_goes_through_no_link(tmp_path: Path) -> None:
    modules = ifl.find_modules(np.kron(np.eye(2), np.ones((3, 3))))
    kept = modules.save(tmp_path / "kept")
    (tmp_path / "link").symlink_to(kept, target_is_directory=True)
    with pytest.raises(FileExistsError, match="is a link to"):
        modules.save(tmp_path / "link", overwrite=True)
    assert ifl.load(kept).partition == modules.partition
    assert not [*tmp_path.glob("*.old")]
