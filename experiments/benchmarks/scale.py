"""What large networks cost: similarities by random probes, in bare passes over the same data.

    python -m experiments.benchmarks.scale                     # all networks, some minutes
    python -m experiments.benchmarks.scale --networks gpt2     # one of them

Ratios of processor time on one thread. The truth beside the estimates: rows of the four matrices
for a few units, differentiated by plain torch without this package. Rows go to results/scale.csv as
they come; what came out stands in docs/scale.md.
"""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import infoflow as ifl
from infoflow.unit_similarity import similarities_with_errors

RESULTS = Path(__file__).parent / "results" / "scale.csv"
BASES = ("cov", "i_sens", "o_sens", "hess")
Name = Literal["gpt2", "resnet"]


def main(
    networks: tuple[Name, ...] = ("resnet", "gpt2"),
    probes: tuple[int, ...] = (4, 8),
    units: int = 6,
    results: Path = RESULTS,
) -> None:
    """Write a row for each network, measure and number of probes.

    Args:
        networks: Which.
        probes: Per sample and measure.
        units: How many units' rows of the matrices are differentiated exactly.
        results: The table; rows of the same network and probes are replaced.
    """
    torch.set_num_threads(1)
    for name in networks:
        case = CASES[name]()
        bare = min(seconds(case.pass_over)[0] for _ in range(2))
        chosen = np.linspace(0, len(case.rec.units) - 1, units).astype(int)
        truth = case.rows(chosen)
        for count in probes:
            keep(results, name, count, measured(case, count, chosen, truth, bare))


@dataclass(frozen=True)
class Case:
    """A recorded network.

    Attributes:
        rec: The recording.
        layers: The modules of the recorded units, in order.
        embed: The layer at whose output `i_sens` starts; None: the inputs.
    """

    rec: ifl.Recording
    layers: Sequence[nn.Module]
    embed: nn.Module | None = None

    def pass_over(self) -> None:
        """One bare pass over the data."""
        with torch.no_grad():
            for rows in self.rec.batches():
                self.rec.model(self.rec.inputs[0][rows])

    def rows(self, units: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of the three derivative measures `(units, n)`, by plain torch."""
        total = {base: torch.zeros(len(units), len(self.rec.units)).double() for base in BASES[1:]}
        for rows in self.rec.batches():
            for base, part in self._rows(rows, units).items():
                total[base] += part
        return {base: abs((part / len(self.rec)).numpy()) for base, part in total.items()}

    def _rows(self, rows: slice, units: np.ndarray) -> dict[str, Tensor]:
        x, h, deltas, y = self._run(rows)
        assert self.rec.loss is not None and self.rec.targets is not None
        labels = self.rec.targets[rows]
        singles = (self.rec.loss(y[k : k + 1], labels[k : k + 1]) for k in range(len(y)))
        slope = torch.cat(grad(sum(singles), deltas, create_graph=True), 1)
        u, v = torch.zeros_like(h, requires_grad=True), torch.zeros_like(y, requires_grad=True)
        (back,) = grad(h, [x], u, create_graph=True)
        out = torch.cat(grad(y, deltas, v, create_graph=True), 1)
        found: dict[str, list[Tensor]] = {base: [] for base in BASES[1:]}
        for unit in units:
            (into,) = grad(h[:, unit].sum(), [x])
            found["i_sens"].append(grad(back, [u], into)[0].double().sum(0))
            (sent,) = grad(out[:, unit].sum(), [v])
            found["o_sens"].append(torch.cat(grad(y, deltas, sent), 1).double().sum(0))
            found["hess"].append(torch.cat(grad(slope[:, unit].sum(), deltas), 1).double().sum(0))
        return {base: torch.stack(parts) for base, parts in found.items()}

    def _run(self, rows: slice) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """What `i_sens` starts from, units, perturbations and outputs, in one graph."""
        x = self.rec.inputs[0][rows]
        start = x.clone().requires_grad_() if self.embed is None else x
        units, deltas, handles = [], [], []

        def enter(_layer: nn.Module, _given: Any, output: Tensor) -> Tensor:
            nonlocal start
            start = output.detach().requires_grad_()
            return start

        def add(_layer: nn.Module, _given: Any, output: Tensor) -> Tensor:
            image = output.ndim == 4
            n = output.shape[1] if image else output.shape[-1]
            delta = torch.zeros(len(output), n, requires_grad=True)
            deltas.append(delta)
            units.append(output.mean((2, 3) if image else 1))
            return output + (delta[:, :, None, None] if image else delta[:, None])

        if self.embed is not None:
            handles.append(self.embed.register_forward_hook(enter))
        handles += [layer.register_forward_hook(add) for layer in self.layers]
        with sdpa_kernel(SDPBackend.MATH):
            y = self.rec.output(self.rec.model(start if self.embed is None else x))
        for handle in handles:
            handle.remove()
        return start, torch.cat(units, 1), deltas, y


def grad(ends: Any, starts: Any, weights: Any = None, **how: Any) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        ends, starts, weights, retain_graph=True, allow_unused=True, materialize_grads=True, **how
    )


def measured(
    case: Case, probes: int, units: np.ndarray, truth: dict[str, np.ndarray], bare: float
) -> list[dict[str, Any]]:
    """Each measure by itself, and the four together (`all`)."""
    found = []
    for base in (*BASES, "all"):
        case.rec.cache.clear()
        asked = list(BASES) if base == "all" else [base]
        took, (matrices, errors) = seconds(
            lambda asked=asked: similarities_with_errors(
                case.rec, asked, method="probes", probes=probes
            )
        )
        row: dict[str, Any] = {"measure": base, "bare passes": took / bare, "bare s": bare}
        if base in truth:
            apart = np.linalg.norm(matrices[base][units] - truth[base])
            row |= {"error of rows": apart / np.linalg.norm(truth[base])}
        row |= {"estimated error": errors.get(base), "units": len(case.rec.units)}
        row["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found.append(row)
        print(probes, row, flush=True)
    return found


def keep(results: Path, name: str, probes: int, rows: list[dict[str, Any]]) -> None:
    table = pd.DataFrame([{"network": name, "probes": probes, **row} for row in rows]).round(4)
    if results.exists():
        old = pd.read_csv(results).to_dict("records")
        rest = [row for row in old if (row["network"], row["probes"]) != (name, probes)]
        table = pd.concat([pd.DataFrame(rest), table])
    results.parent.mkdir(exist_ok=True)
    first = ["network", "units", "measure", "probes"]
    order = first + [c for c in table.columns if c not in first]
    table = pd.DataFrame(table, columns=order)
    table.sort_values(["network", "probes"], kind="stable").to_csv(results, index=False)


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of a call, and what it gave."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def gpt2() -> Case:
    """GPT-2's shape with random weights: 4 blocks of 512 neurons, 500 sequences of 32 tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=1000, n_positions=32, n_embd=128, n_layer=4, n_head=4, n_inner=512,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    words = torch.randint(1000, (500, 33), generator=torch.Generator().manual_seed(0))
    rec = ifl.record(
        model, "transformer.h.*.mlp.act", words[:, :-1].clone(), words[:, 1:].clone(),
        loss=next_word, batch_size=50,
    )  # fmt: skip
    return Case(
        rec, [model.get_submodule(n) for n in rec.units.layers], model.get_input_embeddings()
    )


def next_word(logits: Tensor, words: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), words.flatten())


class Block(nn.Module):
    """A residual block of two convolutions; where the size changes, so does the way past it."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.past = nn.Conv2d(before, after, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + self.past(x))


def resnet() -> Case:
    """A residual network with random weights: 480 channels, 256 images of 16 × 16."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    blocks = [Block(32, 32, 1), Block(32, 32, 1), Block(32, 64, 2), Block(64, 64, 1)]
    head = [Block(64, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    model = nn.Sequential(stem, *blocks, *head).eval()
    names = ["0.0", *(f"{i}.conv{j}" for i in (1, 2, 3, 4) for j in (1, 2)), "5.conv1"]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 3, 16, 16, generator=generator)
    y = torch.randint(10, (256,), generator=generator)
    rec = ifl.record(model, names, x, y, loss=F.cross_entropy, batch_size=64)
    return Case(rec, [model.get_submodule(name) for name in names])


CASES: dict[Name, Callable[[], Case]] = {"gpt2": gpt2, "resnet": resnet}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    tyro.cli(main)
