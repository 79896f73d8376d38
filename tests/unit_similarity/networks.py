"""Small networks on which the tests compare fast paths with the naive measures."""

import torch
from torch import nn
from torch.nn import functional as F


def mlp(act=nn.ReLU, *, inputs=5, width=6, outputs=3, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(inputs, width), act(), nn.Dropout(0.5),
        nn.Linear(width, width - 1), act(), nn.Dropout(0.5),
        nn.Linear(width - 1, outputs),
    ).to(dtype)  # fmt: skip


def deep_mlp(act=nn.ReLU, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(9, 4), act(), nn.Linear(4, 6), nn.Linear(6, 5), act(), act(), nn.Linear(5, 7),
        act(), nn.BatchNorm1d(7), nn.Linear(7, 2),
    ).double()  # fmt: skip


def conv_net(act=nn.ReLU, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), act(), nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1), act(), nn.Flatten(), nn.Linear(3 * 9, 3),
    ).double()  # fmt: skip


class Residual(nn.Module):
    """x + W act(x): not a chain; with ReLU, piecewise linear."""

    def __init__(self, width, act=F.relu):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.act = act

    def forward(self, x):
        return x + self.act(self.inner(x))


class Gate(nn.Module):
    """A product of two piecewise-linear functions, which is not piecewise linear."""

    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return self.a(x).relu() * self.b(x).relu()


class Attention(nn.Module):
    """Softmax attention over the features, four tokens of two."""

    def forward(self, x):
        tokens = x.reshape(len(x), -1, 2)
        weights = torch.softmax(tokens @ tokens.transpose(1, 2), -1)
        return (weights @ tokens).flatten(1)


class HiddenSquare(torch.autograd.Function):
    """x², done where the trace of torch functions does not see it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class AddsHiddenSquare(nn.Module):
    def forward(self, x):
        return 1 * x + HiddenSquare.apply(x)


class Functional(nn.Module):
    """An MLP that calls functions, not layers, for its nonlinearities."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).tanh().clamp(-0.5, 0.5))


class ReLU(nn.Module):
    """Named like a piecewise-linear layer, and is none."""

    def forward(self, x):
        return x * x * x


class Branching(nn.Module):
    """The same function by two ways in turn, of which one is a chain."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 4), nn.Linear(4, 3)
        self.calls = 0

    def forward(self, x):
        h = self.fc1(x)
        self.calls += 1
        return self.fc2(h.tanh() if self.calls % 3 else torch.where(h > 0, h.tanh(), h.tanh()))


def sequential(*layers, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*[make() for make in layers]).double()
