"""Time and accuracy of `infoflow.unit_similarity` against plain ways to compute the same numbers.

    python -m experiments.benchmarks.similarity                        # some minutes
    python -m experiments.benchmarks.similarity --parts networks       # one part only

Prints ratios from one run on one thread, of processor time: other work on the machine then matters
less. What came out stands in similarity.md beside this file.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args
from unittest.mock import patch

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

import infoflow as ifl
from experiments.benchmarks.similarity_baselines import (
    one_channel_and_position_at_a_time,
    one_unit_at_a_time,
    with_torch_func,
)
from infoflow import data, models, train
from infoflow._safety import evaluating
from infoflow.unit_similarity import MEASURES, similarities_by_layer, structure, sums
from infoflow.unit_similarity.perturbed import run_perturbed
from infoflow.unit_similarity.request import make_request
from infoflow.unit_similarity.structure import read_structure

BASES = ("cov", "i_sens", "o_sens", "hess")


Part = Literal["networks", "more samples", "positions", "accuracy", "width", "samples"]


def main(
    parts: tuple[Part, ...] = get_args(Part), data_dir: Path | None = None, quick: bool = False
) -> None:
    """Print all ratios.

    Args:
        parts: Which.
        data_dir: Folder with the four MNIST files; None reads INFOFLOW_DATA.
        quick: One ReLU, one GELU, one convolutional network.
    """
    torch.set_num_threads(1)
    if quick:
        few_networks(data.load_mnist(data_dir))
        return
    rate = matmul_rate()
    print(f"matmul: {rate / 1e9:.0f} GFlop/s, float32, one thread\n")
    if {"networks", "more samples", "positions"} & set(parts):
        mnist = data.load_mnist(data_dir)
        x, y = mnist.train_x.reshape(-1, 784), mnist.train_y
        if "networks" in parts or "more samples" in parts:
            print(
                "network                   samples |  ours s | per unit | torch.func | guard | "
                "eight | by"
            )
        if "networks" in parts:
            compare_networks(mnist, x[:2000], y[:2000])
        if "more samples" in parts:
            fc = ["fc1", "fc2"]
            one_network("MNIST 784-64-64-10 ReLU", trained(mnist), fc, x[:10_000], y[:10_000])
        if "positions" in parts:
            compare_positions(x[:300].reshape(-1, 1, 28, 28), y[:300])
    if "accuracy" in parts:
        print_accuracy()
    if "width" in parts:
        sweep("width", [64, 128, 256, 512, 1024, 2048], rate)
    if "samples" in parts:
        sweep("samples", [2_000, 10_000, 60_000], rate)


def few_networks(mnist: data.Dataset) -> None:
    x, y = mnist.train_x.reshape(-1, 784)[:2000], mnist.train_y[:2000]
    fc = ["fc1", "fc2"]
    for name, act in (("ReLU", nn.ReLU), ("GELU", nn.GELU)):
        one_network(f"MNIST {name}", models.mlp(784, activation=act, seed=0), fc, x, y)
    one_choice(nn.ReLU, 32, x[:100].reshape(-1, 1, 28, 28), y[:100])


def compare_networks(mnist: data.Dataset, x: Tensor, y: Tensor) -> None:
    digits = data.load_digits()
    all_x = torch.cat([digits.train_x, digits.test_x])
    all_y = torch.cat([digits.train_y, digits.test_y])
    gelu = models.mlp(784, activation=nn.GELU, seed=0)
    images = x[:1000].reshape(-1, 1, 28, 28)
    fc, channels = ["fc1", "fc2"], ["1", "4"]
    one_network("MNIST 784-64-64-10 ReLU", trained(mnist), fc, x, y)
    one_network("MNIST 784-64-64-10 GELU", gelu, fc, x, y)
    with only_the_entrance():
        one_network("the same, Gram trick only", gelu, fc, x, y)
    one_network("digits 64-64-64-10 ReLU", trained(digits), fc, all_x, all_y)
    one_network("MNIST residual GELU", residual(), ["0", "1"], x, y)
    with only_the_entrance():
        one_network("the same, Gram trick only", residual(), ["0", "1"], x, y)
    one_network("MNIST conv 8-16 ReLU", conv(nn.ReLU), channels, images, y[:1000])
    one_network("MNIST conv 8-16 GELU", conv(nn.GELU), channels, images, y[:1000])
    print()


@contextmanager
def only_the_entrance() -> Iterator[None]:
    """Without forward-mode derivatives."""
    with patch.object(structure, "read_carrier", return_value="switched off"):
        yield


@contextmanager
def without_the_guard() -> Iterator[None]:
    """Without the checks of every batch."""
    no_check = patch.object(sums, "check_batch")
    with no_check, patch.object(sums, "failure", return_value=None):
        yield


def compare_positions(x: Tensor, y: Tensor) -> None:
    """Convolutions with their positions one by one, as the script of the 2022 paper has them."""
    print("network                   samples | positions |  ours s | per unit and position")
    for act in (nn.ReLU, nn.GELU):
        one_choice(act, 32, x, y)
        one_choice(act, 128, x[:100], y[:100])
    print()


def one_choice(act: Callable[[], nn.Module], count: int, x: Tensor, y: Tensor) -> None:
    net, layers, places = conv(act).eval(), ["1", "4"], {}
    sites = [ifl.Site(layer, unit_dim=1) for layer in layers]
    rec = ifl.record(net, sites, x, y, loss=F.cross_entropy)
    for layer in layers:
        request = make_request(rec, [layer], frozenset({"cov"}), across=False, positions=count)
        places[layer] = request.positions
    ours, found = seconds(lambda: anew(rec, BASES, positions=count), 2)
    loop, plain = seconds(lambda: one_channel_and_position_at_a_time(net, layers, x, y, places), 0)
    name = f"MNIST conv 8-16 {act.__name__}"
    check(name, found, plain, len(x))
    print(f"{name:26}{len(x):7} | {count:9} | {ours:7.3f} | {loop / ours:7.1f}x")


def check(
    name: str,
    found: dict[str, dict[str, np.ndarray]],
    plain: dict[tuple[str, str], Tensor],
    count: int,
) -> None:
    for (layer, measure), total in plain.items():
        if measure != "cov":  # the plain covariance is not centred
            expected = np.abs(total.double().numpy()) / count
            worst = np.abs(found[layer][measure] - expected).max() / expected.max()
            if worst > 1e-3:  # float32 sums of the plain loop are themselves off by 2e-4
                raise RuntimeError(f"{name}: {measure} of {layer} is off by {worst:.1e}")


def one_network(name: str, net: nn.Sequential, layers: list[str], x: Tensor, y: Tensor) -> None:
    net.eval()
    sites = [ifl.Site(layer, unit_dim=1) for layer in layers]
    rec = ifl.record(net, sites, x, y, loss=F.cross_entropy)
    ours, found = seconds(lambda: anew(rec, BASES), 5)
    with without_the_guard():
        bare, _ = seconds(lambda: anew(rec, BASES), 5)
    joint, _ = seconds(lambda: eight_in_one_pass(rec), 2)
    eight, _ = seconds(lambda: eight_calls(rec), 2)
    unit, plain = seconds(lambda: one_unit_at_a_time(net, layers, x, y), 2)
    few = 400  # the time of torch.func grows with the samples; 400 of them stand for all
    func, _ = seconds(lambda: with_torch_func(net, layers, x[:few], y[:few]), 1)
    func *= len(x) / few
    check(name, found, plain, len(x))
    print(
        f"{name:26}{len(x):7} | {ours:7.3f} | {unit / ours:7.1f}x | {func / ours:9.1f}x | "
        f"{ours / bare - 1:5.0%} | {eight / joint:5.2f} | {', '.join(short_cuts(rec)) or 'none'}"
    )


def anew(rec: ifl.Recording, measures: Sequence[str], **options: Any) -> Any:
    """All layers, and nothing kept from a run before."""
    rec.cache.clear()
    return similarities_by_layer(rec, measures, **options)


def eight_in_one_pass(rec: ifl.Recording) -> None:
    rec.cache.clear()
    ifl.similarities(rec, MEASURES)


def eight_calls(rec: ifl.Recording) -> None:
    rec.cache.clear()
    for measure in MEASURES:
        ifl.similarity(rec, measure)


def trained(dataset: data.Dataset) -> nn.Sequential:
    config = train.TrainConfig(dataset=dataset.name, max_epochs=3)
    return train.train(config, dataset).model


def residual() -> nn.Sequential:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            return x + F.gelu(self.inner(x))

    with models.isolated_rng(0):
        return nn.Sequential(nn.Linear(784, 64), Block(), Block(), nn.Linear(64, 10))


def conv(act: Callable[[], nn.Module]) -> nn.Sequential:
    with models.isolated_rng(0):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), act(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), act(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * 49, 10),
        )  # fmt: skip


def short_cuts(rec: ifl.Recording) -> tuple[str, ...]:
    with evaluating(rec.model):
        request = make_request(rec, rec.units.layers, frozenset(BASES[1:]), across=False)
        batch = run_perturbed(request, slice(0, 4))
        return read_structure(batch, request.bases, across=False).names


def print_accuracy() -> None:
    """Largest error relative to the largest entry, against one `torch.func.hessian` per sample."""
    print("hess against torch.func.hessian  float32   float64")
    for name, act in (("ReLU", nn.ReLU), ("GELU", nn.GELU)):
        worst = []
        for dtype in (torch.float32, torch.float64):
            net = models.mlp(784, activation=act, seed=0).to(dtype).eval()
            x = torch.rand(200, 784, generator=torch.Generator().manual_seed(0), dtype=dtype)
            y = torch.arange(200) % 10
            rec = ifl.record(net, ["fc1", "fc2"], x, y, loss=F.cross_entropy)
            found = similarities_by_layer(rec, "hess")
            exact = with_torch_func(net.double(), ["fc1", "fc2"], x.double(), y)
            errors = []
            for layer in ("fc1", "fc2"):
                expected = exact[layer, "hess"].abs().numpy() / 200
                errors.append(np.abs(found[layer]["hess"] - expected).max() / expected.max())
            worst.append(max(errors))
        print(f"    784-64-64-10 {name}            {worst[0]:.1e}   {worst[1]:.1e}")
    print()


def sweep(kind: str, values: Sequence[int], rate: float) -> None:
    """Each point in a process of its own, so that its peak memory is its own."""
    print(f"{kind:8} | seconds per 1000 samples | of the matmul rate | extra memory MiB")
    context = multiprocessing.get_context("spawn")
    for value in values:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            width, samples = (
                (value, max(2_000 * 64 // value, 128)) if kind == "width" else (64, value)
            )
            taken, memory = pool.submit(one_point, width, samples).result()
        done = flops(width) * samples / taken / rate
        print(f"{value:8} | {taken / samples * 1000:24.3f} | {done:18.0%} | {memory:16.0f}")
    print()


def one_point(width: int, samples: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    # what is loaded on first use does not count
    similarities_by_layer(recording_of((64, 64), 640), BASES)
    rec = recording_of((width, width), samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken, _ = seconds(lambda: anew(rec, BASES), 2 if width < 512 else 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return taken, (after - before) / 1024


def recording_of(hidden: tuple[int, int], samples: int) -> ifl.Recording:
    net = models.mlp(784, hidden, seed=0).eval()
    x = torch.rand(samples, 784, generator=torch.Generator().manual_seed(0))
    return ifl.record(net, ["fc1", "fc2"], x, torch.arange(samples) % 10, loss=F.cross_entropy)


def flops(width: int) -> float:
    """Multiplications and additions per sample that the products of `i_sens` of the second layer
    need: nearly all the work. r directions of the input, symmetry used once."""
    rows = min(width, 784)
    return 2 * rows * width**2 * (1 + 0.75)


def matmul_rate() -> float:
    a = torch.rand(1024, 1024)
    taken, _ = seconds(lambda: a @ a, 20)
    return 2 * 1024**3 / taken


def seconds(function: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Least processor time of so many runs after a first one, or of as many as go into a second
    (0 times: of the first run alone), and the result."""
    spent, first = timed(function)
    if not times:
        return spent, first
    best, total, done = float("inf"), 0.0, 0
    while done < times or total < 1:
        spent, _ = timed(function)
        best, total, done = min(best, spent), total + spent, done + 1
    return best, first


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


if __name__ == "__main__":
    tyro.cli(main)
