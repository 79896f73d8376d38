"""Transformers compiled from RASP programs, whose units are owned by the program's variables.

Weights and manifest are in tracr/, written once by tracr/export.py. Two levels are known: which
*variable* of its program a unit computes (`"tracr-sort"`), and, where several programs lie side by
side in one network, which *program* (`"tracr-sort+frac_prevs-shared"`, on the same tokens;
`"tracr-sort+frac_prevs-own"`, each on tokens of its own).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

import infoflow as ifl
from experiments.recovery.compiled_model import PARTS, Block, CompiledBlock, CompiledTransformer
from experiments.recovery.known import KnownNetwork

FOLDER = Path(__file__).parent / "tracr"
HELPER = "_selector_width_attn_output"  # the attention with which a count begins: part of the count
SAMPLES = 600


@dataclass(frozen=True)
class Program:
    """One compiled program: what its file and the manifest say."""

    name: str
    vocabulary: tuple[object, ...]
    residual: tuple[str, ...]
    heads: int
    layers: int
    unique: bool
    answer: str
    tensors: dict[str, Tensor]

    @property
    def variables(self) -> list[str]:
        """The variable that each coordinate of the stream belongs to."""
        return [label.split(":")[0].removesuffix(HELPER) for label in self.residual]

    def code(self, token: str) -> int:
        """The code of a token that the compiler added, `"compiler_bos"` or `"compiler_pad"`."""
        return self.vocabulary.index(token)


def manifest() -> dict[str, dict[str, Any]]:
    """What there is: program -> vocabulary, layers, coordinates of the stream, digest."""
    return json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["programs"]


@cache
def load_program(name: str) -> Program:
    """A compiled program, from its file.

    Raises:
        ValueError: There is none of that name.
    """
    every = manifest()
    if name not in every:
        raise ValueError(f"no compiled program {name!r}: there are {', '.join(every)}")
    about = every[name]
    tensors = load_file(FOLDER / f"{name}.safetensors")
    return Program(
        name, tuple(about["vocabulary"]), tuple(about["residual"]), about["heads"],
        about["layers"], about["unique"], about["answer"], tensors,
    )  # fmt: skip


def block_of(program: Program, layer: int) -> Block:
    """One layer, without units that write nothing: the compiler pads all layers to equal widths.

    Raises:
        ValueError: The program has fewer layers.
    """
    if not 0 <= layer < program.layers:
        raise ValueError(f"{program.name} has {program.layers} layers, got {layer}")
    at = {kind: {name: program.tensors[f"{layer}.{name}.{kind}"] for name in PARTS}
          for kind in ("weight", "bias")}  # fmt: skip
    weights, biases = at["weight"], at["bias"]
    width = weights["value"].shape[0] // program.heads
    head_of = torch.arange(program.heads).repeat_interleave(width)
    head_of = head_of[(weights["out"] != 0).any(0)]
    for inner, outer in (("value", "out"), ("hidden", "write")):
        used = (weights[outer] != 0).any(0)
        weights[inner], biases[inner] = weights[inner][used], biases[inner][used]
        weights[outer] = weights[outer][:, used]
    scale = (len(weights["query"]) / program.heads) ** -0.5  # ours has no scale of its own
    weights["query"], biases["query"] = weights["query"] * scale, biases["query"] * scale
    return Block(weights, biases, head_of, program.heads)


def empty_block(width: int) -> Block:
    """A layer that does nothing."""
    shapes = {"query": (1, width), "key": (1, width), "value": (0, width), "out": (width, 0),
              "hidden": (0, width), "write": (width, 0)}  # fmt: skip
    return Block(
        {name: torch.zeros(shape) for name, shape in shapes.items()},
        {name: torch.zeros(shape[0]) for name, shape in shapes.items()},
        torch.zeros(0, dtype=torch.long), 1,
    )  # fmt: skip


def side_by_side(blocks: list[Block]) -> Block:
    """Layers in one, each on its own part of the stream."""
    width = max(len(block.weights["query"]) // block.heads for block in blocks)
    weights = {name: [block.weights[name] for block in blocks] for name in PARTS}
    biases = {name: [block.biases[name] for block in blocks] for name in PARTS}
    for number, block in enumerate(blocks):
        for name in ("query", "key"):
            weights[name][number] = _wider(block.weights[name], block.heads, width)
            biases[name][number] = _wider(block.biases[name], block.heads, width)
    firsts = np.cumsum([0, *(block.heads for block in blocks)])
    return Block(
        {name: torch.block_diag(*parts) for name, parts in weights.items()},
        {name: torch.cat(parts) for name, parts in biases.items()},
        torch.cat([b.head_of + first for b, first in zip(blocks, firsts.tolist(), strict=False)]),
        int(firsts[-1]),
    )


def _wider(rows: Tensor, heads: int, width: int) -> Tensor:
    """Queries or keys with zero rows added, so that each head has `width`."""
    by_head = rows.unflatten(0, (heads, -1))
    wider = by_head.new_zeros(heads, width, *by_head.shape[2:])
    wider[:, : by_head.shape[1]] = by_head
    return wider.flatten(0, 1)


def network(programs: list[Program], own: bool = False) -> CompiledTransformer:
    """Programs side by side in one network, on the same tokens or each on its own.

    Raises:
        ValueError: Programs of different vocabularies on the same tokens.
    """
    if not own and len({program.vocabulary for program in programs}) > 1:
        raise ValueError(
            f"{' and '.join(p.name for p in programs)} have different vocabularies: own=True"
        )
    blocks = tuple(
        side_by_side(
            [
                block_of(program, layer) if layer < program.layers
                else empty_block(len(program.residual))
                for program in programs
            ]
        )
        for layer in range(max(program.layers for program in programs))
    )  # fmt: skip
    embeddings = [program.tensors["tokens"] for program in programs]
    given = [
        label.split(":")[0] == program.answer for program in programs for label in program.residual
    ]
    return CompiledTransformer(
        torch.block_diag(*embeddings) if own else torch.cat(embeddings, 1),
        torch.cat([program.tensors["positions"] for program in programs], 1),
        blocks,
        programs[0].code("compiler_pad"),
        tuple(np.flatnonzero(given).tolist()),
    ).eval()


def one_hot(program: Program, codes: Tensor) -> Tensor:
    """Token codes as rows, `(..., codes)`."""
    return torch.nn.functional.one_hot(codes, len(program.vocabulary)).float()


def sequences(programs: list[Program], own: bool, samples: int, seed: int) -> Tensor:
    """Random tokens, all lengths alike often, `(samples, tokens, codes)`; codes of all if `own`.

    Half of the bracket sequences are balanced, as hardly any would be by chance.
    """
    rng = np.random.default_rng(seed)
    longest = programs[0].tensors["positions"].shape[0] - 1
    unique = any(program.unique for program in programs)
    limit = min(len(p.vocabulary) - 2 if p.unique else longest for p in programs)
    lengths = [1 + number % limit for number in range(samples)]
    found = []
    for p in programs if own else programs[:1]:
        first, pad = p.code("compiler_bos"), p.code("compiler_pad")
        rows = [[first, *_tokens(p, n, unique, rng), *[pad] * (longest - n)] for n in lengths]
        found.append(one_hot(p, torch.tensor(rows)))
    return torch.cat(found, 2)


def _tokens(program: Program, length: int, unique: bool, rng: np.random.Generator) -> list[int]:
    """Codes of one sequence."""
    words = {w: c for c, w in enumerate(program.vocabulary) if not str(w).startswith("compiler")}
    if "(" in words and not unique and length % 2 == 0 and rng.random() < 0.5:
        return _balanced(words, length, rng)
    return rng.choice(list(words.values()), length, replace=not unique).tolist()


def _balanced(words: dict[object, int], length: int, rng: np.random.Generator) -> list[int]:
    """Brackets of each kind balanced by themselves."""
    pairs = [pair for pair in ("()", "{}") if pair[0] in words]
    kinds = rng.choice(len(pairs), length // 2)
    ends = np.sort(rng.permutation(length).reshape(-1, 2), axis=1)  # where each pair opens, closes
    found = [0] * length
    for kind, (opens, closes) in zip(kinds, ends, strict=True):
        found[opens], found[closes] = words[pairs[kind][0]], words[pairs[kind][1]]
    return found


def owners(model: CompiledTransformer, variables: list[str]) -> dict[str, list[str]]:
    """Site -> the variable that each of its units writes, "" where there are several.

    Two counts side by side share the neuron that clears both at the first token.
    """
    found: dict[str, list[str]] = {}
    for number, block in enumerate(model.blocks):
        assert isinstance(block, CompiledBlock)
        for site, writer in (("results", block.out), ("neurons", block.write)):
            of = [{variables[row] for row in column.nonzero().flatten().tolist()}
                  for column in writer.weight.detach().T]  # fmt: skip
            if of:
                found[f"blocks.{number}.{site}"] = [
                    names.pop() if len(names) == 1 else "" for names in of
                ]
    return found


# Pairs of the same vocabulary: on the same tokens, and each on its own.
JOINED: tuple[tuple[str, ...], ...] = (
    ("hist", "count"), ("count_less_freq", "reverse"), ("sort", "frac_prevs"),
    ("more_ones", "detect"), ("most_freq", "length"), ("hist", "detect", "frac_prevs"),
)  # fmt: skip
# One variable, or fewer than ten units, are nothing to find: these are run by tests and as parts.
PARTS_ONLY = ("length", "hist", "count", "shift", "frac_prevs", "pair_balance")
SINGLE: tuple[str, ...] = tuple(name for name in manifest() if name not in PARTS_ONLY)
NAMES: tuple[str, ...] = (
    *(f"tracr-{name}" for name in SINGLE),
    *(f"tracr-{'+'.join(names)}-shared" for names in JOINED),
    *(f"tracr-{'+'.join(names)}-own" for names in (*JOINED, ("hist", "dyck1"))),
    "tracr-shuffle_dyck2+sort-own",
)  # fmt: skip


def parts_of(name: str) -> tuple[list[Program], bool]:
    """The programs of a network, and whether each has tokens of its own.

    Raises:
        ValueError: No network of this family has that name.
    """
    if name not in NAMES:
        raise ValueError(f"no compiled network {name!r}: there are {', '.join(NAMES)}")
    programs, _, how = name.removeprefix("tracr-").partition("-")
    return [load_program(program) for program in programs.split("+")], how == "own"


def build(name: str, samples: int = SAMPLES, seed: int = 0) -> KnownNetwork:
    """A compiled network, by a name of `NAMES`: at the level of programs if it has several."""
    programs, own = parts_of(name)
    model = network(programs, own)
    inputs = sequences(programs, own, samples, seed)
    variables = [f"{n}.{v}" for n, program in enumerate(programs) for v in program.variables]
    written = owners(model, variables)
    sites = tuple(ifl.Site(path, unit_dim=-1) for path in written)
    flat = [owner for names in written.values() for owner in names]
    level = [owner.split(".")[0] for owner in flat] if len(programs) > 1 else flat
    labels = np.unique(level, return_inverse=True)[1]
    constant = ifl.record(model, list(sites), inputs).units.table["unused"].to_numpy()
    labels[constant | (np.array(flat) == "")] = -1
    family = "programs" if len(programs) > 1 else "variables"
    return KnownNetwork(
        name, family, model, inputs, sites, ifl.Partition(labels).labels,
        reason=(
            "Programs lie side by side: no weight leads from one to another."
            if len(programs) > 1
            else "The compiler gives every variable units of its own, which write it alone."
        ),
        limits=(
            "Within a program there is structure of its own, which a finer division would show; "
            + ("each has tokens of its own, only their number is shared." if own
               else "all read the same tokens.")
            if len(programs) > 1
            else "Variables are steps of one computation and send each other what they are for: "
            "these groups belong together by use, not by little exchange. Constant units are -1."
        ),
        targets=model(inputs).detach(), loss=torch.nn.functional.mse_loss,
    )  # fmt: skip
