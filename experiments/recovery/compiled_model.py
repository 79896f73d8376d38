"""A transformer that runs compiled weights: attention and perceptrons on one stream, no norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# What a block's parts are called in the files, and in the blocks here.
PARTS = ("query", "key", "value", "out", "hidden", "write")


@dataclass(frozen=True)
class Block:
    """Weights of one layer; matrices as in `nn.Linear`, (out, in).

    `head_of` says of each coordinate of the attention's results to which head it belongs: heads may
    have results of any width. Queries and keys lie head by head, `heads` of equal width.
    """

    weights: Mapping[str, Tensor]
    biases: Mapping[str, Tensor]
    head_of: Tensor
    heads: int


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer of these weights, which may be empty: torch warns when it draws none."""
    made = nn.Linear(1, 1)
    made.out_features, made.in_features = weight.shape
    made.weight, made.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return made


class CompiledBlock(nn.Module):
    """Attention, then a perceptron; each adds to the stream.

    `results` gives what the heads give, before it is written to the stream, and `neurons` the
    perceptron's hidden layer, `(batch, tokens, units)` both, zero at padding.
    """

    head_of: Tensor

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.heads = block.heads
        self.register_buffer("head_of", block.head_of.clone())
        parts = {name: _linear(block.weights[name], block.biases[name]) for name in PARTS}
        self.query, self.key, self.value = parts["query"], parts["key"], parts["value"]
        self.out, self.hidden, self.write = parts["out"], parts["hidden"], parts["write"]
        self.results, self.neurons = nn.Identity(), nn.Identity()

    def forward(self, stream: Tensor, real: Tensor) -> Tensor:
        """`(batch, tokens, width)`, and which tokens are no padding, `(batch, tokens)`."""
        query, key = (
            part(stream).unflatten(2, (self.heads, -1)) for part in (self.query, self.key)
        )
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key)
        pattern = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(3)
        results = torch.einsum("bcqk,bkc->bqc", pattern[:, self.head_of], self.value(stream))
        stream = stream + self.out(self.results(results * real[..., None]))
        neurons = self.neurons(self.hidden(stream).relu() * real[..., None])
        return stream + self.write(neurons)


class CompiledTransformer(nn.Module):
    """Tokens as one-hot rows `(batch, tokens, codes)` to answers `(batch, tokens, answers)`.

    One-hot, so that outputs have derivatives by the input. Several sub-programs may each have codes
    of their own, one beside the other. Padding, by the first of them, is attended to by nobody.

    Args:
        tokens: What each code adds to the stream, `(codes, width)`.
        positions: What each position adds, `(positions, width)`.
        blocks: The layers.
        pad: The code of padding.
        answer: Which coordinates of the last stream are given out.
    """

    def __init__(
        self,
        tokens: Tensor,
        positions: Tensor,
        blocks: tuple[Block, ...],
        pad: int,
        answer: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Parameter(tokens), nn.Parameter(positions)
        self.blocks = nn.ModuleList(CompiledBlock(block) for block in blocks)
        self.pad, self.answer = pad, answer

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens to answers, zero at padding."""
        return self.stream(tokens)[..., self.answer]

    def stream(self, tokens: Tensor) -> Tensor:
        """Tokens to the whole stream after the last block, `(batch, tokens, width)`."""
        real = tokens[..., self.pad] < 0.5
        stream = tokens @ self.tokens + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            stream = block(stream, real)
        return stream * real[..., None]
