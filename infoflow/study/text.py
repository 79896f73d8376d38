"""Partitions and matrices as short text, to stand in a column of a table."""

from __future__ import annotations

import base64

import numpy as np

from infoflow.partition import Partition

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"


def encode(partition: Partition) -> str:
    """A partition as text: one letter a unit, `.` for unused; with more modules than the 64
    letters, numbers with commas, -1 for unused.

    Examples:
        >>> encode(Partition([0, 0, 1, -1]))
        '001.'
        >>> encode(Partition([*range(65), -1]))[-9:]
        ',63,64,-1'
    """
    labels = partition.labels.tolist()
    if partition.n_modules > len(LETTERS):
        return ",".join(map(str, labels))
    return "".join("." if label < 0 else LETTERS[label] for label in labels)


def decode(text: str) -> Partition:
    """The partition that `encode` wrote.

    Raises:
        ValueError: Anything else.

    Examples:
        >>> decode('001.')
        Partition(4 units in 2 modules of 2, 1, 1 unused)
    """
    if "," in text:
        return Partition([int(label) for label in text.split(",")])
    unknown = sorted(set(text) - {*LETTERS, "."})
    if unknown:
        raise ValueError(f"expected a partition written by encode, got {unknown} in {text[:40]!r}")
    return Partition([-1 if letter == "." else LETTERS.index(letter) for letter in text])


def encode_matrix(S: np.ndarray) -> str:
    """The upper triangle of a symmetric matrix of nonnegative numbers, its largest entry 1, in 256
    levels: enough for a picture.

    Examples:
        >>> decode_matrix(encode_matrix(np.array([[3.0, 2.0], [2.0, 3.0]])))
        array([[0., 1.],
               [1., 0.]])
    """
    upper = S[np.triu_indices(len(S), 1)]
    levels = np.round(255 * upper / max(upper.max(), 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")


def decode_matrix(text: str) -> np.ndarray:
    """The matrix that `encode_matrix` wrote, 0 on the diagonal."""
    upper = np.frombuffer(base64.b64decode(text), np.uint8) / 255
    n = round((1 + np.sqrt(1 + 8 * len(upper))) / 2)
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = upper
    return matrix + matrix.T
