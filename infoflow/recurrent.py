"""Fused layers step by step: every gate and state of every time step is a call of a layer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from infoflow._arguments import door
from infoflow.attention import UnrolledAttention, refuse_to_unroll


@door()
def unrolled(model: nn.Module) -> nn.Module:
    """A copy of a model in which fused recurrent and attention layers run step by step.

    `nn.LSTM`, `nn.GRU` and `nn.RNN` compute all time steps in one call, `nn.MultiheadAttention` all
    heads, so that nothing inside can be recorded or set. In the copy each is an `Unrolled` or an
    `UnrolledAttention` at the same path. Parameters and buffers are the model's own, names in
    `state_dict` stay, and outputs are equal up to rounding.

    An attention layer `attn` with 4 heads holds `attn.query`, `attn.key` and `attn.value`,
    `(batch, tokens, features)`, and `attn.pattern`, `(batch, heads, tokens, tokens)`; its heads are
    the units of `Site("attn.out_proj", io="input", heads=4)`.

    Layer l of a recurrent layer `rnn` is `rnn.layer{l}`, backward in time `rnn.layer{l}_reverse`,
    and holds these, each `(batch, hidden)` and called once a time step:

    - `nn.LSTM`: `input_gate`, `forget_gate`, `candidate`, `output_gate`, `cell`, `hidden`
    - `nn.GRU`: `reset_gate`, `update_gate`, `candidate`, `hidden`
    - `nn.RNN`: `hidden`

    `Site("rnn.layer0.hidden", call="all")` takes time steps as positions, `call=3` the fourth.

    Args:
        model: Any module; it stays as it is.

    Raises:
        ValueError: Nothing to unroll; a projection (`proj_size`), parametrised weights, hooks, or
            a class of the user's own derived from such a layer.

    Examples:
        >>> import infoflow as ifl
        >>> net = torch.nn.LSTM(3, 4, batch_first=True)
        >>> x = torch.randn(20, 5, 3)
        >>> steps = unrolled(net)
        >>> torch.allclose(steps(x)[0], net(x)[0], atol=1e-6)
        True
        >>> ifl.record(steps, ifl.Site("layer0.hidden", call="all"), x)["layer0.hidden"].shape
        torch.Size([20, 4, 5])
    """
    kinds = (nn.RNNBase, nn.MultiheadAttention)
    fused = {name: layer for name, layer in model.named_modules() if isinstance(layer, kinds)}
    if not fused:
        raise ValueError(
            f"{type(model).__name__} has no nn.LSTM, nn.GRU, nn.RNN or nn.MultiheadAttention to "
            "unroll; cells (nn.LSTMCell) run step by step already: Site(path, call='all')"
        )
    # what a deep copy finds in its memo it takes instead of copying it
    memo: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters()}
    memo |= {id(tensor): tensor for tensor in model.buffers()}
    for name, layer in fused.items():
        if isinstance(layer, nn.RNNBase):
            memo[id(layer)] = Unrolled(layer, name)
        elif type(layer) is not UnrolledAttention:
            memo[id(layer)] = UnrolledAttention(layer, name)
    return copy.deepcopy(model, memo)


class Unrolled(nn.Module):
    """A recurrent layer that computes as `fused` does, step by step, with its parameters.

    Takes and returns what `fused` does, but for packed sequences and inputs without a batch.

    Args:
        fused: An `nn.LSTM`, `nn.GRU` or `nn.RNN`.
        name: What errors call it.

    Raises:
        ValueError: As `unrolled` does.
    """

    def __init__(self, fused: nn.RNNBase, name: str = "") -> None:
        super().__init__()
        _check(fused, name)
        self.mode, self.bias, self.batch_first = fused.mode, fused.bias, fused.batch_first
        self.input_size, self.hidden_size = fused.input_size, fused.hidden_size
        self.num_layers, self.bidirectional = fused.num_layers, fused.bidirectional
        self.dropout = fused.dropout
        self.train(fused.training)
        self.suffixes = [
            f"{number}{way}"
            for number in range(fused.num_layers)
            for way in ("", "_reverse")[: 1 + fused.bidirectional]
        ]
        for key, parameter in fused.named_parameters():
            self.register_parameter(key, parameter)
        for suffix in self.suffixes:
            self.add_module(f"layer{suffix}", _step_of(fused))

    def flatten_parameters(self) -> None:
        """Nothing to do; models call this for the fused kernels' sake."""

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `torch.nn.LSTM`, `torch.nn.GRU`, `torch.nn.RNN`."""
        x = self._batch_first(x)
        start = self._states(x, state)
        ways, ends = 1 + self.bidirectional, []
        for number in range(self.num_layers):
            if number and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            both = []
            for suffix in self.suffixes[number * ways : (number + 1) * ways]:
                seen, end = self._run(suffix, x, next(start))
                both.append(seen)
                ends.append(end)
            x = torch.cat(both, 2)
        last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
        out = x if self.batch_first else x.transpose(0, 1)
        return out, last if self.mode == "LSTM" else last[0]

    def _run(
        self, suffix: str, x: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Hidden states `(batch, time, hidden)` of one layer in one direction, and the last."""
        step, reverse = getattr(self, f"layer{suffix}"), suffix.endswith("_reverse")
        w_ih, w_hh = (getattr(self, f"weight_{key}_l{suffix}") for key in ("ih", "hh"))
        b_ih, b_hh = (getattr(self, f"bias_{key}_l{suffix}", None) for key in ("ih", "hh"))
        entering, seen = F.linear(x, w_ih, b_ih).unbind(1), []
        for entered in reversed(entering) if reverse else entering:
            state = step(entered, F.linear(state[0], w_hh, b_hh), state)
            seen.append(state[0])
        return torch.stack(seen[::-1] if reverse else seen, 1), state

    def _batch_first(self, x: Tensor) -> Tensor:
        if isinstance(x, PackedSequence):
            raise TypeError(
                "an unrolled recurrent layer takes no PackedSequence: its steps have fewer and "
                "fewer samples; give it padded sequences of one length (pad_packed_sequence) and "
                "read the last step of each by its length"
            )
        if x.ndim != 3:
            raise ValueError(
                "an unrolled recurrent layer takes (batch, time, features), or (time, batch, "
                f"features) if batch_first=False, got {tuple(x.shape)}"
            )
        return x if self.batch_first else x.transpose(0, 1)

    def _states(self, x: Tensor, state: Any) -> Any:
        """An iterator over the first state of every layer and direction."""
        if state is None:
            state = x.new_zeros(len(self.suffixes), len(x), self.hidden_size)
            state = (state, state) if self.mode == "LSTM" else state
        return zip(*(state if self.mode == "LSTM" else (state,)), strict=True)


class _LSTMStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_gate, self.forget_gate = nn.Sigmoid(), nn.Sigmoid()
        self.candidate, self.output_gate = nn.Tanh(), nn.Sigmoid()
        self.cell, self.hidden = nn.Identity(), nn.Identity()

    def forward(
        self, entered: Tensor, back: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        i, f, g, o = (entered + back).chunk(4, 1)
        kept = self.forget_gate(f) * state[1]
        cell = self.cell(kept + self.input_gate(i) * self.candidate(g))
        return self.hidden(self.output_gate(o) * torch.tanh(cell)), cell


class _GRUStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reset_gate, self.update_gate = nn.Sigmoid(), nn.Sigmoid()
        self.candidate, self.hidden = nn.Tanh(), nn.Identity()

    def forward(
        self, entered: Tensor, back: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        (r, z, n), (back_r, back_z, back_n) = entered.chunk(3, 1), back.chunk(3, 1)
        reset, update = self.reset_gate(r + back_r), self.update_gate(z + back_z)
        candidate = self.candidate(n + reset * back_n)
        return (self.hidden((1 - update) * candidate + update * state[0]),)


class _RNNStep(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.hidden = act

    def forward(
        self, entered: Tensor, back: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return (self.hidden(entered + back),)


def _step_of(fused: nn.RNNBase) -> nn.Module:
    if fused.mode == "LSTM":
        return _LSTMStep()
    if fused.mode == "GRU":
        return _GRUStep()
    return _RNNStep(nn.Tanh() if fused.mode == "RNN_TANH" else nn.ReLU())


def _check(fused: nn.RNNBase, name: str) -> None:
    refuse_to_unroll(fused, name, (nn.LSTM, nn.GRU, nn.RNN))
    if fused.proj_size:
        where = f"layer {name!r}" if name else "the model"
        raise ValueError(
            f"{where} ({type(fused).__name__}) cannot be unrolled: it has a projection "
            f"(proj_size={fused.proj_size}): write it with nn.LSTMCell"
        )
