"""Models that no recording could be right of are refused, and say what to do."""

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from tests.any_models import Attends
from tests.nets import normal, seeded

MASKED = np.ma.masked_less(np.eye(4), 0.5)


class Steps(nn.Module):
    """A layer with `batch_first=False`, given samples or (rightly) time steps first."""

    def __init__(self, layer: nn.Module, turned: bool) -> None:
        super().__init__()
        self.layer, self.turned, self.head = layer, turned, nn.Linear(4, 2)

    def forward(self, x):
        h = x.transpose(0, 1) if self.turned else x
        args = (h, h, h) if isinstance(self.layer, nn.MultiheadAttention) else (h,)
        h = self.layer(*args)
        h = h[0] if isinstance(h, tuple) else h
        return self.head(h.transpose(0, 1) if self.turned else h)


LAYERS = {
    "LSTM": lambda: nn.LSTM(4, 4),
    "GRU": lambda: nn.GRU(4, 4),
    "MultiheadAttention": lambda: nn.MultiheadAttention(4, 2),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(4, 2, 6),
}


@pytest.mark.parametrize("time", [2, 5])
@pytest.mark.parametrize("kind", LAYERS)
def test_samples_that_a_layer_takes_for_time_steps_are_refused(kind, time):
    wrong = Steps(LAYERS[kind](), turned=False)
    with pytest.raises(ValueError, match="batch_first=True"):
        ifl.record(wrong, "head", normal(6, time, 4))
    right = Steps(LAYERS[kind](), turned=True)
    site = ifl.Site("layer", output=None if "Encoder" in kind else 0, unit_dim=-1)
    with pytest.raises(ValueError, match="dimension 0 of a site must be the batch"):
        ifl.record(right, site, normal(6, time, 4))
    assert ifl.record(right, "head", normal(6, time, 4))["head"].shape == (6, 2, time)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean()


@pytest.mark.parametrize("batch_size", [1, 512])
def test_one_number_for_a_whole_batch_is_refused(batch_size):
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), Mean())
    with pytest.raises(ValueError, match="one for each sample"):
        ifl.record(net, "0", normal(6, 4), batch_size=batch_size)


def test_a_function_is_refused():
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got function"):
        ifl.record(lambda x: x, "0", normal(6, 4))


@pytest.mark.parametrize("io", ["input", "output"])
def test_the_projection_that_attention_takes_functionally_is_refused(io):
    with pytest.raises(RuntimeError, match=r"never reached.*use its weights directly"):
        ifl.record(seeded(Attends), ifl.Site("attn.out_proj", io=io), normal(6, 4, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layers_of_a_compiled_script_are_refused():
    inner = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    with pytest.raises(ValueError, match="takes no hooks"):
        ifl.record(nn.Sequential(inner, nn.Linear(4, 2)), "0.0", normal(6, 4))


class Packs(nn.Module):
    """A recurrent layer that is given sequences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Linear(3, 4), nn.GRU(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(x), lengths, batch_first=True, enforce_sorted=False
        )
        return self.head(self.rnn(packed)[1][-1])


def test_sequences_of_different_lengths_go_through_but_are_no_site():
    net, inputs = seeded(Packs), (normal(9, 5, 3), torch.arange(9) % 3 + 3)
    rec = ifl.record(net, ["embed", "head"], inputs)
    assert ifl.flow(rec, {"embed": [0, 1]}, {"head": [0]}, donors=6, contexts=6).bits >= 0
    with pytest.raises(TypeError, match="different numbers of steps"):
        ifl.record(net, ifl.Site("rnn", output=0, unit_dim=-1), inputs)
    with pytest.raises(TypeError, match="pad_packed_sequence"):
        ifl.record(ifl.unrolled(net), "embed", inputs)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda rec: ifl.flow(rec, [0], [7], seed=None), ValueError, "seed: expected an integer"),
        (lambda rec: ifl.flow(rec, [0], [7], seed=-1), ValueError, "seed: expected an integer"),
        (lambda rec: ifl.search(rec, seed=None), ValueError, "seed: expected an integer"),
        (lambda rec: ifl.search(rec, n_modules=2.5), ValueError, "n_modules: expected an integer"),
        (lambda rec: ifl.exchange(rec, [0, 1] * 5, weighting=None), KeyError, "unknown weighting"),
        (
            lambda rec: ifl.record(rec.model, ["1"], rec.inputs, loss=5),
            TypeError,
            "a function loss",
        ),
        (lambda rec: ifl.record(rec.model, ["1"], MASKED), ValueError, "masked values"),
        (lambda rec: ifl.find_modules(MASKED @ MASKED.T), ValueError, "masked similarities"),
    ],
)
def test_nonsense_is_refused_at_the_door(call, error, says):
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    rec = ifl.record(net, ["1", "2"], torch.randn(12, 4))
    with pytest.raises(error, match=says):
        call(rec)
    assert ifl.flow(rec, [0], [7], bins=np.int64(5)).bits == ifl.flow(rec, [0], [7], bins=5).bits
