"""What an intervention costs here, by raw hooks, by other libraries, and written by hand.

Run: python -m experiments.benchmarks.interventions
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import infoflow as ifl
from experiments.benchmarks.intervention_peers import Swap, Task, by_hand, installed, raw_hooks
from infoflow._replay.run import Run
from infoflow.interventions import resample, resample_each
from infoflow.models import isolated_rng, mlp

Rows = tuple[np.ndarray, np.ndarray]


class Block(nn.Module):
    """A residual block with one in-place ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class Pooled(nn.Module):
    """A linear map of the mean over positions."""

    def __init__(self, width: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.fc, self.dims = nn.Linear(width, 10), dims

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean(self.dims))


def resnet(width: int = 16, blocks: int = 6) -> nn.Sequential:
    """Six residual blocks."""
    stages: list[tuple[str, nn.Module]] = [("stem", nn.Conv2d(3, width, 3, padding=1))]
    stages += [(f"block{i + 1}", Block(width)) for i in range(blocks)]
    return nn.Sequential(OrderedDict([*stages, ("head", Pooled(width, (2, 3)))]))


def transformer(width: int = 64, layers: int = 6) -> nn.Sequential:
    """Six encoder layers over 16 tokens."""
    made = [
        (f"block{i + 1}", nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True))
        for i in range(layers)
    ]
    stages = [("embed", nn.Linear(16, width)), *made, ("head", Pooled(width, (1,)))]
    return nn.Sequential(OrderedDict(stages))


def task(net: nn.Sequential, inputs: Tensor, first: str, second: str, dim: int) -> Task:
    """Half of the units of `first`, every other one."""
    net.eval()
    kept: list[Tensor] = []
    handle = getattr(net, first).register_forward_hook(lambda _m, _x, out: kept.append(out))
    with torch.no_grad():
        net(inputs)
    handle.remove()
    units = torch.arange(0, kept[0].shape[dim], 2)
    return Task(net, inputs, kept[0], first, second, dim, units)


def tasks() -> dict[str, tuple[Task, int, int]]:
    """Networks, with the number of donors and of contexts that a run pairs."""
    rng = torch.Generator().manual_seed(0)
    with isolated_rng(0):
        nets = mlp(784), resnet(), transformer()
    inputs = [
        torch.randn(*shape, generator=rng)
        for shape in ((10_000, 784), (500, 3, 16, 16), (500, 16, 16))
    ]
    return {
        "784-64-64-10 perceptron": (task(nets[0], inputs[0], "fc1", "fc2", 1), 200, 100),
        "residual net, 6 blocks": (task(nets[1], inputs[1], "block1", "block2", 1), 20, 100),
        "transformer, 6 layers": (task(nets[2], inputs[2], "block1", "block2", 2), 20, 100),
    }


def seconds(work: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Least processor time of each on one thread, in turns: a busy machine is busy for all."""
    best = dict.fromkeys(work, float("inf"))
    for turn in range(rounds + 1):
        for name, run in work.items():
            start = time.process_time()
            run()
            if turn:  # the first fills caches
                best[name] = min(best[name], time.process_time() - start)
    return best


def record_of(job: Task) -> ifl.Recording:
    """What infoflow starts from."""
    dim = job.dim
    sites = [ifl.Site(name, unit_dim=dim) for name in (job.first, job.second)]
    return ifl.record(job.net, sites, job.inputs, batch_size=1000)


def engine(job: Task, rec: ifl.Recording, rows: Rows, replay: bool) -> Callable[[], Tensor]:
    """All rows through `resample`."""

    def run() -> Tensor:
        source = {job.first: job.units.numpy()}
        runs = resample(rec, source, *rows, [job.second], replay=replay)
        return torch.cat([seen[job.second].relu().flatten(1).sum(1) for _, seen in runs])

    return run


def unguarded(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same without comparing any row with a full pass, to tell what that costs. Around many
    runs where each is short: the patch takes .3 ms itself."""

    def alone() -> Any:
        with patch.object(Run, "_compared", return_value=None):
            return run()

    return alone


def in_batches(swap: Swap, rows: Rows, batch: int) -> Callable[[], Tensor]:
    """All rows through a function of one batch."""
    donors, contexts = (torch.as_tensor(r) for r in rows)

    def run() -> Tensor:
        with torch.no_grad():
            return torch.cat(
                [
                    swap(contexts[at : at + batch], donors[at : at + batch])
                    .relu()
                    .flatten(1)
                    .sum(1)
                    for at in range(0, len(donors), batch)
                ]
            )

    return run


def table(job: Task, rows: Rows, batch: int) -> dict[str, float]:
    """Times of all contenders; prints which give another answer than raw hooks."""
    rec = record_of(job)
    work = {
        "raw hooks": in_batches(raw_hooks(job), rows, batch),
        "by hand": in_batches(by_hand(job), rows, batch),
        "infoflow": engine(job, rec, rows, replay=True),
        "infoflow, no guard": unguarded(engine(job, rec, rows, replay=True)),
        "infoflow, full passes": engine(job, rec, rows, replay=False),
    }
    for name, make in installed().items():
        work[name] = in_batches(make(job), rows, batch)
    expected = work["raw hooks"]()
    for name, run in work.items():
        found = run()
        same = found.shape == expected.shape and torch.allclose(
            found, expected, rtol=1e-4, atol=1e-3 * float(expected.abs().mean())
        )
        if not same and name != "captum":
            print(f"  {name}: ANOTHER ANSWER than raw hooks")
    return seconds(work)


def show(title: str, times: dict[str, float]) -> None:
    """Ratios to raw hooks and to the hand-written limit."""
    print(f"\n{title}\n  {'':24s} x raw hooks   of the limit")
    for name, spent in sorted(times.items(), key=lambda item: item[1]):
        raw, limit = times["raw hooks"] / spent, times["by hand"] / spent
        print(f"  {name:24s} {raw:9.2f}   {limit:10.2f}")
    print(f"  the guard: {times['infoflow'] / times['infoflow, no guard'] - 1:.0%}")


def overhead_per_call(job: Task, repeats: int = 300) -> float:
    """Microseconds that a pass inside `do` costs above one with a raw hook, one sample."""
    first, x = getattr(job.net, job.first), job.inputs[:1]
    donors = torch.tensor([1])
    new = job.values[1:2].index_select(job.dim, job.units).movedim(job.dim, 1)

    def passes() -> None:
        with torch.no_grad():
            for _ in range(repeats):
                job.net(x)

    def raw() -> None:
        handle = first.register_forward_hook(lambda _m, _x, out: job.put(out, donors))
        passes()
        handle.remove()

    def ours() -> None:
        site = ifl.Site(job.first, unit_dim=job.dim)
        with ifl.do(job.net, {site: (job.units, new.flatten(2) if new.ndim > 2 else new)}):
            passes()

    times = seconds({"raw": raw, "ours": ours}, rounds=15)
    return (times["ours"] - times["raw"]) / repeats * 1e6


def price_of_a_run(n: int = 500, repeats: int = 40) -> dict[str, float]:
    """Microseconds of a `counterfactual` of few samples of a small perceptron."""
    with isolated_rng(0):
        stages: dict[str, nn.Module] = {
            "in": nn.Linear(16, 16), "fc1": nn.ReLU(), "mid": nn.Linear(16, 16), "fc2": nn.ReLU(),
            "out": nn.Linear(16, 4),
        }  # fmt: skip
        job = task(nn.Sequential(OrderedDict(stages)), torch.randn(n, 16), "fc1", "fc2", 1)
    rec = record_of(job)
    rows = np.random.default_rng(0).permutation(n), np.arange(n)
    by = {"raw hooks": raw_hooks(job), "by hand": by_hand(job)}

    def ours() -> Tensor:
        return ifl.counterfactual(rec, {"fc1": job.units.numpy()}, observe="fc2")

    def repeated(run: Callable[[], object]) -> Callable[[], object]:
        return lambda: [run() for _ in range(repeats)]

    work = {name: repeated(in_batches(swap, rows, n)) for name, swap in by.items()}
    work |= {"infoflow": repeated(ours), "infoflow, no guard": unguarded(repeated(ours))}
    return {name: spent / repeats * 1e6 for name, spent in seconds(work, rounds=25).items()}


def peak_megabytes(job: Task, rec: ifl.Recording, count: int) -> float:
    """Highest resident memory of a run of that many interventions (Linux), above its start."""
    Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status")

    def resident(field: str) -> float:
        line = next(s for s in status.read_text().splitlines() if s.startswith(field))
        return int(line.split()[1]) / 1024

    start = resident("VmRSS")
    sources = [{job.first: [i % len(job.units)]} for i in range(count)]
    rows = np.repeat(np.arange(50), 50), np.tile(np.arange(50), 50)
    for _ in resample_each(rec, sources, *rows, [job.second]):
        pass
    return resident("VmHWM") - start


RESULTS = Path(__file__).parent / "results" / "interventions.csv"


def add_rows(task: str, runs: str, times: Mapping[str, float]) -> None:
    """To the saved rows: milliseconds of each contender, and the machine's load meanwhile."""
    rows = pd.DataFrame({"contender": [name.replace("_", "-") for name in times]})
    rows.insert(0, "task", task)
    rows.insert(1, "runs", runs)
    rows["milliseconds"] = [float(f"{1e3 * spent:.4g}") for spent in times.values()]
    rows["load"] = round(os.getloadavg()[0])
    known = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    kept = [old[(old["task"] != task) | (old["runs"] != runs)] for old in known]
    pd.concat([*kept, rows]).to_csv(RESULTS, index=False)


def page(rows: pd.DataFrame) -> str:
    """A contender's speed, x raw hooks / share of the limit, for each task and kind of run."""
    times = rows.pivot_table("milliseconds", "contender", ["task", "runs"], sort=False)
    times = times.drop(columns="16-16-16-4 perceptron", level="task")
    lines = ["| | " + " | ".join(f"{t.split(',')[0]}, {r}" for t, r in times) + " |"]
    lines += ["|---" * (times.shape[1] + 1) + "|"]
    for name, spent in times.drop(index=["raw hooks"]).iterrows():
        raw, limit = times.loc["raw hooks"] / spent, times.loc["by hand"] / spent
        cells = [f"{a:.1f} / {b:.2f}" for a, b in zip(raw, limit, strict=True)]
        lines += [f"| {name} | " + " | ".join(cells) + " |"]
    guard = times.loc["infoflow"] / times.loc["infoflow, no guard"] - 1
    return "\n".join([*lines, "| the guard | " + " | ".join(f"{g:.0%}" for g in guard) + " |"])


def main() -> None:
    """Print all ratios, and save the times."""
    torch.set_num_threads(1)
    for title, (job, m, k) in tasks().items():
        rng = np.random.default_rng(0)
        n = len(job.inputs)
        grid = np.repeat(rng.permutation(n)[:m], k), np.tile(rng.permutation(n)[:k], m)
        batch = 4096 if job.values.ndim == 2 else 1000
        times = table(job, grid, batch)
        show(f"{title}: {m} donors x {k} contexts", times)
        add_rows(title, "donors x contexts", times)
        times = table(job, (rng.permutation(n), np.arange(n)), batch)
        show(f"{title}: one shuffled pass over {n} samples", times)
        add_rows(title, "shuffled pass", times)
        print(f"  do() above a raw hook: {overhead_per_call(job):.1f} us a call")
    for n in (500, 2000, 10_000):
        times = price_of_a_run(n)
        add_rows("16-16-16-4 perceptron", f"{n} rows", {k: v / 1e6 for k, v in times.items()})
        price = ", ".join(f"{name} {spent:.0f} us" for name, spent in times.items())
        print(f"\none counterfactual of {n} rows of a 16-16-16-4 perceptron: {price}")
        print(f"  the guard: {times['infoflow'] / times['infoflow, no guard'] - 1:.0%}")
    job = tasks()["784-64-64-10 perceptron"][0]
    rec = record_of(job)
    peaks = [peak_megabytes(job, rec, count) for count in (16, 16, 128, 1024)][1:]
    print(
        "\npeak memory of 16, 128, 1024 interventions: " + ", ".join(f"{p:.0f} MB" for p in peaks)
    )


if __name__ == "__main__":
    main()
