"""How many rows to run at a time."""

from __future__ import annotations

from pathlib import Path

import torch

# Measured on a 64-64 perceptron, a small ResNet and a small transformer, one CPU thread: time per
# row is lowest at 32 MB of what live layers return (less: calls cost more than they compute; more:
# out of the cache), and for narrow layers at no more than some thousand rows.
_CPU_BYTES = 32 << 20
_CPU_ROWS = 8192
_GPU_BYTES = 256 << 20


def free_bytes(device: torch.device) -> int:
    """Memory that is free where tensors on `device` live."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) << 10
    except (OSError, StopIteration):  # not Linux: no way to know without another package
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
    if device.type == "cpu":
        rows = min(_CPU_BYTES // nbytes_per_row, _CPU_ROWS)
    else:
        rows = min(_GPU_BYTES, free_bytes(device) // 16) // nbytes_per_row
    rows = max(1, min(rows, at_most))
    return rows // grid * grid if grid and rows > grid else rows
