"""Modularity beside other implementations, on matrices from trained networks and noisy blocks.

Needs the peers (`pip install igraph leidenalg networkx bctpy pycombo`; GPL: measured here, never
imported in infoflow), highspy, and the MNIST files in a folder given by INFOFLOW_DATA or
`--data-dir`. Times are CPU seconds of one thread (set OMP_NUM_THREADS=1), so that other work on the
machine does not count.

    python -m experiments.benchmarks.modularity matrices   # trains, once; then any of
    python -m experiments.benchmarks.modularity layers paper certificate large agreement
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

import numpy as np
import tyro

from experiments.benchmarks import modularity_peers as peers
from infoflow.agreements import element_null, element_similarity
from infoflow.clustering import find_modules, modularity_matrix, monte_carlo
from infoflow.partition import Partition
from tests import oracles_modularity as naive

T = TypeVar("T")


def timed(
    run: Callable[..., T], *arguments: Any, repeats: int = 1, **options: Any
) -> tuple[T, float]:
    """The last result and the median CPU seconds."""
    results: list[T] = []
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        results = [run(*arguments, **options)]
        seconds.append(time.process_time() - start)
    return results[0], median(seconds)


def gap(q: np.ndarray, best: np.ndarray) -> str:
    below = 100 * (1 - q / best)
    return f"mean gap {below.mean():.4f} %, max {below.max():.4f} %"


def make_matrices(file: Path, data_dir: str | None) -> None:
    """Eight measures, two layers, digits and MNIST, dropout 0 and .5: 64 matrices."""
    from torch.nn.functional import cross_entropy

    from infoflow.data import load
    from infoflow.recording import record
    from infoflow.train import TrainConfig, train
    from infoflow.unit_similarity import similarities_by_layer

    found = {}
    for name in ("digits", "mnist"):
        data = load(name, data_dir)
        for dropout in (0.0, 0.5):
            config = TrainConfig(dataset=name, dropout=dropout, max_epochs=40)
            result = train(config, data)
            rec = record(result.model, ["fc1", "fc2"], data.test_x, data.test_y, loss=cross_entropy)
            for layer, measures in similarities_by_layer(rec).items():
                dead = rec.units.unused[rec.units.indices(layer)]
                for measure, S in measures.items():
                    zeroed = np.where(dead[:, None] | dead, 0, S)
                    found[f"{name} {dropout} {layer} {measure}"] = zeroed
            print(f"{name}, dropout {dropout}: test accuracy {result.test_accuracy:.4f}")
    np.savez(file, **found)


def noisy_blocks(n: int, strength: float, *, k: int = 6, seed: int = 0) -> np.ndarray:
    """Uniform noise, plus k planted modules at `strength` times the spectral detection limit."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    noise = np.triu(rng.random((n, n)), 1)
    planted = strength * 2 * np.sqrt(1 / 12) * k / np.sqrt(n)
    S = noise + noise.T + planted * (labels[:, None] == labels)
    np.fill_diagonal(S, 0)
    return S


def layers(matrices: dict[str, np.ndarray]) -> None:
    """Quality and time of every method on one-layer matrices."""
    names = list(matrices)
    find_modules(matrices[names[0]])  # compiles or loads the kernels
    methods: dict[str, Callable[[np.ndarray], tuple[np.ndarray, float]]] = {
        "infoflow default": lambda S: _ours(S, "default"),
        "infoflow lange2022": lambda S: _ours(S, "lange2022"),
        **peers.available(),
    }
    q = {method: np.empty(len(names)) for method in methods}
    seconds = {method: np.empty(len(names)) for method in methods}
    best = np.empty(len(names))
    for i, name in enumerate(names):
        S = matrices[name]
        B = modularity_matrix(S)
        for method, run in methods.items():
            labels, seconds[method][i] = run(S)
            q[method][i] = B.q(np.asarray(labels)[B.used])
        long = find_modules(S, seed=1, restarts=30, perturbations=1000).q
        best[i] = max(long, *(q[method][i] for method in methods))
    ours = seconds["infoflow default"].mean()
    print(f"\n{len(names)} matrices, n = {len(matrices[names[0]])}; best known: best of all below "
          "and of 30 restarts x 1000 perturbations")  # fmt: skip
    for method in methods:
        hits = (q[method] > best - 1e-9).mean()
        print(
            f"  {method:24s} {gap(q[method], best)}, best on {100 * hits:3.0f} %, "
            f"{1e3 * seconds[method].mean():9.2f} ms = {seconds[method].mean() / ours:8.2f} x"
        )


def _ours(S: np.ndarray, method: str) -> tuple[np.ndarray, float]:
    found, seconds = timed(find_modules, S, method=method)
    return found.partition.labels, seconds


def paper(matrices: dict[str, np.ndarray], n_naive: int = 8, n_steps: int = 5000) -> None:
    """Monte Carlo steps: kept sums beside Q recomputed from scratch, per step and in quality."""
    names = list(matrices)[:: max(len(matrices) // n_naive, 1)]
    fast_q, naive_q, best, fast_time, naive_time = [], [], [], [], []
    for seed, name in enumerate(names):
        B = modularity_matrix(matrices[name])
        A = matrices[name][np.ix_(B.used, B.used)]
        start = naive.greedy_spectral(A)
        rng = np.random.default_rng(seed)
        draws = rng.integers(len(A), size=n_steps), rng.random(n_steps)
        (labels, _), seconds = timed(naive.monte_carlo, A, start, *draws, 0.15)
        naive_q.append(B.q(labels))
        naive_time.append(seconds / n_steps)
        for _ in range(2):  # the first time loads the kernel
            rng = np.random.default_rng(seed)
            (labels, _), seconds = timed(monte_carlo, B.values, start, n_steps=n_steps, rng=rng)
        fast_q.append(B.q(labels))
        fast_time.append(seconds / n_steps)
        best.append(find_modules(matrices[name]).q)
    q = np.array(best)
    print(
        f"\n{len(names)} matrices, {n_steps} steps from the same spectral start with the same draws"
    )
    print(f"  largest difference in Q: {np.abs(np.array(fast_q) - naive_q).max():.1e}")
    print(f"  kept sums  {gap(np.array(fast_q), q)}, {1e6 * np.mean(fast_time):8.3f} us a step")
    print(f"  naive loop {gap(np.array(naive_q), q)}, {1e6 * np.mean(naive_time):8.1f} us a step")
    print(f"  ratio {np.mean(naive_time) / np.mean(fast_time):.0f} x")


def certificate(matrices: dict[str, np.ndarray], seconds: float, stride: int) -> None:
    """How many matrices are proven, and how fast: 32 units of each layer, and whole layers.

    The limit is wall time; the CPU seconds beside it are what an idle machine would take.
    """
    for n, limit in ((32, 1.0), (64, 60.0)):
        proven, times = [], []
        for name in list(matrices)[::stride]:
            S = matrices[name][:n, :n]
            find_modules(S, proof_seconds=0.01)
            found, taken = timed(find_modules, S, proof_seconds=seconds)
            proven.append(found.proven_optimal)
            times.append(taken)
            if not found.proven_optimal:
                excess = 100 * (found.upper_bound / found.q - 1)
                print(f"  not proven: {name}, bound {excess:.2f} % above after {taken:.0f} s")
        within = sum(done and taken <= limit for done, taken in zip(proven, times, strict=True))
        print(
            f"n = {n}: {within} of {len(proven)} proven in {limit:g} s, {sum(proven)} in all; "
            f"median {median(times):.2f} s, slowest {max(times):.2f} s",
            flush=True,
        )


def large(sizes: Sequence[int]) -> None:
    """Noisy blocks under, at and above the detection limit, beside igraph's Leiden and Louvain."""
    find_modules(noisy_blocks(64, 1.0))  # loads the kernels
    cases = [(n, strength) for n in sorted(sizes) for strength in (0.0, 0.7, 1.0, 1.5)]
    ours = {}
    for n, strength in cases:  # all before the peers, whose graphs would count in the peak
        found, seconds = timed(find_modules, noisy_blocks(n, strength))
        ours[n, strength] = found.q, seconds
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"n = {n}, blocks at {strength} of the limit: Q {found.q:.6f}, {seconds:.2f} s, "
            f"peak memory so far {peak:.2f} GiB",
            flush=True,
        )
    for n, strength in cases:
        S = noisy_blocks(n, strength)
        B = modularity_matrix(S)
        q, seconds = ours[n, strength]
        print(f"\nn = {n}, blocks at {strength} of the limit")
        for name, run in peers.for_large(n).items():
            labels, build, taken = run(S)
            theirs = B.q(np.asarray(labels))
            print(
                f"  {name:18s} infoflow's Q {100 * (q / theirs - 1):+.2f} %; "
                f"{taken / seconds:.1f} x infoflow's time, {(build + taken) / seconds:.1f} x with "
                "building the graph",
                flush=True,
            )


def agreement() -> None:
    """Element-centric similarity beside clusim, and a null of 5,000 shuffles."""
    from clusim.clustering import Clustering
    from clusim.sim import element_sim

    rng = np.random.default_rng(0)
    for n, k in ((64, 6), (4096, 50)):
        a, b = rng.integers(k, size=n), rng.integers(k, size=n)
        first, second = Partition(a), Partition(b)
        ours, seconds = timed(element_similarity, first, second, repeats=50)
        clusters = [Clustering().from_membership_list(x.tolist()) for x in (a, b)]
        theirs, clusim = timed(element_sim, *clusters)
        print(
            f"\nelement similarity, n = {n}: {1e3 * seconds:.3f} ms, clusim {clusim / seconds:.0f} "
            f"x the time, difference {abs(ours - theirs):.1e}"
        )
    a, b = rng.integers(6, size=64), rng.integers(6, size=64)
    element_null(a, b)
    _, seconds = timed(element_null, a, b, n_shuffles=5000, repeats=20)
    print(f"null of 5,000 shuffles, n = 64: {1e3 * seconds:.2f} ms")


Section = Literal["matrices", "layers", "paper", "certificate", "large", "agreement"]


def main(
    sections: tyro.conf.Positional[tuple[Section, ...]],
    matrices: Path = Path("matrices.npz"),
    data_dir: str | None = None,
    sizes: tuple[int, ...] = (256, 1024, 4096),
    proof_seconds: float = 60.0,
    stride: int = 1,
) -> None:
    """Run some sections.

    Args:
        sections: Which.
        matrices: File of the matrices.
        data_dir: The MNIST files; INFOFLOW_DATA if not given.
        sizes: Of the large matrices.
        proof_seconds: Longest time for a proof.
        stride: Prove every so many matrices.
    """
    if "matrices" in sections:
        make_matrices(matrices, data_dir)
    found = {}
    if {"layers", "paper", "certificate"} & set(sections):
        with np.load(matrices) as file:
            found = {name: file[name] for name in file.files}
    if "layers" in sections:
        layers(found)
    if "paper" in sections:
        paper(found)
    if "certificate" in sections:
        certificate(found, proof_seconds, stride)
    if "large" in sections:
        large(sizes)
    if "agreement" in sections:
        agreement()


if __name__ == "__main__":
    tyro.cli(main, description=(__doc__ or "").splitlines()[0])
