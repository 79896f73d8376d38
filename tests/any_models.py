"""The models people have, small and with random weights, as they are written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from infoflow import Site, unrolled
from tests.nets import normal, seeded

K = 16
TOKENS = 4
WORDS = 12


@dataclass(frozen=True)
class Case:
    """A model, what it is asked, and what it must refuse.

    Attributes:
        build: Makes it.
        layers: What is recorded; the first sends, the last receives.
        inputs: `(K, ...)` arguments, in a tuple or a mapping.
        output: As for `record`.
        close: Relative tolerance of comparisons.
        refused: Measures or steps that must be refused, with a part of the message.
        warned: A part of the one warning that is expected, if one is.
    """

    build: Callable[[], nn.Module]
    layers: Sequence[str | Site]
    inputs: Callable[[], Any]
    output: str | None = None
    close: float = 1e-3
    refused: tuple[tuple[str, str], ...] = ()
    warned: str | None = None

    def model(self) -> nn.Module:
        """The same one every time, in evaluation mode."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, on building
            return seeded(self.build).eval()


def words() -> tuple[Tensor, ...]:
    return (torch.randint(WORDS, (K, TOKENS), generator=torch.Generator().manual_seed(0)),)


def masked_words() -> dict[str, Tensor]:
    return {"input_ids": words()[0], "attention_mask": torch.ones(K, TOKENS, dtype=torch.long)}


def padded_words() -> dict[str, Tensor]:
    lengths = torch.arange(K) % 3 + TOKENS - 2
    mask = torch.arange(TOKENS)[None] < lengths[:, None]
    return {"input_ids": words()[0], "attention_mask": mask.long()}


def read_and_written() -> dict[str, Tensor]:
    return {"input_ids": words()[0], "decoder_input_ids": words()[0].flip(1)}


def some(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (normal(K, *shape),)


def hugging_face(name: str, **config: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        transformers = pytest.importorskip("transformers")
        kind = getattr(transformers, name)
        return kind(kind.config_class(**config))

    return build


GPT2 = {"vocab_size": WORDS, "n_positions": 8, "n_embd": 12, "n_layer": 2, "n_head": 3,
        "n_inner": 10, "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
BERT = {"vocab_size": WORDS, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 10, "max_position_embeddings": 16}  # fmt: skip
LLAMA = {"vocab_size": WORDS, "hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 2,
         "num_attention_heads": 3, "num_key_value_heads": 3,
         "max_position_embeddings": 16}  # fmt: skip
VIT = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 10,
       "image_size": 8, "patch_size": 4, "num_channels": 1}  # fmt: skip
T5 = {"vocab_size": WORDS, "d_model": 12, "d_kv": 4, "d_ff": 10, "num_layers": 2, "num_heads": 3,
      "decoder_start_token_id": 0}  # fmt: skip


class BasicBlock(nn.Module):
    """As torchvision's: one in-place ReLU, used twice, and a sum in place."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.layer1, self.layer2 = BasicBlock(4, 4), BasicBlock(4, 6, 2)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


class Recurrent(nn.Module):
    """A fused recurrent layer between linear ones."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.rnn = kind(4, 5, batch_first=True, **options)
        self.head = nn.Linear(10 if options.get("bidirectional") else 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(torch.tanh(self.embed(x)))
        return self.head(out[:, -1])


class TwoHeads(nn.Module):
    """One trunk, two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.act = nn.Linear(4, 6), nn.Tanh()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.act(self.trunk(x))
        return {"logits": self.left(h), "value": self.right(h)}


class TwoInputs(nn.Module):
    """Features and a token index."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.words = nn.Linear(4, 6), nn.Embedding(WORDS, 6)
        self.mix, self.act, self.head = nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3)

    def forward(self, x: Tensor, word: Tensor) -> Tensor:
        return self.head(self.act(self.mix(torch.relu(self.features(x)) + self.words(word))))


def features_and_word() -> tuple[Tensor, ...]:
    return normal(K, 4), words()[0][:, 0]


class Encoder(nn.Module):
    """`nn.TransformerEncoder` as it is, with its fast path in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        h = self.encoder(self.embed(x), src_key_padding_mask=padded)
        return self.head(h[:, 0])


def padded_tokens() -> tuple[Tensor, ...]:
    lengths = torch.arange(K) % 3 + TOKENS - 2
    return normal(K, TOKENS, 3), torch.arange(TOKENS)[None] >= lengths[:, None]


class Attends(nn.Module):
    """`nn.MultiheadAttention` inside a net."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attn = nn.Linear(3, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        mixed, _ = self.attn(h, h, h, need_weights=False)
        return self.head(torch.relu(self.mlp(h + mixed)).mean(1))


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2), nn.Tanh(), nn.Linear(2, 5), nn.ReLU(),
        nn.Linear(5, 6),
    )  # fmt: skip


def plain(*middle: nn.Module, end: Sequence[nn.Module] = (), out: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), *middle, nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, out), *end
    )


def parametrised() -> nn.Module:
    wrap = nn.utils.parametrizations
    return nn.Sequential(
        wrap.weight_norm(nn.Linear(4, 6)), nn.Tanh(), wrap.spectral_norm(nn.Linear(6, 5)),
        nn.ReLU(), wrap.orthogonal(nn.Linear(5, 5)), nn.Tanh(), nn.Linear(5, 3),
    )  # fmt: skip


class Autocast(nn.Module):
    """Mixed precision inside its own forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b, self.head = (
            nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Linear(5, 3))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            h = self.b(self.act(self.a(x)))
        return self.head(torch.relu(h.float()))


class TwoPrecisions(nn.Module):
    """Single precision first, double at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 5).double()
        self.head = nn.Linear(5, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)).double())))


class Translator(nn.Module):
    """`nn.Transformer` from features to features."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Linear(3, 8), nn.Linear(3, 8)
        self.body = nn.Transformer(8, 2, 1, 1, 6, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.body(self.read(x), self.write(y)))


class UNet(nn.Module):
    """Down, up, and across."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.down(x))
        coarse = torch.relu(self.middle(F.max_pool2d(fine, 2)))
        return self.out(torch.cat([fine, self.up(coarse)], 1))


class Graph(nn.Module):
    """Nodes that pass messages along weighted edges."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        h = F.elu(self.b(edges @ torch.relu(self.a(x))))
        return self.head((edges @ h).sum(1))


class Functional(nn.Module):
    """Called with weights that it makes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = plain(), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        weights = {name: self.scale * w for name, w in self.net.named_parameters()}
        return torch.func.functional_call(self.net, weights, (x,))


class Checkpointed(nn.Module):
    """Recomputes its middle in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 5), nn.Tanh())
        self.c = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(checkpoint(self.b, torch.relu(self.a(x)), use_reentrant=False))


class Spectrum(nn.Module):
    """A Fourier transform on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.fft.rfft(torch.tanh(self.a(x)))
        return self.head(torch.relu(self.b(waves.abs())))


class Steps(nn.Module):
    """A function that is flat between its steps."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.step(3 * x) + 0.1 * x


class Squeezed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(-1)


def scripted() -> nn.Module:
    return plain(torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())))


def traced() -> nn.Module:
    middle = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())
    return plain(torch.jit.trace(middle, torch.zeros(2, 6)))


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}, dtype=torch.qint8)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss for outputs of any shape: the targets' values are not used."""
    aim = torch.linspace(-1, 1, outputs[0].numel()).to(outputs.dtype).reshape(outputs[0].shape)
    return F.mse_loss(outputs, aim.expand_as(outputs))


NO_I_SENS = (("i_sens", "differentiates with respect to the inputs"),)
TWO = ["0", "2"]

CASES: dict[str, Case] = {
    "GPT-2": Case(
        hugging_face("GPT2LMHeadModel", **GPT2),
        ["transformer.h.*.mlp.act"], words, refused=NO_I_SENS),
    "GPT-2 without head": Case(
        hugging_face("GPT2Model", **GPT2),
        [Site("h.0.attn.c_proj", io="input", heads=3), "h.1.mlp.c_fc"], words, refused=NO_I_SENS),
    "BERT": Case(
        hugging_face("BertModel", **BERT),
        ["encoder.layer.*.intermediate.dense"], masked_words, output="last_hidden_state",
        refused=NO_I_SENS),
    "BERT classifier": Case(
        hugging_face("BertForSequenceClassification", **BERT, num_labels=3),
        [Site("bert.encoder.layer.0.attention.output.dense", io="input", heads=3),
         "bert.pooler.dense"], padded_words, refused=NO_I_SENS),
    "ViT": Case(
        hugging_face("ViTForImageClassification", **VIT),
        [Site("vit.layers.0.attention.o_proj", io="input", heads=3), "vit.layers.1.mlp.fc1"],
        some(1, 8, 8)),
    "Llama": Case(
        hugging_face("LlamaForCausalLM", **LLAMA),
        [Site("model.layers.0.self_attn.o_proj", io="input", heads=3),
         "model.layers.1.mlp.act_fn"], words, refused=NO_I_SENS),
    "Mixtral": Case(
        hugging_face(
            "MixtralForCausalLM", **LLAMA | {"intermediate_size": 8}, num_local_experts=4,
            num_experts_per_tok=2),
        ["model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.q_proj"], words,
        refused=NO_I_SENS),
    "T5": Case(
        hugging_face("T5ForConditionalGeneration", **T5),
        ["encoder.block.*.layer.1.DenseReluDense.wi", "lm_head"], read_and_written,
        refused=NO_I_SENS),
    "ResNet": Case(ResNet, [Site("layer1.relu", unit_dim=1, call=0), "layer2.bn2"], some(1, 8, 8)),
    "LSTM": Case(lambda: Recurrent(nn.LSTM), ["embed", Site("rnn", output=0, unit_dim=-1)],
                 some(TOKENS, 3)),
    "GRU, both ways": Case(
        lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True),
        ["embed", Site("rnn", output=0, unit_dim=-1)], some(TOKENS, 3)),
    "autoencoder": Case(autoencoder, ["1", "3", "5"], some(6)),
    "two heads": Case(TwoHeads, ["act", "left"], some(4)),
    "two inputs": Case(TwoInputs, ["words", "act"], features_and_word),
    "TransformerEncoder": Case(Encoder, ["embed", "encoder.layers.1"], some(TOKENS, 3)),
    "TransformerEncoder, padded": Case(Encoder, ["embed", "encoder.layers.1"], padded_tokens),
    "MultiheadAttention unrolled": Case(
        lambda: unrolled(Attends()),
        [Site("attn.value", unit_dim=-1), Site("attn.out_proj", io="input", heads=2),
         Site("attn.pattern", unit_dim=1), "attn.out_proj", "mlp"], some(TOKENS, 3)),
    "MultiheadAttention": Case(
        Attends, ["embed", Site("attn", output=0, unit_dim=-1), "mlp"], some(TOKENS, 3)),
    "compiled": Case(lambda: torch.compile(plain(), backend="eager"), TWO, some(4)),
    "parametrised": Case(parametrised, ["0", "2", "4"], some(4)),
    "bfloat16": Case(
        lambda: plain().bfloat16(), TWO, lambda: (normal(K, 4).bfloat16(),), close=5e-2),
    "half": Case(lambda: plain().half(), TWO, lambda: (normal(K, 4).half(),), close=1e-2),
    "autocast": Case(Autocast, ["a", "b"], some(4), close=5e-2),
    "DataParallel": Case(lambda: nn.DataParallel(plain()), ["module.0", "module.2"], some(4)),
    "scripted part": Case(scripted, ["0", "3"], some(4)),
    "traced part": Case(traced, ["0", "3"], some(4)),
    "complex inside": Case(Spectrum, ["a", "b"], some(4)),
    "two precisions": Case(TwoPrecisions, ["a", "b"], some(4)),
    "encoder and decoder": Case(
        Translator, ["read", "body.decoder.layers.0"],
        lambda: (normal(K, TOKENS, 3), normal(K, 3, 3, seed=1))),
    "U-Net": Case(UNet, ["down", "up"], some(1, 4, 4)),
    "graph": Case(
        Graph, ["a", "b"], lambda: (normal(K, 4, 3), torch.softmax(normal(K, 4, 4, seed=1), 2))),
    "functional call": Case(Functional, ["net.0", "net.2"], some(4)),
    "checkpointed": Case(Checkpointed, ["a", "b.0"], some(4)),
    "sign": Case(lambda: plain(Steps(torch.sign)), ["1", "3"], some(4)),
    "round": Case(lambda: plain(Steps(torch.round)), ["1", "3"], some(4)),
    "floor": Case(lambda: plain(Steps(torch.floor)), ["1", "3"], some(4)),
    "one number, flat": Case(lambda: plain(end=[nn.Flatten(0)], out=1), TWO, some(4)),
    "one number, squeezed": Case(lambda: plain(end=[Squeezed()], out=1), TWO, some(4)),
    "one number": Case(lambda: plain(out=1), TWO, some(4)),
    "quantised": Case(quantised, TWO, some(4), refused=(("record", "is quantised"),)),
}  # fmt: skip
