"""Training many networks of one architecture together: one wide matmul instead of many small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from infoflow.data import Dataset
from infoflow.models import mlp
from infoflow.train import Epoch, Seeds, TrainConfig, TrainResult, epoch_batches, split_rows


def train_stacked(
    configs: Sequence[TrainConfig], dataset: Dataset, *, stack_size: int = 8
) -> list[TrainResult]:
    """What `train` gives for each of `configs`, up to float rounding, trained in stacks on the CPU.

    Each network keeps its own seed, penalties, dropout masks, learning-rate schedule and early
    stop. Networks that share seed, split and batch size see the same batches, so that their first
    layers are one matrix product, and the same uniform draws, from which each takes the dropout
    masks it would have drawn alone; these are trained together, the others one stack after another.
    Rounding differs from `train`, and training amplifies it: after many epochs single weights
    differ, and an early stop may fall on another epoch.

    Args:
        configs: Networks to train; `dataset` and `hidden` must be the same in all.
        dataset: Their data set.
        stack_size: At most so many networks at a time; more no longer fit the processor's cache.

    Returns:
        One result per configuration, in their order.

    Raises:
        ValueError: No configurations, several architectures, another data set, or one too small.
        FloatingPointError: The loss of a network became NaN or infinite; its settings are named.

    Examples:
        >>> from infoflow.data import load_digits
        >>> configs = [TrainConfig(l2=l2, max_epochs=2) for l2 in (0.0, 1e-3)]
        >>> [result.epochs for result in train_stacked(configs, load_digits())]
        [2, 2]
    """
    _check(configs, dataset, stack_size)
    results: dict[int, TrainResult] = {}
    order = sorted(range(len(configs)), key=lambda i: (_batch_key(configs[i]), i))
    for _, group in groupby(order, key=lambda i: _batch_key(configs[i])):
        members = list(group)
        for start in range(0, len(members), stack_size):
            chosen = members[start : start + stack_size]
            trained = _train_stack([configs[i] for i in chosen], dataset)
            results.update(zip(chosen, trained, strict=True))
    return [results[i] for i in range(len(configs))]


def _batch_key(config: TrainConfig) -> tuple[float, ...]:
    """Networks of equal keys share split, batches and dropout draws; those without dropout go
    apart, as they need no draws."""
    c = config
    return (c.seed, c.batch_size, c.validation_fraction, c.dropout > 0)


def _check(configs: Sequence[TrainConfig], dataset: Dataset, stack_size: int) -> None:
    if not configs:
        raise ValueError("expected at least one configuration, got none")
    shapes = sorted({c.hidden for c in configs})
    if len(shapes) > 1:
        raise ValueError(f"expected one architecture, got hidden {shapes}; stack each on its own")
    names = sorted({c.dataset for c in configs} - {dataset.name})
    if names:
        raise ValueError(
            f"expected configurations of the data set given, {dataset.name!r}, got {names}; "
            f"set TrainConfig(dataset={dataset.name!r})"
        )
    if any(c.modular for c in configs):
        raise ValueError("modular penalties are not stacked: use infoflow.train.train")
    if stack_size < 1:
        raise ValueError(f"stack_size: expected at least 1, got {stack_size}")


@dataclass(frozen=True)
class _Parameter:
    """One weight matrix or bias of all networks, `(networks, ...)`, and its Adam moments."""

    value: Tensor
    first: Tensor
    second: Tensor

    @property
    def penalised(self) -> bool:
        return self.value.ndim == 3

    def kept(self, rows: Tensor) -> _Parameter:
        return _Parameter(self.value[rows], self.first[rows], self.second[rows])


@dataclass
class _Progress:
    """One network's schedule, and the weights of its best epoch."""

    config: TrainConfig
    history: list[Epoch] = field(default_factory=list)
    best_loss: float = math.inf
    best: list[Tensor] = field(default_factory=list)
    since_best: int = 0

    def __post_init__(self) -> None:
        # an optimiser without work, for PyTorch's own plateau rule
        self.optimizer = torch.optim.SGD([torch.zeros(1)], lr=self.config.lr)
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer,
            factor=self.config.plateau_factor,
            patience=self.config.plateau_patience,
        )

    @property
    def lr(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def update(self, epoch: Epoch, weights: Iterable[Tensor]) -> None:
        c = self.config
        if not math.isfinite(epoch.train_loss + epoch.validation_loss):
            raise FloatingPointError(
                f"the loss became {epoch.train_loss:g} (validation {epoch.validation_loss:g}) in "
                f"epoch {len(self.history) + 1} of dropout {c.dropout:g}, l1 {c.l1:g}, "
                f"l2 {c.l2:g}, seed {c.seed}; lower the learning rate ({c.lr:g}) or the penalties"
            )
        self.history.append(epoch)
        self.schedule.step(epoch.validation_loss)
        self.since_best += 1
        if epoch.validation_loss < self.best_loss:
            self.best_loss, self.since_best = epoch.validation_loss, 0
            self.best = [w.clone() for w in weights]

    @property
    def done(self) -> bool:
        stopped = self.since_best >= self.config.early_stop_patience
        return stopped or len(self.history) >= self.config.max_epochs


@torch.no_grad()
def _train_stack(configs: Sequence[TrainConfig], dataset: Dataset) -> list[TrainResult]:
    """Train networks that share split, batches and dropout draws."""
    fit_rows, held_rows = split_rows(len(dataset.train_x), configs[0])
    x, y = dataset.train_x[fit_rows], dataset.train_y[fit_rows]
    held = dataset.train_x[held_rows], dataset.train_y[held_rows]
    models = [
        mlp(dataset.n_features, c.hidden, dataset.n_classes, c.dropout, Seeds.of(c.seed).weights)
        for c in configs
    ]
    parameters = _stacked(models)
    progress = [_Progress(c) for c in configs]
    for state, model in zip(progress, models, strict=True):
        state.best = [p.detach().clone() for p in model.parameters()]
    epochs = epoch_batches(len(x), configs[0])
    draws = torch.Generator().manual_seed(Seeds.of(configs[0].seed).dropout)
    alive, step = [p for p in progress if not p.done], 0
    while alive:
        losses, step = _epoch(parameters, alive, (x, y), next(epochs), draws, step)
        found = _evaluate([p.value for p in parameters], *held)
        for n, (state, loss) in enumerate(zip(alive, losses, strict=True)):
            epoch = Epoch(float(loss), float(found[0][n]), float(found[1][n]), state.lr)
            state.update(epoch, [p.value[n] for p in parameters])
        going = [n for n, state in enumerate(alive) if not state.done]
        if len(going) < len(alive):
            alive = [alive[n] for n in going]
            parameters = [p.kept(torch.tensor(going, dtype=torch.long)) for p in parameters]
    return _results(models, progress, dataset, held)


def _stacked(models: Sequence[nn.Sequential]) -> list[_Parameter]:
    """Weights and biases in turn, layer by layer."""
    values = _together(m.parameters() for m in models)
    return [_Parameter(v, torch.zeros_like(v), torch.zeros_like(v)) for v in values]


def _together(networks: Iterable[Iterable[Tensor]]) -> list[Tensor]:
    """Each parameter of all networks, `(networks, ...)`."""
    return [torch.stack(same) for same in zip(*networks, strict=True)]


def _results(
    models: Sequence[nn.Sequential],
    progress: Sequence[_Progress],
    dataset: Dataset,
    held: tuple[Tensor, Tensor],
) -> list[TrainResult]:
    best = _together(state.best for state in progress)
    test = _evaluate(best, dataset.test_x, dataset.test_y)[1]
    validation = _evaluate(best, *held)[1]
    results = []
    for n, (model, state) in enumerate(zip(models, progress, strict=True)):
        for parameter, value in zip(model.parameters(), state.best, strict=True):
            parameter.copy_(value)
        history = tuple(state.history)
        accuracies = float(test[n]), float(validation[n])
        results.append(TrainResult(model.eval(), state.config, history, *accuracies))
    return results


def _epoch(
    parameters: Sequence[_Parameter],
    alive: Sequence[_Progress],
    data: tuple[Tensor, Tensor],
    batches: Sequence[Tensor],
    draws: torch.Generator,
    step: int,
) -> tuple[Tensor, int]:
    """One Adam step per batch; the mean loss of each network, penalties included."""
    x, y = data
    dropout = torch.tensor([p.config.dropout for p in alive], dtype=torch.float64)
    update = _Adam([p.lr for p in alive], [p.config for p in alive])
    values = [p.value for p in parameters]
    widths = [w.shape[1] for w in values[:-2:2]]
    total = torch.zeros(len(alive), dtype=torch.float64)
    for rows in batches:
        kept = _kept(dropout, len(rows), widths, draws)
        losses, gradients = _gradients(values, x[rows], y[rows], kept)
        step += 1
        total += (losses + update(parameters, gradients, step)) * len(rows)
    return total / len(x), step


class _Adam:
    """Adam with a learning rate and penalties for each network."""

    def __init__(self, lr: Sequence[float], configs: Sequence[TrainConfig]) -> None:
        self.lr = np.array(lr)
        self.l1 = np.array([c.l1 for c in configs], np.float32)
        self.l2 = np.array([c.l2 for c in configs], np.float32)

    def __call__(
        self, parameters: Sequence[_Parameter], gradients: Sequence[Tensor], step: int
    ) -> Tensor:
        """Step in place; the penalties before it."""
        from experiments.common.adam import adam

        rate = (self.lr / (1 - 0.9**step)).astype(np.float32)
        correction = np.float32(math.sqrt(1 - 0.999**step))
        total = np.zeros(len(rate), np.float32)
        none = np.zeros(len(rate), np.float32)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            state = (parameter.value, gradient, parameter.first, parameter.second)
            w, g, m, v = (tensor.flatten(1).numpy() for tensor in state)
            l1, l2 = (self.l1, self.l2) if parameter.penalised else (none, none)
            total += adam(w, g, m, v, rate, l1, l2, correction)
        return torch.from_numpy(total)


def _kept(
    dropout: Tensor, n_rows: int, widths: Sequence[int], draws: torch.Generator
) -> list[Tensor] | None:
    """Per hidden layer `(networks, rows, units)`: 0 where dropped, else 1 / (1 - p).

    PyTorch keeps a unit where a float64 uniform is below 1 - p, so that networks of one seed can
    share the uniforms: each gets the very mask that it would draw alone.
    """
    if not dropout.any():
        return None
    share = (1 - dropout)[:, None, None]
    scale = (1 / share).float()
    uniforms = (
        torch.empty(n_rows, width, dtype=torch.float64).uniform_(generator=draws)
        for width in widths
    )
    return [(u < share) * scale for u in uniforms]


def _gradients(
    values: Sequence[Tensor], x: Tensor, y: Tensor, kept: Sequence[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """Mean cross-entropy of each network, and its gradient with respect to every parameter.

    Written out, as autograd took a third of the time of so small networks.
    """
    hidden = list(_forward(values, x, kept))
    logits = hidden.pop()
    log_p = logits.log_softmax(2)
    rows = torch.arange(len(y))
    losses = -log_p[:, rows, y].mean(1)
    slope = log_p.exp_()
    slope[:, rows, y] -= 1
    slope /= len(y)
    gradients: list[Tensor] = []
    for layer in reversed(range(len(hidden) + 1)):
        gradients.append(slope.sum(1))
        if layer == 0:
            n, _, units = slope.shape
            wide = slope.transpose(1, 2).reshape(n * units, len(y))
            gradients.append((wide @ x).view(n, units, -1))
        else:
            below = hidden[layer - 1]
            gradients.append(slope.transpose(1, 2) @ below)
            slope = (slope @ values[2 * layer]) * (below > 0)
            slope = slope if kept is None else slope.mul_(kept[layer - 1])
    return losses, gradients[::-1]


def _forward(
    values: Sequence[Tensor], x: Tensor, kept: Sequence[Tensor] | None
) -> Iterator[Tensor]:
    """Hidden activations after dropout, layer by layer, then logits: `(networks, rows, units)`."""
    h = x
    last = len(values) // 2 - 1
    for layer in range(last + 1):
        weight, bias = values[2 * layer], values[2 * layer + 1]
        if layer == 0:
            n, units, _ = weight.shape
            wide = h @ weight.view(n * units, -1).T
            h = (wide.view(len(x), n, units).transpose(0, 1) + bias[:, None]).contiguous()
        else:
            h = torch.baddbmm(bias[:, None], h, weight.transpose(1, 2))
        if layer < last:
            h = h.clamp_(min=0)
            h = h if kept is None else h.mul_(kept[layer])
        yield h


def _evaluate(values: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (nats) and accuracy of each network, without dropout."""
    loss = torch.zeros(len(values[0]), dtype=torch.float64)
    correct = torch.zeros(len(values[0]), dtype=torch.float64)
    for some_x, some_y in zip(x.split(1024), y.split(1024), strict=True):
        *_, logits = _forward(values, some_x, None)
        log_p = logits.log_softmax(2)
        loss -= log_p[:, torch.arange(len(some_y)), some_y].sum(1, dtype=torch.float64)
        correct += (logits.argmax(2) == some_y).sum(1)
    return loss / len(x), correct / len(x)
