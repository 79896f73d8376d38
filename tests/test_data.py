"""Claims about the data sets: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

from infoflow import data
from infoflow.data import Dataset, load, load_digits, load_mnist

# --- digits ---------------------------------------------------------------------------------


def test_digits_splits_hold_every_sklearn_digit_exactly_once(digits: Dataset) -> None:
    images, labels = sklearn_digits(return_X_y=True)
    ours = torch.cat([digits.train_x, digits.test_x]).numpy() * 16
    ours = np.column_stack([ours, torch.cat([digits.train_y, digits.test_y]).numpy()])
    theirs = np.column_stack([images, labels])
    assert np.array_equal(np.array(sorted(map(tuple, ours))), np.array(sorted(map(tuple, theirs))))


def test_digits_split_is_stratified(digits: Dataset) -> None:
    share = torch.bincount(digits.test_y) / (
        torch.bincount(digits.test_y) + torch.bincount(digits.train_y)
    )
    assert torch.allclose(share, torch.tensor(0.2), atol=0.01)


def test_digits_split_follows_its_seed(digits: Dataset) -> None:
    assert torch.equal(load_digits(seed=0).test_x, digits.test_x)
    assert not torch.equal(load_digits(seed=1).test_x, digits.test_x)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 0.001, float("nan")])
def test_digits_refuse_a_fraction_that_leaves_a_split_short(fraction: float) -> None:
    with pytest.raises(ValueError, match="test_fraction"):
        load_digits(test_fraction=fraction)


# --- load and Dataset -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "meant"), [("minst", "mnist"), ("digit", "digits")])
def test_a_misspelt_name_is_answered_with_the_near_miss(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        load(name)


def _rows(n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(n, 6), torch.arange(n) % 3


def _dataset(**changes: object) -> Dataset:
    x, y = _rows()
    fields: dict = {
        "train_x": x,
        "train_y": y,
        "test_x": x,
        "test_y": y,
        "n_classes": 3,
        "image_shape": (2, 3),
    }
    return Dataset("toy", **(fields | changes))


def test_a_dataset_that_fits_is_accepted() -> None:
    assert _dataset().n_features == 6


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"train_x": torch.zeros(4, 6, dtype=torch.int64)}, TypeError, "float32 inputs"),
        ({"test_y": torch.zeros(4)}, TypeError, "int64 labels"),
        ({"train_x": torch.zeros(0, 6), "train_y": _rows(0)[1]}, ValueError, "at least one input"),
        ({"train_x": torch.zeros(4, 2, 3)}, ValueError, r"flat inputs \(K, 6\)"),
        ({"test_x": torch.zeros(4, 5)}, ValueError, "test split"),
        ({"train_y": torch.zeros(3, dtype=torch.int64)}, ValueError, "4 labels, one per input"),
        ({"train_x": torch.full((4, 6), torch.nan)}, ValueError, "NaN or infinite"),
        ({"test_x": torch.full((4, 6), torch.inf)}, ValueError, "NaN or infinite"),
        ({"train_y": torch.tensor([0, 1, 2, 3])}, ValueError, r"labels in 0\.\.2, got .* 0\.\.3"),
        ({"train_y": torch.tensor([0, 1, 2, -1])}, ValueError, r"got labels in -1\.\.2"),
        ({"n_classes": 1}, ValueError, "2 classes"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(
    changes: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        _dataset(**changes)


# --- MNIST: tiny files in its format, whose digests stand in for the real ones --------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five 3 x 2 training images and two test images, valid as long as nobody touches them."""
    rng = np.random.default_rng(0)
    tiny = {}
    for key, file in data._MNIST.items():
        n = 5 if key.startswith("train") else 2
        shape = (n, 3, 2) if key.endswith("x") else (n,)
        file = replace(file, shape=shape)
        body = rng.integers(0, 256 if key.endswith("x") else 10, shape).astype(np.uint8)
        content = file.header + body.tobytes()
        tiny[key] = replace(file, sha256=hashlib.sha256(content).hexdigest())
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(data, "_MNIST", tiny)
    monkeypatch.delenv("INFOFLOW_DATA", raising=False)
    return tmp_path


IMAGES = "train-images-idx3-ubyte"


def _gunzip(folder: Path, name: str) -> bytes:
    content = gzip.decompress((folder / f"{name}.gz").read_bytes())
    (folder / f"{name}.gz").unlink()
    return content


def test_mnist_pixels_are_the_bytes_over_255(folder: Path) -> None:
    raw = gzip.decompress((folder / f"{IMAGES}.gz").read_bytes())
    assert struct.unpack(">4I", raw[:16]) == (2051, 5, 3, 2)  # the format's published header
    mnist = load_mnist(folder)
    assert mnist.image_shape == (3, 2)
    assert torch.equal(mnist.train_x, torch.tensor(list(raw[16:])).reshape(5, 6).float() / 255)
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    assert mnist.test_y.tolist() == list(labels[8:])


def test_mnist_is_found_by_the_environment_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOFLOW_DATA", str(folder))
    assert torch.equal(load("mnist").train_x, load("mnist", folder).train_x)


def test_mnist_may_be_gunzipped_or_gzipped_at_another_level(folder: Path) -> None:
    expected = load_mnist(folder)
    content = _gunzip(folder, IMAGES)
    (folder / IMAGES).write_bytes(content)
    assert torch.equal(load_mnist(folder).train_x, expected.train_x)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    assert torch.equal(load_mnist(folder).train_x, expected.train_x)


def test_without_a_folder_mnist_says_what_to_get_and_where_to_put_it(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train-images.*ossci-datasets.*INFOFLOW_DATA"):
        load_mnist()
    with pytest.raises(FileNotFoundError, match="absent is not a folder; download"):
        load_mnist(folder / "absent")


def test_missing_mnist_files_are_named_and_present_ones_are_not(folder: Path) -> None:
    (folder / f"{IMAGES}.gz").unlink()
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(folder)
    lacking = str(caught.value).split("; download")[0]
    assert lacking == f"{folder} lacks {IMAGES}.gz, t10k-labels-idx1-ubyte.gz"


def test_a_gzip_stream_cut_short_is_called_truncated(folder: Path) -> None:
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"truncated.*delete it and download"):
        load_mnist(folder)


def _corrupt(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c[:-3], r"truncated: expected 46 bytes of content, got 43"),
        (lambda c: c[:5], r"truncated"),
        (lambda c: b"", r"truncated"),
        (lambda c: b"<html>not here</html>", "is not MNIST's train-images"),
        (lambda c: c[:4] + struct.pack(">I", 6) + c[8:], "is not MNIST's train-images"),
        (lambda c: c + b"\0", "damaged, or another data set"),
        (_corrupt, "damaged, or another data set"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_mnist_content_is_refused(folder: Path, zipped: bool, change, says: str) -> None:
    content = change(_gunzip(folder, IMAGES))
    if zipped:
        (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(content))
    else:
        (folder / IMAGES).write_bytes(content)
    with pytest.raises(ValueError, match=says):
        load_mnist(folder)


def test_a_file_that_is_no_gzip_is_refused(folder: Path) -> None:
    (folder / f"{IMAGES}.gz").write_bytes(b"<html>moved</html>")
    with pytest.raises(ValueError, match=r"no intact gzip file.*delete it and download"):
        load_mnist(folder)


@pytest.mark.parametrize("damage", [b"\xff" * 8, b"\x07" * 8])
def test_a_damaged_gzip_stream_is_refused(folder: Path, damage: bytes) -> None:
    path = folder / f"{IMAGES}.gz"
    content = path.read_bytes()
    path.write_bytes(content[:10] + damage + content[18:])
    with pytest.raises(ValueError, match=r"delete it and download"):
        load_mnist(folder)


@pytest.mark.skipif("INFOFLOW_DATA" not in os.environ, reason="needs MNIST in INFOFLOW_DATA")
def test_the_real_mnist_has_its_published_size_and_class_counts() -> None:
    mnist = load_mnist()
    assert (len(mnist.train_x), len(mnist.test_x), mnist.n_features) == (60000, 10000, 784)
    assert torch.bincount(mnist.test_y).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
