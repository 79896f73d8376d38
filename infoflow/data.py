"""Labelled image data sets: scikit-learn's digits (bundled) and MNIST (from its four IDX files)."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import door, one_of, real

DATASETS = ("digits", "mnist")
"""The names that `load` knows."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and labels for training and for the held-out test; checked when it is made.

    Attributes:
        name: What the data are called in configurations and checkpoints.
        train_x: `(K, d)` float32, one flattened input a row; the bundled loaders scale to [0, 1].
        train_y: `(K,)` int64 labels in `0..n_classes-1`.
        test_x: `(K', d)` float32.
        test_y: `(K',)` int64.
        n_classes: Number of classes.
        image_shape: Shape whose product is d, `(28, 28)` say; `(d,)` for inputs that are no image.

    Raises:
        TypeError: A tensor of another dtype.
        ValueError: Shapes that do not fit each other, no rows, NaN or infinite inputs, labels out
            of range.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    n_classes: int
    image_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"expected a data set name, got {self.name!r}")
        if self.n_classes < 2:
            raise ValueError(f"data set {self.name!r}: expected >= 2 classes, got {self.n_classes}")
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        _check_split(self, "train", self.train_x, self.train_y)
        _check_split(self, "test", self.test_x, self.test_y)

    @property
    def n_features(self) -> int:
        """d, the length of one flattened input."""
        return self.train_x.shape[1]

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {len(self.train_x)} train + {len(self.test_x)} test inputs "
            f"of shape {self.image_shape}, {self.n_classes} classes)"
        )


def _check_split(data: Dataset, split: str, x: Tensor, y: Tensor) -> None:
    """Refuse inputs `x` and labels `y` that are no `(K, d)` float32 and `(K,)` int64 pair."""
    what = f"data set {data.name!r}, {split} split"
    if x.dtype != torch.float32 or y.dtype != torch.int64:
        raise TypeError(
            f"{what}: expected float32 inputs and int64 labels, got {x.dtype} and {y.dtype}; "
            "convert with .float() and .long()"
        )
    d = math.prod(data.image_shape)
    if x.ndim != 2 or x.shape[1] != d:
        raise ValueError(
            f"{what}: expected flat inputs (K, {d}) for image shape {data.image_shape}, "
            f"got {tuple(x.shape)}"
        )
    if y.shape != (len(x),):
        raise ValueError(f"{what}: expected {len(x)} labels, one per input, got {tuple(y.shape)}")
    if len(x) == 0 or d == 0:
        raise ValueError(f"{what}: expected at least one input and one feature, got {len(x)} x {d}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{what}: inputs contain NaN or infinite values; remove or impute them")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= data.n_classes:
        raise ValueError(
            f"{what}: expected labels in 0..{data.n_classes - 1}, got labels in {low}..{high}"
        )


@door(name=one_of(DATASETS, "data set"))
def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The data set of that name; `data_dir` is where MNIST's files lie (digits need none).

    Raises:
        ValueError: Unknown name (near misses are suggested), or damaged files.
        FileNotFoundError: MNIST's files are not there.

    Examples:
        >>> load("digits")
        Dataset('digits': 1437 train + 360 test inputs of shape (8, 8), 10 classes)
    """
    return load_digits() if name == "digits" else load_mnist(data_dir)


@door(test_fraction=real(0, 1))
def load_digits(test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """The 1797 handwritten 8 x 8 digits that come with scikit-learn, scaled to [0, 1].

    Args:
        test_fraction: Share of the inputs held out, each class in proportion.
        seed: Of the split; the same seed gives the same split.

    Raises:
        ValueError: A fraction that leaves fewer inputs than classes in one of the splits.

    Examples:
        >>> digits = load_digits()
        >>> digits.train_x.shape, float(digits.train_x.min()), float(digits.train_x.max())
        (torch.Size([1437, 64]), 0.0, 1.0)
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    images, labels = sklearn_digits(return_X_y=True)
    n, n_classes = len(labels), 10
    if not n_classes / n <= test_fraction <= 1 - n_classes / n:
        raise ValueError(
            f"expected a test_fraction that leaves at least {n_classes} of the {n} digits on each "
            f"side, got {test_fraction}; 0.2 is the default"
        )
    train, test = train_test_split(
        np.arange(n), test_size=test_fraction, stratify=labels, random_state=seed % 2**32
    )
    x = torch.from_numpy(images / 16.0).float()
    y = torch.from_numpy(labels).long()
    return Dataset("digits", x[train], y[train], x[test], y[test], n_classes, (8, 8))


@dataclass(frozen=True)
class _IdxFile:
    """One file of unsigned bytes in IDX format and the digest of its *uncompressed* content."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """Magic number (0, 0, 8 for unsigned bytes, number of dimensions), then the sizes."""
        return struct.pack(f">HBB{len(self.shape)}I", 0, 8, len(self.shape), *self.shape)

    @property
    def n_bytes(self) -> int:
        return len(self.header) + math.prod(self.shape)


# The digests are of the content, not of the .gz files: mirrors recompress those (same images,
# other bytes), and the uncompressed files are accepted as well.
_MNIST = {
    "train_x": _IdxFile(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train_y": _IdxFile(
        "train-labels-idx1-ubyte",
        (60000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test_x": _IdxFile(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test_y": _IdxFile(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def load_mnist(data_dir: str | Path | None = None) -> Dataset:
    """MNIST, scaled to [0, 1], from its four IDX files, gzipped or not; nothing is downloaded.

    Args:
        data_dir: Folder with the files; None reads the environment variable `INFOFLOW_DATA`.

    Raises:
        FileNotFoundError: No folder given, or files missing in it.
        ValueError: A file that is truncated, or whose content is not MNIST's (SHA-256).

    Source:
        LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
    """
    folder = data_dir if data_dir is not None else os.environ.get("INFOFLOW_DATA")
    if not folder:
        raise FileNotFoundError(f"no folder given for MNIST; {_what_to_get('a folder')}")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; {_what_to_get('a folder')}")
    paths = {key: _find(folder, file.name) for key, file in _MNIST.items()}
    missing = [_MNIST[key].name + ".gz" for key, path in paths.items() if path is None]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; {_what_to_get(str(folder))}")
    arrays = {key: _read_idx(path, _MNIST[key]) for key, path in paths.items() if path}
    x = {k: torch.from_numpy(arrays[k]).flatten(1).float().div_(255) for k in ("train_x", "test_x")}
    y = {k: torch.from_numpy(arrays[k]).long() for k in ("train_y", "test_y")}
    return Dataset("mnist", **x, **y, n_classes=10, image_shape=_MNIST["train_x"].shape[1:])


def _what_to_get(where: str) -> str:
    names = ", ".join(file.name + ".gz" for file in _MNIST.values())
    return (
        f"download {names} (for example from {_MIRROR}) into {where}, "
        "and pass it as data_dir (--data-dir) or in INFOFLOW_DATA"
    )


def _find(folder: Path, name: str) -> Path | None:
    """The gzipped file if there is one, else the plain one, else None."""
    return next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)


def _read_idx(path: Path, expected: _IdxFile) -> np.ndarray:
    """The array in `path`, after its size, header and digest were found to be the expected ones."""
    content = _content(path, expected.n_bytes + 1)  # one byte more tells a longer file from ours
    remedy = f"delete it and {_what_to_get(str(path.parent))}"
    header = expected.header
    if content[: len(header)] != header[: len(content)]:
        raise ValueError(
            f"{path} is not MNIST's {expected.name}: expected it to begin with {header.hex()}, "
            f"got {content[: len(header)].hex()}; {remedy}"
        )
    if len(content) < expected.n_bytes:
        raise ValueError(
            f"{path} is truncated: expected {expected.n_bytes} bytes of content, "
            f"got {len(content)}; {remedy}"
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        raise ValueError(
            f"{path} is damaged, or another data set under MNIST's file names (Fashion-MNIST has "
            f"the same): expected SHA-256 {expected.sha256} of the uncompressed content, "
            f"got {digest}; {remedy}"
        )
    # bytearray: torch wants writable memory
    return np.frombuffer(bytearray(content), np.uint8, offset=len(header)).reshape(expected.shape)


def _content(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of the (uncompressed) content; a file cut short gives fewer."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(limit)
    except EOFError as error:
        raise ValueError(
            f"{path} is truncated: its gzip stream ends early; "
            f"delete it and {_what_to_get(str(path.parent))}"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is no intact gzip file ({error}); "
            f"delete it and {_what_to_get(str(path.parent))}"
        ) from error
