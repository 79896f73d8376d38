"""A random-weight GPT-2, and half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.interventions import Zero, resample
from tests.nets import mlp, normal, seeded
from tests.oracles_intervene import raw_hook_resample

K = 12


@pytest.fixture(scope="module")
def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=12, n_layer=3, n_head=3, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return seeded(lambda: transformers.GPT2LMHeadModel(config)).eval()


SITES = {
    "transformer.h.0.mlp.c_fc": ifl.Site("transformer.h.0.mlp.c_fc", unit_dim=-1),
    "transformer.h.1.mlp.c_fc": ifl.Site("transformer.h.1.mlp.c_fc", unit_dim=-1),
    "transformer.h.1": ifl.Site("transformer.h.1", unit_dim=-1),
    "lm_head": ifl.Site("lm_head"),
}


@pytest.mark.parametrize("source", ["transformer.h.0.mlp.c_fc", "transformer.h.1"])
def test_replay_of_gpt2_gives_what_raw_hooks_give(gpt2, source):
    x = torch.randint(50, (K, 7), generator=torch.Generator().manual_seed(0))
    rec = ifl.record(gpt2, list(SITES.values()), x)
    rng = np.random.default_rng(0)
    donors, contexts = rng.integers(K, size=(2, 40))
    for observe in ("transformer.h.1.mlp.c_fc", "lm_head"):
        (raw,) = raw_hook_resample(
            gpt2, (x,), {source: (2, [0, 5])}, *map(torch.as_tensor, (donors, contexts)), observe
        )
        for replay in (True, False):
            runs = resample(rec, {source: [0, 5]}, donors, contexts, [observe], replay=replay)
            found = torch.cat([seen[observe] for _, seen in runs])
            torch.testing.assert_close(
                found, SITES[observe].resolved(nn.Linear(1, 1), raw).read(raw)
            )


def test_heads_of_gpt2_are_units_of_the_attention_projections_input(gpt2):
    x = torch.randint(50, (K, 7), generator=torch.Generator().manual_seed(0))
    site = ifl.Site("transformer.h.1.attn.c_proj", io="input", unit_dim=-1, heads=3)
    rec = ifl.record(gpt2, [site, SITES["lm_head"]], x)
    assert rec[site.name].shape == (K, 3, 4 * 7)
    fast, slow = (
        ifl.counterfactual(rec, {site.name: [1]}, observe="lm_head", replay=r)
        for r in (True, False)
    )
    torch.testing.assert_close(fast, slow)
    with torch.no_grad(), ifl.do(gpt2, {site: Zero()}):
        off = gpt2(x).logits
    handle = gpt2.transformer.h[1].attn.register_forward_hook(
        lambda m, a, out: (out[0] * 0 + m.c_proj.bias, *out[1:])
    )
    with torch.no_grad():
        torch.testing.assert_close(off, gpt2(x).logits)
    handle.remove()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    net, x = mlp().to(dtype), normal(K, 6).to(dtype)
    rec = ifl.record(net, ["1", "3"], x)
    assert rec["1"].dtype == dtype
    donors = np.random.default_rng(0).permutation(K)
    for replay in (True, False):
        found = ifl.counterfactual(rec, {"1": [0, 3]}, observe="3", replay=replay)
        moved = rec["1"].clone()
        moved[:, [0, 3]] = rec["1"][donors][:, [0, 3]]
        torch.testing.assert_close(found, net[3](moved).detach())
