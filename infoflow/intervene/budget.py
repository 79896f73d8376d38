"""How many rows to run at a time."""

from __future__ import annotations

import os

import torch

# Measured on a 64-64 perceptron on two CPU cores: the time per row is lowest at 4 to 16 MB of live
# activations; below, calls cost more than they compute, above, they fall out of the cache.
_CPU_BYTES = 8 << 20
_GPU_SHARE = 1 / 16


def free_bytes(device: torch.device) -> int:
    """Memory that is free where tensors on `device` live."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a system that tells
        return 8 << 30


def chunk_rows(device: torch.device, nbytes_per_row: int, grid: int, at_most: int) -> int:
    """Rows per forward pass: activations within the budget, whole donors where there is a grid.

    Args:
        device: Where the passes run.
        nbytes_per_row: What the layers that run return for one row.
        grid: Rows per donor, or 0.
        at_most: Rows there are.

    Examples:
        >>> chunk_rows(torch.device("cpu"), 1024, 100, 10**6)
        8100
    """
    budget = _CPU_BYTES if device.type == "cpu" else int(_GPU_SHARE * free_bytes(device))
    rows = max(1, min(budget // nbytes_per_row, at_most))
    return rows // grid * grid if grid and rows > grid else rows
