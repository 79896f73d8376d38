"""`nn.MultiheadAttention` step by step: what each head reads, weighs and gives."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UnrolledAttention(nn.MultiheadAttention):
    """An attention layer that computes as `fused` does, in steps that can be recorded and set.

    Takes and returns what `fused` does, but for inputs without a batch. Its layers have the batch
    first: `query`, `key` and `value` give `(batch, tokens, heads * width)`, head by head; `pattern`
    gives `(batch, heads, tokens, tokens)`, what each token attends to; `out_proj` takes the results
    of the heads, `(batch, tokens, heads * width)`.

    Args:
        fused: An `nn.MultiheadAttention`.
        name: What errors call it.

    Raises:
        ValueError: Parametrised weights, hooks, or a class of the user's own derived from it.
    """

    def __init__(self, fused: nn.MultiheadAttention, name: str = "") -> None:
        nn.Module.__init__(self)
        refuse_to_unroll(fused, name, (nn.MultiheadAttention,))
        plain = {key: value for key, value in vars(fused).items() if not key.startswith("_")}
        vars(self).update(plain, _qkv_same_embed_dim=fused._qkv_same_embed_dim)
        for key, parameter in fused._parameters.items():
            self.register_parameter(key, parameter)
        self.query, self.key, self.value = nn.Identity(), nn.Identity(), nn.Identity()
        self.pattern = nn.Identity()
        self._has_bias = fused._parameters["in_proj_bias"] is not None
        own = {id(tensor): tensor for tensor in fused.out_proj.parameters()}
        self.out_proj = copy.deepcopy(fused.out_proj, own)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `torch.nn.MultiheadAttention`."""
        if query.ndim != 3:
            raise ValueError(
                "an unrolled attention layer takes (batch, tokens, features), or (tokens, batch, "
                f"features) if batch_first=False, got {tuple(query.shape)}"
            )
        if is_causal and attn_mask is None:
            raise ValueError("is_causal=True is a hint only: give the attn_mask that it is about")
        read = (query, key, value)
        q, k, v = self._projected(read if self.batch_first else [x.transpose(0, 1) for x in read])
        k, v, added = self._with_extra_tokens(k, v)
        allowed = self._mask(q, k, key_padding_mask, attn_mask, added)
        q, k, v = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(2, 3) * self.head_dim**-0.5
        weights = torch.softmax(scores if allowed is None else scores + allowed, 3)
        if allowed is not None and not need_weights:  # torch's own kernel gives 0, not nan
            weights = weights.masked_fill((allowed == -torch.inf).all(3, keepdim=True), 0.0)
        weights = F.dropout(self.pattern(weights), self.dropout, self.training)
        out = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        if need_weights and average_attn_weights:
            weights = weights.mean(1)
        out = out if self.batch_first else out.transpose(0, 1)
        return out, weights if need_weights else None

    def _projected(self, read: Any) -> tuple[Tensor, Tensor, Tensor]:
        if self._qkv_same_embed_dim:
            matrices = self.in_proj_weight.chunk(3)
        else:
            matrices = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = self.in_proj_bias.chunk(3) if self._has_bias else (None, None, None)
        q, k, v = (F.linear(x, w, b) for x, w, b in zip(read, matrices, biases, strict=True))
        return self.query(q), self.key(k), self.value(v)

    def _with_extra_tokens(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values with the learned token and that of zeros, if there are; how many."""
        added = 0
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
            added += 1
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
            added += 1
        return k, v, added

    def _mask(
        self, q: Tensor, k: Tensor, padded: Tensor | None, mask: Tensor | None, added: int
    ) -> Tensor | None:
        """What is added to the scores `(batch, heads, tokens, tokens)`: -inf: do not look."""
        total = None
        if mask is not None:
            total = _added_to_scores(mask, q)
            total = total if mask.ndim == 2 else total.unflatten(0, (len(q), -1))
        if padded is not None:
            hidden = _added_to_scores(padded, q)[:, None, None]
            total = hidden if total is None else total + hidden
        if total is None:
            return None
        total = F.pad(total, (0, added))
        return total.expand(len(q), self.num_heads, q.shape[1], k.shape[1])


def _added_to_scores(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -torch.inf)


def refuse_to_unroll(fused: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> None:
    """Raises:
    ValueError: It is more than one of these layers of torch.
    """
    where = f"layer {name!r}" if name else "the model"
    remedy = None
    if nn.utils.parametrize.is_parametrized(fused):
        remedy = "has parametrised weights: remove_parametrizations first, in a copy"
    elif type(fused) not in kinds:
        remedy = "is derived from a layer of torch and may do more: use one of torch's own"
    elif fused._forward_hooks or fused._forward_pre_hooks:
        remedy = "has hooks, which would be lost: unroll the model before adding them"
    if remedy is not None:
        raise ValueError(f"{where} ({type(fused).__name__}) cannot be unrolled: it {remedy}")
