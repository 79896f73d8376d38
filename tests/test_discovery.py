"""`sites` names what can be recorded; patterns and known axes spare people the spelling."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import infoflow as ifl

WORDS = torch.randint(0, 50, (6, 5), generator=torch.Generator().manual_seed(0))


def _gpt2() -> nn.Module:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=8, n_embd=16, n_layer=2, n_head=2))


def _llama() -> nn.Module:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=8,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [_gpt2, _llama])
def test_everything_that_sites_says_to_pass_on_can_be_recorded_with_the_units_it_says(make):
    model = make()
    table = ifl.sites(model, WORDS)
    usable = table[table["pass_on"] != ""]
    assert len(usable) > 10
    layers = [eval(text, {"Site": ifl.Site}) for text in usable["pass_on"]]
    rec = ifl.record(model, layers, WORDS)
    assert rec.units.sizes == tuple(usable["units"])
    assert [rec[name][0, 0].numel() for name in rec.units.layers] == usable["positions"].tolist()


def test_the_activations_of_gpt2_and_llama_need_no_unit_dimension():
    rec = ifl.record(_gpt2(), "transformer.h.*.mlp.act", WORDS)
    assert rec.units.layers == ("transformer.h.0.mlp.act", "transformer.h.1.mlp.act")
    assert rec["transformer.h.0.mlp.act"].shape == (6, 64, 5)
    rec = ifl.record(_llama(), "model.layers.*.mlp.act_fn", WORDS)
    assert rec["model.layers.1.mlp.act_fn"].shape == (6, 24, 5)


def test_heads_are_read_at_the_input_of_gpt2s_projection():
    site = ifl.Site("transformer.h.0.attn.c_proj", io="input", heads=2)
    assert ifl.record(_gpt2(), [site], WORDS)[site.name].shape == (6, 2, 8 * 5)


class Transposed(nn.Module):
    """A square map between a linear layer and its activation: the units change their axis."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(3, 4), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.fc(x).transpose(1, 2))


def test_an_axis_is_not_guessed_after_a_step_that_may_move_it():
    with pytest.raises(ValueError, match="which dimension holds the units"):
        ifl.record(Transposed(), ["act"], torch.randn(5, 4, 3))
    table = ifl.sites(Transposed(), torch.randn(5, 4, 3)).set_index("layer")
    assert table.loc["act", "pass_on"] == "" and "unit_dim" in table.loc["act", "note"]
    assert table.loc["fc", "units"] == 4


def test_in_place_and_repeated_layers_are_named_as_they_must_be_recorded():
    shared = nn.ReLU(inplace=True)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), shared, nn.Conv2d(4, 4, 3), shared)
    table = ifl.sites(net, torch.randn(3, 1, 8, 8)).set_index("layer")
    assert table.loc["1", "pass_on"] == 'Site("1", call=0)'
    assert (table.loc["1", "units"], table.loc["1", "calls"]) == (4, 2)


def test_a_tuple_is_said_with_its_choices():
    table = ifl.sites(nn.Sequential(nn.LSTM(3, 2)), torch.randn(4, 5, 3)).set_index("layer")
    assert "output=0" in table.loc["0", "note"]


def test_a_pattern_stays_within_one_part_of_a_name_and_must_fit_something():
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 2))
    x = torch.randn(4, 3)
    assert ifl.record(net, "*", x).units.layers == ("0", "1")
    assert ifl.record(net, ["0.?", "1"], x).units.layers == ("0.0", "0.1", "1")
    with pytest.raises(KeyError, match="no layer fits"):
        ifl.record(net, "h.*", x)


def test_the_model_leaves_as_it_came():
    model = _gpt2().train()
    hooks = [len(m._forward_hooks) for m in model.modules()]
    ifl.sites(model, WORDS)
    assert model.training and [len(m._forward_hooks) for m in model.modules()] == hooks


def _seen_by_raw_hooks(model: nn.Module, path: str, *, given: bool) -> torch.Tensor:
    seen = []
    layer = model.get_submodule(path)
    if given:
        keep = layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
    else:
        keep = layer.register_forward_hook(
            lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        model.eval()(WORDS)
    keep.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("make", "name", "path", "given", "shape"),
    [
        (_gpt2, "hook_embed", "transformer.wte", False, (6, 16, 5)),
        (_gpt2, "blocks.1.hook_resid_pre", "transformer.h.0", False, (6, 16, 5)),
        (_gpt2, "blocks.0.hook_resid_post", "transformer.h.0", False, (6, 16, 5)),
        (_gpt2, "blocks.1.hook_resid_post", "transformer.h.1", False, (6, 16, 5)),
        (_gpt2, "blocks.0.hook_attn_out", "transformer.h.0.attn", False, (6, 16, 5)),
        (_gpt2, "blocks.1.hook_mlp_out", "transformer.h.1.mlp", False, (6, 16, 5)),
        (_gpt2, "blocks.1.mlp.hook_pre", "transformer.h.1.mlp.act", True, (6, 64, 5)),
        (_gpt2, "blocks.1.mlp.hook_post", "transformer.h.1.mlp.act", False, (6, 64, 5)),
        (_llama, "hook_embed", "model.embed_tokens", False, (6, 16, 5)),
        (_llama, "blocks.0.hook_resid_post", "model.layers.0", False, (6, 16, 5)),
        (_llama, "blocks.1.hook_resid_post", "model.layers.1", False, (6, 16, 5)),
        (_llama, "blocks.1.mlp.hook_pre", "model.layers.1.mlp.act_fn", True, (6, 24, 5)),
        (_llama, "blocks.0.hook_attn_out", "model.layers.0.self_attn", False, (6, 16, 5)),
    ],
)
def test_names_of_transformerlens_mean_what_raw_hooks_see(make, name, path, given, shape):
    model = make()
    rec = ifl.record(model, name, WORDS)
    (layer,) = rec.units.layers
    assert rec[layer].shape == shape
    expected = _seen_by_raw_hooks(model, path, given=given).transpose(1, 2)
    torch.testing.assert_close(rec[layer], expected)


def test_the_residual_stream_in_the_middle_of_a_block_is_what_attention_added_to_it():
    names = [f"blocks.0.{n}" for n in ("hook_resid_pre", "hook_attn_out", "hook_resid_mid")]
    for make in (_gpt2, _llama):
        rec = ifl.record(make(), names, WORDS)
        before, attention, middle = (rec[name] for name in rec.units.layers)
        torch.testing.assert_close(before + attention, middle)


def test_the_heads_of_every_block_are_units_one_pattern_away():
    rec = ifl.record(_gpt2(), "blocks.*.attn.hook_z", WORDS)
    assert rec.units.sizes == (2, 2)
    for k, name in enumerate(rec.units.layers):
        path = f"transformer.h.{k}.attn.c_proj"
        given = _seen_by_raw_hooks(rec.model, path, given=True)  # (batch, tokens, heads x 8)
        expected = given.unflatten(2, (2, 8)).permute(0, 2, 1, 3).flatten(2).sort(2).values
        torch.testing.assert_close(rec[name].sort(2).values, expected)
    rec = ifl.record(_llama(), ["blocks.1.attn.hook_q", "blocks.1.attn.hook_k"], WORDS)
    assert rec.units.sizes == (2, 2)


def test_a_name_of_transformerlens_that_is_none_is_refused_with_near_misses():
    with pytest.raises(KeyError, match=r"did you mean 'blocks\.1\.mlp\.hook_post'"):
        ifl.record(_gpt2(), "blocks.1.mlp.hook_pst", WORDS)
    with pytest.raises(KeyError, match=r"blocks\.1"):
        ifl.record(_gpt2(), "blocks.7.hook_resid_post", WORDS)
    with pytest.raises(KeyError, match="hook_z"):
        ifl.record(nn.Sequential(nn.Linear(3, 2)), "blocks.0.attn.hook_z", torch.randn(4, 3))


def test_a_name_of_transformerlens_is_taken_wherever_a_recorded_layer_is_named():
    model, z, post = _gpt2().eval(), "blocks.0.attn.hook_z", "blocks.1.mlp.hook_post"
    rec = ifl.record(model, ["blocks.*.attn.hook_z", post], WORDS, basis={post: "pca"})
    own, last = rec.units.layers[0], rec.units.layers[-1]
    assert own == "transformer.h.0.attn.c_proj:input"
    assert rec.units.site(last).basis is not None and rec.units.site(own).basis is None
    assert rec[z] is rec[own] and rec.real(z) is None
    assert rec.units.indices([z, post]).tolist() == rec.units.indices([own, last]).tolist()
    same = [
        lambda a, b: ifl.counterfactual(rec, {a: [1]}, observe=b),
        lambda a, b: ifl.counterfactual(rec, {a: ifl.interventions.Zero([1])}, observe=b),
        lambda a, b: torch.tensor(
            ifl.flow(rec, {a: [1]}, {b: range(5)}, donors=9, contexts=9).bits
        ),
        lambda a, b: torch.as_tensor(ifl.similarity(rec, "cov", layers=[a, b])),
        lambda a, b: torch.as_tensor(rec.matrix([a, b])),
    ]
    for run in same:
        torch.testing.assert_close(run(z, post), run(own, last), rtol=0, atol=0)
    with torch.no_grad(), ifl.do(model, {z: ([0, 1], 0.0)}):
        inside = model(WORDS).logits
    site = rec.units.site(own)
    with torch.no_grad(), ifl.do(model, {site: ([0, 1], 0.0)}):
        torch.testing.assert_close(inside, model(WORDS).logits)
    with pytest.raises(ValueError, match="more than once"):
        rec.units.flat({z: [0], own: [0]})
    with pytest.raises(ValueError, match="more than once"):
        ifl.record(model, [z], WORDS, basis={z: "pca", own: "random"})


def test_a_name_of_transformerlens_names_no_units_but_its_own():
    rec = ifl.record(
        _gpt2(), ifl.Site("transformer.h.0.attn.c_proj", io="input", unit_dim=-1), WORDS
    )
    with pytest.raises(KeyError, match="hook_z"):  # there it is heads, here their components
        rec["blocks.0.attn.hook_z"]
    rec = ifl.record(_gpt2(), ifl.Site("transformer.h.0.mlp", unit_dim=-1), WORDS)
    assert rec["blocks.0.hook_mlp_out"] is rec["transformer.h.0.mlp"]
