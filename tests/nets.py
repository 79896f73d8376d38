"""Small networks of the kinds the intervention engine must handle, and how to look at a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from infoflow.models import isolated_rng


def seeded(build: Any, seed: int = 0) -> nn.Module:
    """`build()` with its initial weights drawn from `seed`; the global generator stays."""
    with isolated_rng(seed):
        return build()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mlp(d: int = 6, width: int = 8, classes: int = 3) -> nn.Sequential:
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(d, width), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, classes),
        )
    )  # fmt: skip


class Twice(nn.Module):
    """One ReLU used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 5), nn.Linear(5, 5), nn.ReLU()
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.b(self.act(self.a(x))))


class Broken(nn.Module):
    """Fails after it has drawn random numbers and changed things, when told to."""

    def __init__(self, error: type[BaseException] = RuntimeError) -> None:
        super().__init__()
        self.fc, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)
        self.drop = nn.Dropout(0.5)
        self.error = error
        self.passes_left = [-1]  # a list: attributes are put back after every pass
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(3)
        h = self.norm(self.fc(self.drop(x)))
        if self.passes_left[0] == 0:
            raise self.error("as told")
        self.passes_left[0] -= 1
        return self.head(h)


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything a pass may not change: modes, flags, gradients, hooks, buffers, attributes."""
    return {
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "hooks": [(list(m._forward_hooks), list(m._forward_pre_hooks)) for m in model.modules()],
        "values": {name: value.tolist() for name, value in model.state_dict().items()},
        "names": [sorted(vars(m)) for m in model.modules()],
        "random": torch.get_rng_state().tolist(),
    }


class Residual(nn.Module):
    """Blocks as a ResNet has them: one in-place ReLU per block, used twice."""

    class Block(nn.Module):
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

    def __init__(self, width: int = 4, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(*(self.Block(width) for _ in range(blocks)))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(torch.relu_(self.stem(x)))
        return self.head(x.mean((2, 3)))


class Cells(nn.Module):
    """A recurrent cell over time steps."""

    def __init__(self, kind: type[nn.Module] = nn.GRUCell) -> None:
        super().__init__()
        self.cell = kind(3, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state if isinstance(state, Tensor) else state[0])


class Encoder(nn.Module):
    """A transformer encoder over tokens of features."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.layers = nn.ModuleList([layer, nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)])
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for layer in self.layers:
            h = layer(h)
        return self.head(h.mean(1))


class DictOutput(nn.Module):
    """Layers that pass dictionaries."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 5)

        def forward(self, value: dict[str, Tensor]) -> dict[str, Tensor]:
            h = torch.relu(self.fc(value["h"]))
            return {"h": h, "skip": value["h"]}

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Linear(4, 5), self.Inner(), self.Inner()
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        value = self.b(self.a({"h": self.stem(x)}))
        return {"logits": self.head(value["h"] + value["skip"])}
