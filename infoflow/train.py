"""Training one network as in the 2022 study."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from infoflow._arguments import COUNT, DROPOUT, SIZES, check_fields, real, text, whole
from infoflow.data import Dataset
from infoflow.models import isolated_rng, mlp
from infoflow.penalties import ModularPenalty, penalty, with_penalty

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainConfig:
    """One network of the 2022 study: what it is, what it learns from, how it is trained.

    Attributes:
        dataset: Name of the data set; must be that of the data given to `train`.
        hidden: Units of each hidden layer.
        dropout: Probability that a hidden unit is dropped in training, in [0, 1).
        l1: Weight of the penalty Σ|W|, added to the loss.
        l2: Weight of the penalty ΣW², added to the loss.
        lr: Initial learning rate of Adam.
        batch_size: Inputs per step; the last batch of an epoch may be smaller.
        max_epochs: Training ends here at the latest; 0 gives an untrained network.
        plateau_factor: The learning rate is multiplied by this on a plateau.
        plateau_patience: It is one when more epochs than this pass without a lower validation loss.
        early_stop_patience: Training ends after this many epochs without a lower validation loss.
        validation_fraction: Share of the training split held out to measure the validation loss.
        seed: Of the initial weights, the validation split, the batches and the dropout masks.
        modular: A penalty on what equal modules of the hidden units share; None: there is none.

    Raises:
        ValueError: A value outside its range.

    Examples:
        >>> TrainConfig(dataset="mnist", dropout=0.5).hidden
        (64, 64)
    """

    dataset: str = "digits"
    hidden: tuple[int, ...] = (64, 64)
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 1e-5
    lr: float = 1e-3
    batch_size: int = 200
    max_epochs: int = 500
    plateau_factor: float = 0.25
    plateau_patience: int = 3
    early_stop_patience: int = 6
    validation_fraction: float = 0.1
    seed: int = 0
    modular: ModularPenalty | None = None

    def __post_init__(self) -> None:
        share = real(0, 1, above=True, below=True)
        check_fields(
            self,
            hidden=lambda name, value: tuple(SIZES(name, value)),
            dropout=DROPOUT,
            dataset=text,
            l1=real(0),
            l2=real(0),
            lr=real(0, above=True),
            plateau_factor=share,
            validation_fraction=share,
            max_epochs=whole(0),
            plateau_patience=whole(0),
            early_stop_patience=COUNT,
        )
        if isinstance(self.modular, Mapping):  # as a checkpoint has it
            object.__setattr__(self, "modular", ModularPenalty(**self.modular))
        if self.modular is not None:
            self.modular.partition(self.hidden)


class Epoch(NamedTuple):
    """What one epoch gave: losses are mean cross-entropies in nats, with all penalties in
    `train_loss` and the modular one alone in `validation_loss`; `lr` is the epoch's rate."""

    train_loss: float
    validation_loss: float
    validation_accuracy: float
    lr: float


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained network and how it came about.

    Attributes:
        model: The network in eval mode, with the weights of its best epoch.
        config: What it was trained with.
        history: One `Epoch` per epoch trained.
        test_accuracy: Share of the test split classified correctly.
        validation_accuracy: The same of the validation split.
    """

    model: nn.Sequential
    config: TrainConfig
    history: tuple[Epoch, ...]
    test_accuracy: float
    validation_accuracy: float

    @property
    def epochs(self) -> int:
        """Epochs trained, those after the best one included."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose weights the model has; 0 if untrained."""
        losses = [epoch.validation_loss for epoch in self.history]
        return losses.index(min(losses)) + 1 if losses else 0

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch."""
        import pandas as pd

        index = pd.RangeIndex(1, self.epochs + 1, name="epoch")
        return pd.DataFrame(list(self.history), columns=list(Epoch._fields), index=index)

    def __repr__(self) -> str:
        c = self.config
        return (
            f"TrainResult({c.dataset}, hidden {c.hidden}, dropout {c.dropout:g}, l1 {c.l1:g}, "
            f"l2 {c.l2:g}, seed {c.seed}: test accuracy {self.test_accuracy:.4f} "
            f"after {self.epochs} epochs, best {self.best_epoch})"
        )


class Seeds(NamedTuple):
    """Independent seeds derived from a configuration's one seed.

    The split and the batches depend on nothing else, so networks of one seed see the same batches
    whatever their penalties and dropout.
    """

    weights: int
    split: int
    batches: int
    dropout: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """The four seeds; they do not overlap as seed, seed + 1, ... would."""
        return cls(*map(int, np.random.SeedSequence(seed).generate_state(4)))


def train(
    config: TrainConfig,
    dataset: Dataset,
    *,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> TrainResult:
    """Train the network of `config` on `dataset`, after Lange et al. (2022), section 4.1.

    Loss: mean cross-entropy + l1 Σ|W| + l2 ΣW² over weight matrices (biases are left out). Adam;
    the learning rate falls on a plateau of the validation loss; training stops early and the
    weights of the epoch with the lowest validation loss are kept. A modular penalty is part of both
    losses. The same configuration gives the same weights on the same machine with the same number
    of threads; global random state is left as it was.

    Args:
        config: Its `dataset` names the data set given here.
        dataset: Trained on its training split, of which a part is held out for validation.
        device: CPU (None) or a CUDA device.
        progress: Show a bar over epochs.

    Raises:
        ValueError: The data set is another one, or too small to hold a validation split out.
        FloatingPointError: The loss became NaN or infinite.

    Examples:
        >>> from infoflow.data import load_digits
        >>> result = train(TrainConfig(max_epochs=2), load_digits())
        >>> result.epochs, result.model.training
        (2, False)
    """
    if config.dataset != dataset.name:
        raise ValueError(
            f"expected the data set that the configuration names, {config.dataset!r}, got "
            f"{dataset.name!r}; set TrainConfig(dataset={dataset.name!r})"
        )
    device = torch.device(device if device is not None else "cpu")
    seeds = Seeds.of(config.seed)
    fit_rows, validation_rows = split_rows(len(dataset.train_x), config)
    x, y = dataset.train_x.to(device), dataset.train_y.to(device)
    held_x, held_y = x[validation_rows], y[validation_rows]
    model = mlp(
        dataset.n_features, config.hidden, dataset.n_classes, config.dropout, seeds.weights
    ).to(device, torch.float32)
    with torch.enable_grad(), isolated_rng(seeds.dropout, device):
        history = _fit(
            model, config, (x[fit_rows], y[fit_rows]), (held_x, held_y), progress=progress
        )
    model.eval().zero_grad(set_to_none=True)
    test = _evaluate(model, dataset.test_x.to(device), dataset.test_y.to(device))
    return TrainResult(
        model, config, history, test.accuracy, _evaluate(model, held_x, held_y).accuracy
    )


def split_rows(n: int, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Indices of the rows to fit and of the held-out validation rows, out of `n`.

    Raises:
        ValueError: One of the two would be empty.
    """
    n_validation = round(n * config.validation_fraction)
    if not 0 < n_validation < n:
        raise ValueError(
            f"expected a validation_fraction that leaves rows to fit and to validate on, got "
            f"{config.validation_fraction} of {n} rows"
        )
    order = torch.randperm(n, generator=_generator(Seeds.of(config.seed).split))
    return order[n_validation:], order[:n_validation]


def epoch_batches(n: int, config: TrainConfig) -> Iterator[tuple[Tensor, ...]]:
    """Endless epochs over `n` rows: each a fresh shuffle, cut into batches of row indices."""
    generator = _generator(Seeds.of(config.seed).batches)
    while True:
        yield torch.randperm(n, generator=generator).split(config.batch_size)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _fit(
    model: nn.Sequential,
    config: TrainConfig,
    train_split: tuple[Tensor, Tensor],
    validation_split: tuple[Tensor, Tensor],
    *,
    progress: bool,
) -> tuple[Epoch, ...]:
    """Train `model` in place and leave it with the weights of its best epoch."""
    from tqdm import tqdm

    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=config.plateau_factor, patience=config.plateau_patience
    )
    epochs = epoch_batches(len(train_split[0]), config)
    history: list[Epoch] = []
    best_loss, best_weights, since_best = math.inf, _weights(model), 0
    for number in tqdm(range(1, config.max_epochs + 1), desc="train", disable=not progress):
        lr = optimizer.param_groups[0]["lr"]
        train_loss = _train_epoch(model, optimizer, config, train_split, next(epochs))
        held = _evaluate(model, *validation_split, modular=config.modular)
        if not math.isfinite(train_loss + held.loss):
            raise FloatingPointError(
                f"the loss became {train_loss:g} (validation {held.loss:g}) in epoch {number}; "
                f"lower the learning rate ({config.lr:g}) or the penalties"
            )
        history.append(Epoch(train_loss, held.loss, held.accuracy, lr))
        schedule.step(held.loss)
        since_best += 1
        if held.loss < best_loss:
            best_loss, best_weights, since_best = held.loss, _weights(model), 0
        if since_best >= config.early_stop_patience:
            break
    model.load_state_dict(best_weights)
    return tuple(history)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    train_split: tuple[Tensor, Tensor],
    batches: tuple[Tensor, ...],
) -> float:
    """One step per batch; the mean loss over rows, penalties included.

    Rows are picked from the tensors directly: a DataLoader collates them one by one.
    """
    x, y = train_split
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    model.train()
    for rows in batches:
        rows = rows.to(x.device)
        logits, shared = with_penalty(model, config.modular, x[rows])
        loss = cross_entropy(logits, y[rows]) + penalty(matrices, config.l1, config.l2) + shared
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return float(total) / len(x)


class _Evaluation(NamedTuple):
    loss: float
    accuracy: float


def _evaluate(
    model: nn.Module, x: Tensor, y: Tensor, *, modular: ModularPenalty | None = None
) -> _Evaluation:
    """Mean cross-entropy (nats), a modular penalty added, and accuracy; without dropout."""
    model.eval()
    loss, correct = 0.0, 0
    with torch.no_grad():
        for some_x, some_y in zip(x.split(8192), y.split(8192), strict=True):
            logits = model(some_x)
            loss += float(cross_entropy(logits, some_y, reduction="sum"))
            correct += int((logits.argmax(1) == some_y).sum())
    directions = torch.Generator(x.device).manual_seed(0)  # the same at every epoch
    shared = float(with_penalty(model, modular, x[:8192], directions)[1].detach())
    return _Evaluation(loss / len(x) + shared, correct / len(x))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
