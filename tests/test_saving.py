"""Claims about saved results: equal to the bit when they come back, and never quietly damaged."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import infoflow as ifl
from infoflow.clustering import consensus
from infoflow.clustering.significances import nested_modules

SMALL = {"budget": 8, "samples": 4, "donors": 8, "contexts": 8}


def network(act: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), act or nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
    )


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return network()


@pytest.fixture(scope="module")
def rec(model: nn.Sequential) -> ifl.Recording:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    loss, basis = nn.functional.cross_entropy, {"3": "pca"}
    return ifl.record(model, ["1", "3"], x, model(x).argmax(1), loss=loss, basis=basis)


def assert_same(a: Any, b: Any, path: str = "result") -> None:
    if isinstance(a, (np.ndarray, Tensor)):
        assert type(a) is type(b) and a.dtype == b.dtype, path
        assert a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all()), path
    elif isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    elif isinstance(a, Mapping):
        assert list(a) == list(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), path
        for n, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{path}[{n}]")
    elif isinstance(a, ifl.Partition):
        assert a == b and a.names == b.names, path
    elif is_dataclass(a):
        assert type(a) is type(b), path
        for name in (
            f.name for f in fields(a) if f.name not in ("model", "versions", "cache", "_kept")
        ):
            assert_same(getattr(a, name), getattr(b, name), f"{path}.{name}")
    elif not isinstance(a, nn.Module):
        assert a == b or (a != a and b != b), path


def results(rec: ifl.Recording) -> dict[str, Any]:
    S = ifl.similarity(rec, "cov")
    return {
        "flow": ifl.flow(rec, {"1": [0, 1]}, "3", donors=8, contexts=8, n_null=19),
        "exchange": ifl.exchange(rec, [7] * 6 + [3] * 5, donors=8, contexts=8),
        "search": ifl.search(rec, n_modules=2, confidence=2, **SMALL),
        "free": ifl.search(rec, n_modules=None, **SMALL),
        "uniform": ifl.flow(rec, {"1": [0, 1]}, "3", donors=8, contexts=8, do="uniform"),
        "modules": ifl.find_modules(S),
        "paper": ifl.find_modules(S, method="lange2022", seed=1),
        "consensus": consensus(S, n_seeds=3),
        "nested": nested_modules(S, n_null=19),
        "partition": ifl.Partition([7, 7, -1, 2]),
        "recording": rec,
    }


def test_every_result_comes_back_to_the_bit(rec: ifl.Recording, tmp_path: Path) -> None:
    for name, result in results(rec).items():
        folder = result.save(tmp_path / name)
        again = ifl.load(folder)
        assert_same(result, again)
        if name != "recording":
            assert repr(again) == repr(result)
    assert not [p.name for p in tmp_path.iterdir() if p.suffix in (".new", ".old")]


def test_a_comparison_comes_back_and_reports_the_same(
    rec: ifl.Recording, model: nn.Sequential, tmp_path: Path
) -> None:
    found = ifl.compare(rec, methods=["annealing"], same_size=4, **SMALL)
    again = ifl.load(found.save(tmp_path / "comparison"), model=model)
    assert_same(found, again)
    pages = [
        ifl.report(c, tmp_path / f"{n}.html").read_text() for n, c in enumerate((found, again))
    ]
    first, second = (re.sub(r"data:image[^\"]+", "", page) for page in pages)
    assert first == second and len(first) > 20_000


def test_a_recording_with_its_network_measures_the_same(
    rec: ifl.Recording, model: nn.Sequential, tmp_path: Path
) -> None:
    again = ifl.load(rec.save(tmp_path / "rec"), model=model)
    for measure in ("cov", "i_sens", "hess"):
        np.testing.assert_array_equal(ifl.similarity(again, measure), ifl.similarity(rec, measure))
    asked = {"donors": 8, "contexts": 8}
    assert ifl.flow(again, {"1": [0]}, "3", **asked) == ifl.flow(rec, {"1": [0]}, "3", **asked)
    own = copy.deepcopy(model)
    again = ifl.load(tmp_path / "rec", model=own)
    with torch.no_grad():
        own[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="were changed"):
        ifl.flow(again, {"1": [0]}, "3", **asked)


def test_a_recording_without_its_network_has_what_was_recorded_and_refuses_the_rest(
    rec: ifl.Recording, tmp_path: Path
) -> None:
    again = ifl.load(rec.save(tmp_path / "rec"))
    np.testing.assert_array_equal(ifl.similarity(again, "cov"), ifl.similarity(rec, "cov"))
    with pytest.raises(RuntimeError, match="loaded without its network"):
        ifl.flow(again, {"1": [0]}, "3", donors=8, contexts=8)


def test_another_network_is_refused(rec: ifl.Recording, tmp_path: Path) -> None:
    folder = rec.save(tmp_path / "rec")
    other = network()
    with torch.no_grad():
        other[2].bias[0] += 1e-3
    with pytest.raises(ValueError, match="other weights"):
        ifl.load(folder, model=other)
    with pytest.raises(ValueError, match="functions between its layers"):
        ifl.load(folder, model=network(nn.Softplus()))


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    folder = ifl.find_modules(np.kron(np.eye(2), np.ones((3, 3)))).save(tmp_path / "modules")
    rng = np.random.default_rng(0)
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        whole = path.read_bytes()
        for place in rng.integers(len(whole), size=60):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(ValueError):
                ifl.load(folder)
        path.write_bytes(whole)
    ifl.load(folder)


def test_a_file_calls_nothing_but_results(tmp_path: Path) -> None:
    folder = ifl.Partition([0, 1]).save(tmp_path / "p")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["result"]["kind"] = "system"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="digest"):
        ifl.load(folder)


def test_nothing_is_written_over_unasked_or_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ifl.Partition([0, 1]), ifl.Partition([0, 0])
    folder = first.save(tmp_path / "p")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        second.save(folder)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(FileExistsError, match=r"choose another folder$"):
        first.save(tmp_path / "thesis", overwrite=True)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("os.fsync", full)
        second.save(folder, overwrite=True)
    assert ifl.load(folder) == first
    second.save(folder, overwrite=True)
    assert ifl.load(folder) == second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "thesis"]
    with pytest.raises(FileNotFoundError, match="no result"):
        ifl.load(tmp_path / "absent")


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    rec = ifl.record(net, ["1"], torch.randn(8, 3), output=lambda raw: raw * 2)
    with pytest.raises(TypeError, match=r"cannot save .* at output\.key"):
        rec.save(tmp_path / "rec")
    assert not list(tmp_path.iterdir())
