"""The measures on networks of every shape: positions, precisions, several inputs and outputs,
transformers."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import infoflow as ifl
from infoflow.unit_similarity import similarities, similarities_by_layer, similarity
from tests import oracles_similarity as oracle
from tests.unit_similarity import networks as nets

# torch.func.hessian's forward mode compiles its decompositions with torch's own deprecated jit
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def images(count=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (count,), generator=generator)


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("layer", ["2", "3"])
def test_each_position_is_the_average_over_positions_as_units_of_their_own(act, layer):
    """The oracle flattens the channels' positions into units, and averages the blocks in which
    both units are at the same position."""
    net, (x, y) = nets.conv_net(act), images()
    site = ifl.Site(layer, unit_dim=1)
    rec = ifl.record(net, [site], x, y, loss=F.cross_entropy, batch_size=4)
    index = int(layer) + 1
    n, size = rec[layer].shape[1], int(rec[layer].shape[2] ** 0.5)
    flat = nn.Sequential(
        net[:index], nn.Flatten(), nn.Identity(), nn.Unflatten(1, (n, size, size)), net[index:]
    )
    found = similarities(rec, ["cov", "i_sens", "o_sens", "hess"], positions="each")
    for name, matrix in oracle.signed_similarities(flat, ["2"], x, y, F.cross_entropy).items():
        pairs = matrix.reshape(n, size**2, n, size**2)
        expected = np.abs(np.einsum("ipjp->ij", pairs) / size**2)
        assert found[name] == pytest.approx(expected, rel=1e-10, abs=1e-13)


def test_a_choice_of_positions_is_seeded_and_all_of_them_are_each():
    net, (x, y) = nets.conv_net(), images()
    rec = ifl.record(net, [ifl.Site("2", unit_dim=1)], x, y, loss=F.cross_entropy)
    few = similarities(rec, positions=5, seed=1)
    again = similarities(rec, positions=5, seed=1)
    other = similarities(rec, positions=5, seed=2)
    whole, each = similarities(rec, positions=36), similarities(rec, positions="each")
    for name in few:
        assert (few[name] == again[name]).all() and (few[name] != other[name]).any()
        assert (whole[name] == each[name]).all()


def test_each_layer_has_its_own_positions_layer_by_layer():
    net, (x, y) = nets.conv_net(), images()
    rec = ifl.record(net, [ifl.Site("2", unit_dim=1), ifl.Site("5", unit_dim=1)], x, y)
    found = similarities_by_layer(rec, "o_sens", positions="each")
    for layer in ("2", "5"):
        alone = similarity(rec, "o_sens", layers=layer, positions="each")
        assert found[layer]["o_sens"] == pytest.approx(alone)


@pytest.mark.parametrize("dtype, close", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
def test_low_precision_models_agree_with_their_float64_copy(dtype, close, act):
    low = nets.mlp(act, dtype=dtype)
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = torch.arange(40) % 3
    found = similarities(ifl.record(low, ["2", "5"], x, y, loss=F.cross_entropy))
    high = nets.mlp(act)
    high.load_state_dict({name: value.double() for name, value in low.state_dict().items()})
    rec = ifl.record(high, ["2", "5"], x.double(), y, loss=F.cross_entropy)
    for name, matrix in similarities(rec).items():
        assert found[name].dtype == np.float64
        assert np.abs(found[name] - matrix).max() <= close * np.abs(matrix).max(), name


def test_non_contiguous_inputs_and_activations_are_the_same_numbers():
    net, (x, y) = nets.conv_net(), images()
    sites = [ifl.Site("2", unit_dim=1), ifl.Site("5", unit_dim=1)]
    expected = similarities(ifl.record(net, sites, x, y, loss=F.cross_entropy))
    strange = net.to(memory_format=torch.channels_last)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    for name, matrix in similarities(
        ifl.record(strange, sites, turned, y, loss=F.cross_entropy)
    ).items():
        assert matrix == pytest.approx(expected[name], rel=1e-9, abs=1e-12)


class TwoInputs(nn.Module):
    """Two inputs; a tuple out of the hidden layer, a mapping out of the model."""

    def __init__(self):
        super().__init__()
        self.hidden = Pair()
        self.head = nn.Linear(4, 3)

    def forward(self, a, b):
        return {"logits": self.head(self.hidden(a, b)[0].tanh()), "extra": a}


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, a, b):
        return self.a(a) + self.b(b), b


def test_several_inputs_tuple_layers_and_mapping_outputs():
    torch.manual_seed(0)
    net = TwoInputs().double()
    a, b, y = torch.randn(9, 3).double(), torch.randn(9, 2).double(), torch.arange(9) % 3
    rec = ifl.record(net, [ifl.Site("hidden", output=0)], (a, b), y, loss=F.cross_entropy)
    found = similarities(rec)
    one = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), net.head)
    with torch.no_grad():
        one[0].weight = nn.Parameter(torch.cat([net.hidden.a.weight, net.hidden.b.weight], 1))
        one[0].bias = nn.Parameter(net.hidden.a.bias + net.hidden.b.bias)
    expected = oracle.similarities(one, ["0"], torch.cat([a, b], 1), y, F.cross_entropy)
    for name, matrix in expected.items():
        assert found[name] == pytest.approx(matrix, rel=1e-11, abs=1e-13)


class Embedded(nn.Module):
    """A language model called with embeddings, so that its inputs can be differentiated; answers
    with the logits of the last token."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, embeddings):
        return self.model(inputs_embeds=embeddings, use_cache=False).logits[:, -1]


@pytest.fixture(scope="module")
def gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=8, n_inner=10, vocab_size=11, n_positions=6,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config).double().eval()


MLP_NEURONS = [ifl.Site(f"model.transformer.h.{k}.mlp.act", unit_dim=-1) for k in (0, 1)]


def test_mlp_neurons_of_a_transformer_match_one_sample_at_a_time(gpt2):
    net, y = Embedded(gpt2), torch.tensor([3, 1, 4, 1])
    x = torch.randn(4, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rec = ifl.record(net, MLP_NEURONS, x, y, loss=F.cross_entropy, batch_size=3)
    found = similarities(rec)
    expected = _one_by_one(net, x, y)
    for name, matrix in expected.items():
        assert found[name] == pytest.approx(np.abs(matrix), rel=1e-9, abs=1e-14)


def _one_by_one(net, inputs, targets):
    """Jacobians and Hessians by `torch.autograd.functional`, with hooks of the test's own."""
    acts = [net.model.transformer.h[k].mlp.act for k in (0, 1)]

    def run(x, delta):
        seen = []
        shifts = dict(zip(acts, delta.split(10), strict=True))

        def hook(layer, _inputs, output):
            seen.append(output.mean(1)[0])
            return output + shifts[layer]

        handles = [act.register_forward_hook(hook) for act in acts]
        y = net(x[None])[0]
        for handle in handles:
            handle.remove()
        return y, torch.cat(seen)

    zero = torch.zeros(20, dtype=torch.float64)
    totals = dict.fromkeys(("i_sens", "o_sens", "hess"), 0.0)
    for x, t in zip(inputs, targets, strict=True):
        jacobian, hessian = torch.autograd.functional.jacobian, torch.autograd.functional.hessian
        j_x = jacobian(lambda v: run(v, zero)[1], x).flatten(1)
        j_y = jacobian(lambda d, x=x: run(x, d)[0], zero)
        with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
            curve = hessian(lambda d, x=x, t=t: F.cross_entropy(run(x, d)[0][None], t[None]), zero)
        totals["i_sens"] += (j_x @ j_x.T).numpy() / len(inputs)
        totals["o_sens"] += (j_y.T @ j_y).numpy() / len(inputs)
        totals["hess"] += curve.numpy() / len(inputs)
    return totals


def test_tokens_go_without_input_sensitivity_and_many_outputs_are_done_by_columns(gpt2):
    tokens = torch.randint(11, (6, 5), generator=torch.Generator().manual_seed(0))

    def next_token(logits, target):
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), target[:, 1:].flatten())

    sites = [ifl.Site(f"transformer.h.{k}.mlp.act", unit_dim=-1) for k in (0, 1)]
    rec = ifl.record(gpt2, sites, tokens, tokens, loss=next_token)
    found = similarities(rec, ["o_sens", "hess_norm", "cov"])
    embeddings = gpt2.transformer.wte(tokens).detach()
    whole = nn.Module()
    whole.model = gpt2
    whole.forward = lambda e: gpt2(inputs_embeds=e, use_cache=False).logits
    same = ifl.record(whole, [ifl.Site(f"model.{s.path}", unit_dim=-1) for s in sites],
                      embeddings, tokens, loss=next_token)  # fmt: skip
    for name, matrix in similarities(same, list(found), fast=False).items():
        assert found[name] == pytest.approx(matrix, rel=1e-9, abs=1e-14)
    with pytest.raises(ValueError, match="inputs_embeds"):
        similarity(rec, "i_sens")


class Heads(nn.Module):
    """Attention with two heads side by side in the input of its last layer."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2)).mean(1)


def test_heads_are_units_of_a_reshaped_site():
    torch.manual_seed(0)
    net, x = Heads().double(), torch.randn(5, 3, 4).double()
    site = ifl.Site("out", unit_dim=-1, io="input", heads=2)
    rec = ifl.record(net, [site], x, torch.arange(5) % 3, loss=F.cross_entropy)
    found = similarities(rec)
    weights = net.out.weight.detach().numpy().reshape(3, 2, 2).sum(2)  # a head's shift adds up
    assert found["o_sens"] == pytest.approx(np.abs(weights.T @ weights))
    assert found["hess"].shape == (2, 2) and np.isfinite(found["i_sens_norm"]).all()


class Twice(nn.Module):
    """One layer called twice: y = W s(V s(V x))."""

    def __init__(self):
        super().__init__()
        self.shared, self.act, self.head = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.act(self.shared(self.act(self.shared(x)))))


def unrolled(net):
    first, again = net.shared, deepcopy(net.shared)  # named_children leaves out what it has seen
    return nn.Sequential(first, nn.Tanh(), again, nn.Tanh(), net.head)


@pytest.mark.parametrize("call, layer", [(0, "1"), (1, "3")])
def test_one_call_of_a_layer_called_twice_is_that_layer_of_the_unrolled_network(call, layer):
    torch.manual_seed(0)
    net, x, y = Twice().double(), torch.randn(7, 4).double(), torch.arange(7) % 3
    rec = ifl.record(net, [ifl.Site("act", call=call)], x, y, loss=F.cross_entropy)
    expected = oracle.similarities(unrolled(net), [layer], x, y, F.cross_entropy)
    for name, matrix in similarities(rec).items():
        assert matrix == pytest.approx(expected[name], rel=1e-11, abs=1e-13)


def test_all_calls_of_a_layer_are_positions_of_its_units():
    """Moved together, the Hessian is the sum of the unrolled network's four blocks; one by one,
    the mean of its two diagonal blocks."""
    torch.manual_seed(0)
    net, x, y = Twice().double(), torch.randn(7, 4).double(), torch.arange(7) % 3
    rec = ifl.record(net, [ifl.Site("act", call="all")], x, y, loss=F.cross_entropy)
    signed = oracle.signed_similarities(unrolled(net), ["1", "3"], x, y, F.cross_entropy)["hess"]
    blocks = signed.reshape(2, 4, 2, 4)
    together = np.abs(blocks.sum((0, 2)))
    assert similarity(rec, "hess") == pytest.approx(together, rel=1e-11, abs=1e-13)
    one_by_one = np.abs(np.einsum("cidj,cd->ij", blocks, np.eye(2)) / 2)
    found = similarity(rec, "hess", positions="each")
    assert found == pytest.approx(one_by_one, rel=1e-11, abs=1e-13)


def test_directions_of_a_basis_are_units():
    """Turned into another basis, the downstream measures turn with it."""
    net, y = nets.mlp(nn.Tanh), torch.arange(12) % 3
    x = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = oracle.signed_similarities(net, ["2"], x, y, F.cross_entropy)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    rec = ifl.record(net, ["2"], x, y, loss=F.cross_entropy, basis=turn)
    for name, matrix in plain.items():
        expected = np.abs(turn.numpy() @ matrix @ turn.numpy().T)
        assert similarity(rec, name) == pytest.approx(expected, rel=1e-9, abs=1e-12)
