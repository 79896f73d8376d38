"""The networks of the study: perceptrons, convolutions and transformers, by kind and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import infoflow as ifl
from infoflow.models import isolated_rng


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 images of 8 × 8, flat, and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def perceptron(activation: type[nn.Module], seed: int) -> ifl.Recording:
    """64-32-32-10, trained on digits."""
    with isolated_rng(seed):
        net = nn.Sequential(
            nn.Linear(64, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 10)
        )
    return _of_digits(net, ["1", "3"], seed)


def convolutions(pool: type[nn.Module], seed: int) -> ifl.Recording:
    """Convolutions of 8, 16 and 16 channels with pooling after the first two, trained on digits."""
    with isolated_rng(seed):
        net = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), pool(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), pool(2),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip
    return _of_digits(net, ["2", "5", "8"], seed)


def transformer(kind: str, seed: int) -> ifl.Recording:
    """Two blocks of 48 neurons, trained to say which word of a sequence came twice (`gpt2`,
    `llama`: at each place, the word that followed the same word before, where it did)."""
    import transformers as hf

    common: dict[str, Any] = {"vocab_size": 24, "bos_token_id": 0, "eos_token_id": 0}
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = torch.randint(1, 24, (600, 16), generator=torch.Generator().manual_seed(seed))
    words[:, 8:] = words[:, :8]  # the second half repeats the first
    with isolated_rng(seed):
        if kind == "gpt2":
            config = hf.GPT2Config(
                n_positions=16, n_embd=32, n_layer=2, n_head=4, n_inner=48, **common
            )
            net, layers = hf.GPT2LMHeadModel(config), "transformer.h.*.mlp.act"
        elif kind == "llama":
            config = hf.LlamaConfig(intermediate_size=48, **sizes, **common)
            net, layers = hf.LlamaForCausalLM(config), "model.layers.*.mlp.act_fn"
        else:
            config = hf.BertConfig(
                intermediate_size=48, max_position_embeddings=16, **sizes, **common
            )
            net, layers = (
                hf.BertForMaskedLM(config),
                "bert.encoder.layer.*.intermediate.intermediate_act_fn",
            )
    given, wanted = (words, words) if kind == "bert" else (words[:, :-1], words[:, 1:])
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(300):
        rows = torch.randperm(len(given), generator=draws)[:64]
        shown = given[rows].clone()
        if kind == "bert":
            shown[:, 12:] = 0  # to be filled in
        optimiser.zero_grad()
        F.cross_entropy(net(shown).logits.flatten(0, 1), wanted[rows].flatten()).backward()
        optimiser.step()
    net.eval().zero_grad(set_to_none=True)
    return ifl.record(net, layers, given[:300].clone())


def _of_digits(net: nn.Sequential, layers: Sequence[str | ifl.Site], seed: int) -> ifl.Recording:
    x, y = digits()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(400):
        rows = torch.randperm(len(x), generator=draws)[:256]
        optimiser.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
    net.eval().zero_grad(set_to_none=True)
    return ifl.record(net, layers, x[:600], y[:600], loss=F.cross_entropy)


class Residual(nn.Module):
    """x + convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(channels), nn.ReLU()
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.act(self.norm(self.first(x))))


def residual(seed: int) -> ifl.Recording:
    """Three residual blocks of 16 channels on digits; the units are inside the blocks."""
    with isolated_rng(seed):
        net = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1),
            Residual(16), Residual(16), nn.MaxPool2d(2), Residual(16),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip
    return _of_digits(net, [ifl.Site(f"{i}.act", unit_dim=1) for i in (2, 3, 5)], seed)


def deep(seed: int) -> ifl.Recording:
    """64-24-24-24-24-10 with LayerNorm and SiLU, trained on digits."""
    sizes = [64, 24, 24, 24, 24]
    with isolated_rng(seed):
        parts: list[nn.Module] = []
        for before, after in pairwise(sizes):
            parts += [nn.Linear(before, after), nn.LayerNorm(after), nn.SiLU()]
        net = nn.Sequential(*parts, nn.Linear(24, 10))
    return _of_digits(net, ["2", "5", "8", "11"], seed)


KINDS: Mapping[str, Callable[[int], ifl.Recording]] = {
    "perceptron ReLU": partial(perceptron, nn.ReLU),
    "perceptron tanh": partial(perceptron, nn.Tanh),
    "perceptron GELU": partial(perceptron, nn.GELU),
    "convolutions, maxima": partial(convolutions, nn.MaxPool2d),
    "convolutions, means": partial(convolutions, nn.AvgPool2d),
    "GPT-2": partial(transformer, "gpt2"),
    "BERT": partial(transformer, "bert"),
    "Llama": partial(transformer, "llama"),
}
LATER: Mapping[str, Callable[[int], ifl.Recording]] = {"residual": residual, "deep": deep}
"""Kinds that nothing was chosen on."""
