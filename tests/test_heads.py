"""Attention heads as units: a head is what its own value vectors make it."""

import pytest
import torch

import infoflow as ifl
from tests.any_models import CASES, K

HEADS = {  # where heads come out, and the parameters of the values they attend to
    "GPT-2 without head": ("h.0.attn.c_proj", "h.0.attn.c_attn"),
    "BERT": ("encoder.layer.0.attention.output.dense", "encoder.layer.0.attention.self.value"),
    "ViT": ("vit.layers.0.attention.o_proj", "vit.layers.0.attention.v_proj"),
    "Llama": ("model.layers.0.self_attn.o_proj", "model.layers.0.self_attn.v_proj"),
    "T5": (
        "encoder.block.0.layer.0.SelfAttention.o",
        "encoder.block.0.layer.0.SelfAttention.v",
    ),
}


def silence(model, values, head):
    """Zero the values of one of three heads, four numbers wide."""
    layer = model.get_submodule(values)
    own = slice(4 * head, 4 * head + 4)
    if layer.weight.shape == (12, 36):  # GPT-2: queries, keys and values are columns
        own = slice(24 + own.start, 24 + own.stop)
        layer.weight.data[:, own] = 0
    else:
        layer.weight.data[own] = 0
    if getattr(layer, "bias", None) is not None:
        layer.bias.data[own] = 0


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_zero_where_its_values_are_and_the_others_stay(name):
    case, (path, values) = CASES[name], HEADS[name]
    site = ifl.Site(path, io="input", heads=3)
    before = ifl.record(case.model(), site, case.inputs(), output=case.output)[site.name]
    assert before.shape[:2] == (K, 3)
    model = case.model()
    silence(model, values, 1)
    after = ifl.record(model, site, case.inputs(), output=case.output)[site.name]
    assert not after[:, 1].any() and before[:, 1].any()
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]])


@pytest.mark.parametrize("name", HEADS)
def test_sites_says_where_heads_are(name):
    case, (path, _) = CASES[name], HEADS[name]
    note = ifl.sites(case.model(), case.inputs()).set_index("layer").loc[path, "note"]
    assert note == f'attention heads: Site("{path}", io="input", heads=3)'


def test_the_norms_of_t5_need_no_unit_dimension():
    case = CASES["T5"]
    name = "encoder.block.0.layer.1.layer_norm"
    assert ifl.record(case.model(), name, case.inputs())[name].shape[:2] == (K, 12)
