"""Stacked training against training one by one: `python -m experiments.lange2022.speed`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import torch

from experiments.common.stacked import train_stacked
from infoflow.data import load_digits, load_mnist
from infoflow.train import TrainConfig, train


def speed(
    *,
    dataset: Literal["digits", "mnist"] = "mnist",
    data_dir: Path | None = None,
    networks: int = 8,
    epochs: int = 2,
    repeats: int = 3,
) -> dict[str, float]:
    """How often faster a stack is than its networks one by one, on one thread, by processor time
    (medians over alternating repeats), without and with dropout."""
    torch.set_num_threads(1)
    data = load_digits() if dataset == "digits" else load_mnist(data_dir)
    found = {}
    for name, step in (("no dropout", 0.0), ("dropout", 0.05)):
        configs = [
            TrainConfig(dataset=dataset, dropout=step * i, max_epochs=epochs)
            for i in range(1, networks + 1)
        ]
        train_stacked(configs[:1], data)  # compiles the kernel
        ratios = []
        for _ in range(repeats):
            start = time.process_time()
            for config in configs:
                train(config, data)
            middle = time.process_time()
            train_stacked(configs, data, stack_size=networks)
            ratios.append((middle - start) / (time.process_time() - middle))
        found[name] = sorted(ratios)[len(ratios) // 2]
    return found


def main() -> None:
    """The command line."""
    import tyro

    for name, ratio in tyro.cli(speed).items():
        print(f"{name}: {ratio:.2f} x the networks per minute of training one by one")


if __name__ == "__main__":
    main()
