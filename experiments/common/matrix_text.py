"""Similarity matrices as short text, to stand in a column of a table."""

from __future__ import annotations

import base64

import numpy as np


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
