"""lesions(): what a network does worse when one of its modules is cut off from the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import COUNT, door, mapping
from infoflow._passes import show_progress
from infoflow._safety import evaluating
from infoflow.interventions.bind import donors_for
from infoflow.interventions.kinds import Done, Shuffle
from infoflow.interventions.operator import do
from infoflow.lesioning.result import ALL, Lesions
from infoflow.partition import PartitionLike, as_partition
from infoflow.recording import Recording
from infoflow.site import Site
from infoflow.unit_similarity.per_sample_loss import per_sample_loss

Task = Callable[[Tensor, Tensor | None], Tensor]
"""`f(outputs, targets)`: `(K,)`, how badly each sample is done; larger is worse."""
Row = tuple[str, str, float, float, float, float]
_MOST_OUTPUTS = 100
_COLUMNS = ("module", "units", "measure", "task", "normal", "lesioned", "damage", "se")


@door(donors=COUNT, tasks=mapping)
def lesions(
    rec: Recording,
    partition: PartitionLike,
    *,
    donors: int = 4,
    tasks: Mapping[str, Task] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Lesions:
    """What suffers when each module is resampled: set to what it was on samples drawn
    independently of the input, in all its layers from the same one.

    Everything is measured in the normal run and under do(module): the recording's loss, accuracy
    by class where the targets are classes, the change of every output, and tasks of one's own. A
    module's values keep the distribution that they have, so that what is lost is what they tell of
    the input. Standard errors hold for new samples and new donors, of which both are drawn (the
    two-way cluster-robust formula).

    Args:
        rec: A recording. Every sample is run, `donors` times for each module.
        partition: Labels over its units. Those at -1 are in no module and stay as they are, and so
            are units that never change.
        donors: Donors that every sample meets, one permutation of the data set each.
        tasks: `{name: function}` of outputs and targets to `(K,)`, larger where a sample is done
            worse; for the heads of a network with several, for example.
        seed: Of the permutations.
        progress: Show a progress bar.

    Returns:
        `Lesions`: `.to_frame()`, `.damage()`, `.specialisation()`, `.dissociations()`.

    Raises:
        ValueError: Labels of another length, no module, fewer than one donor, a task that does
            not give one finite number a sample.
        RuntimeError: Model or data changed since they were recorded.

    Source: "resample ablation" is Chan et al. 2022 (causal scrubbing); the double dissociation is
    the argument of neuropsychology (Shallice 1988); standard errors after Cameron,
    Gelbach and Miller 2011.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rec = ifl.record(net, "1", torch.randn(60, 4))
        >>> hurt = ifl.lesions(rec, [0, 0, 1, 1])
        >>> hurt.damage("change").shape  # modules, outputs
        (2, 2)
    """
    import pandas as pd

    found = as_partition(partition, len(rec.units)).without(rec.units.unused)
    if not found.n_modules:
        raise ValueError(f"expected at least one module of units that change, got {found!r}")
    rec.check_current()
    scores = _Scores(rec, tasks or {})
    every = np.arange(len(rec))
    kinds = [Shuffle(seed=s) for s in np.random.SeedSequence(seed).generate_state(donors).tolist()]
    drawn = np.stack([donors_for(kind, rec, every) for kind in kinds])
    runs = [(m, kind) for m in range(found.n_modules) for kind in kinds]
    rows: list[tuple[object, ...]] = []
    seen: list[dict[str, np.ndarray]] = []
    for m, kind in show_progress(runs, progress, "lesions"):
        seen.append(scores(_outputs(rec, found.modules[m], kind.seed)))
        if len(seen) == donors:
            about = (found.names[m], int(found.sizes[m]))
            rows += [(*about, *row) for row in scores.rows(seen, drawn)]
            seen = []
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    return Lesions(found, table, donors, ("accuracy", "loss"))


def _outputs(rec: Recording, module: np.ndarray, seed: int) -> Tensor:
    """`(K, ...)` outputs with a module at what it was on donors."""
    done: dict[str | Site, Done] = {
        rec.units.site(layer): Shuffle(inside, seed=seed)
        for layer, inside in rec.units.by_layer(module).items()
    }
    with torch.no_grad(), evaluating(rec.model, rec.snapshot()), do(rec.model, done, recording=rec):
        parts = (
            rec.real_outputs(rec.output(rec.call(rec.rows(rows))), rows) for rows in rec.batches()
        )
        return torch.cat([part.detach().cpu() for part in parts])


class _Scores:
    """How badly each sample is done, by every measure, and what a lesion adds to it.

    Args:
        rec: The recording; its outputs are those of the normal run.
        tasks: The caller's own.
    """

    def __init__(self, rec: Recording, tasks: Mapping[str, Task]) -> None:
        self._rec, self._tasks = rec, tasks
        self._outputs = rec.outputs[:]
        flat = self._outputs.reshape(len(rec), -1).double()
        self._twice_variance = 2 * flat.var(0, correction=0)
        self._classes = _classes(self._outputs, rec.targets)
        self.normal = self(self._outputs)

    def __call__(self, outputs: Tensor) -> dict[str, np.ndarray]:
        """By measure `(K, columns)`, larger is worse."""
        found = {}
        rec = self._rec
        if self._tasks:
            each = [_checked(name, f, outputs, rec) for name, f in self._tasks.items()]
            found["task"] = np.stack(each, 1)
        if rec.loss is not None and rec.targets is not None:
            found["loss"] = _losses(rec, outputs)[:, None]
        if self._classes is not None:
            found["accuracy"] = (outputs.argmax(1).numpy() != self._classes)[:, None].astype(float)
        found["change"] = self._change(outputs)
        return found

    def rows(self, seen: list[dict[str, np.ndarray]], drawn: np.ndarray) -> Iterator[Row]:
        """(measure, task, normal, lesioned, damage, se) of one module's runs, one a donor.

        Args:
            seen: What was found with each donor.
            drawn: `(donors, K)` the donors.
        """
        for measure, normal in self.normal.items():
            values = np.stack([one[measure] for one in seen])  # (donors, K, columns)
            for task, column, among in self._reported(measure, values.shape[2]):
                at = normal[among, column].mean()
                added = values[:, among, column] - normal[among, column]
                damage, se = added.mean(), two_way_se(added, drawn[:, among])
                sign = -1 if measure == "accuracy" else 1
                start = 1 - at if measure == "accuracy" else at
                yield measure, task, start, start + sign * damage, damage, se

    def _reported(self, measure: str, columns: int) -> Iterator[tuple[str, int, np.ndarray]]:
        """Name, column and samples of every task of a measure; of everything first."""
        every = np.arange(len(self._rec))
        if measure == "task":
            yield from ((name, column, every) for column, name in enumerate(self._tasks))
            return
        yield ALL, 0, every
        if measure == "change":
            yield from ((str(output - 1), output, every) for output in range(1, columns))
        elif self._classes is not None:
            for label in np.unique(self._classes).tolist():
                yield str(label), 0, np.flatnonzero(self._classes == label)

    def _change(self, outputs: Tensor) -> np.ndarray:
        """`(K, 1 + O)` square change over twice the variance: of all outputs together, and of each
        where there are few."""
        flat = (outputs - self._outputs).reshape(len(outputs), -1).double().square()
        scale = self._twice_variance
        total = flat.sum(1, keepdim=True) / scale.sum().clamp_min(1e-300)
        if outputs.ndim != 2 or flat.shape[1] > _MOST_OUTPUTS:
            return total.numpy()
        return torch.cat([total, flat / scale.clamp_min(1e-300)], 1).numpy()


def _classes(outputs: Tensor, targets: Tensor | None) -> np.ndarray | None:
    """`(K,)` class of every sample, where the targets are classes and the outputs their scores."""
    if targets is None or targets.ndim != 1 or targets.is_floating_point() or outputs.ndim != 2:
        return None
    inside = bool(((targets >= 0) & (targets < outputs.shape[1])).all())
    return targets.cpu().numpy().astype(np.int64) if inside and outputs.shape[1] > 1 else None


def _losses(rec: Recording, outputs: Tensor) -> np.ndarray:
    assert rec.loss is not None and rec.targets is not None
    with torch.enable_grad():
        found = [
            per_sample_loss(rec.loss, outputs[rows].detach().requires_grad_(), rec.targets[rows])
            for rows in rec.batches()
        ]
    return torch.cat([part.detach() for part in found]).double().numpy()


def _checked(name: str, task: Task, outputs: Tensor, rec: Recording) -> np.ndarray:
    value = task(outputs, rec.targets)
    if not isinstance(value, Tensor) or value.shape != (len(rec),) or not value.isfinite().all():
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"task {name!r}: expected one finite number for each of {len(rec)} samples, larger "
            f"where it is done worse, as of cross_entropy(..., reduction='none'); got {got}"
        )
    return value.detach().double().cpu().numpy()


def two_way_se(values: np.ndarray, donors: np.ndarray) -> float:
    """Standard error of the mean of values that share contexts and donors.

    V = Σ_contexts (Σ u)² / N² + Σ_donors (Σ u)² / N² - Σ u² / N², u deviations from the mean, N
    values; not less than the larger of the first two.

    Args:
        values: `(M, K)`, context k with its m-th donor.
        donors: `(M, K)` the donor's number, at least 0.

    Source: Cameron, Gelbach and Miller 2011, equation 2.3.

    Examples:
        >>> round(two_way_se(np.array([[0.0, 2.0]]), np.array([[0, 1]])) ** 2, 9)
        0.5
    """
    deviations = values - values.mean()
    by_donor = (np.bincount(donors.ravel(), deviations.ravel()) ** 2).sum()
    by_context = (deviations.sum(0) ** 2).sum()
    total = by_context + by_donor - (deviations**2).sum()
    return float(np.sqrt(max(total, by_context, by_donor)) / values.size)
