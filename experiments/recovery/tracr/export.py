"""Compile RASP programs with Tracr and write their weights, once.

    python -m venv /tmp/tracr && /tmp/tracr/bin/pip install tracr-pypi==1.0.0 safetensors
    JAX_PLATFORMS=cpu /tmp/tracr/bin/python experiments/recovery/tracr/export.py

Run by hand, in an environment of its own: the project needs neither jax nor Tracr. Each program
gives `NAME.safetensors` beside this file: the weights, and examples with Tracr's own answers. What
a file holds, where it came from and its digest are in `manifest.json`.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tracr.compiler import compiling, lib
from tracr.rasp import rasp

HERE = Path(__file__).parent
LENGTH = 6
EXAMPLES = 24
DIGITS = [1, 2, 3, 4]
BRACKETS = ["(", ")", "{", "}"]


def most_frequent() -> rasp.SOp:
    """The most frequent token, everywhere; of equally frequent ones the one that comes first."""
    first = rasp.Select(rasp.indices, rasp.indices, lambda key, query: key == 0)
    return rasp.Aggregate(first, lib.make_sort_freq(LENGTH)).named("most_freq")


def more_ones_than_twos() -> rasp.SOp:
    """Two counts, made apart, and compared."""
    ones, twos = lib.make_count(rasp.tokens, 1), lib.make_count(rasp.tokens, 2)
    return rasp.SequenceMap(lambda x, y: int(x > y), ones, twos).named("more_ones")


def programs() -> dict[str, tuple[rasp.SOp, list[Any], str]]:
    """Name -> program, vocabulary, what it gives at each position."""
    tokens = rasp.tokens
    unique, sort = (
        lib.make_sort_unique(tokens, tokens),
        lib.make_sort(tokens, tokens, max_seq_len=LENGTH, min_key=1),
    )
    return {
        "length": (lib.make_length(), DIGITS, "how many tokens there are"),
        "hist": (lib.make_hist(), DIGITS, "how often the token occurs"),
        "count": (lib.make_count(tokens, 1), DIGITS, "how often 1 occurs"),
        "count_less_freq": (
            lib.make_count_less_freq(2), DIGITS, "how many tokens occur at most twice"
        ),
        "more_ones": (more_ones_than_twos(), DIGITS, "whether 1 occurs more often than 2"),
        "reverse": (lib.make_reverse(tokens), DIGITS, "the tokens from last to first"),
        "shift": (lib.shift_by(-1, tokens), DIGITS, "the token before"),
        "detect": (lib.detect_pattern(tokens, [1, 2]), DIGITS, "whether 1, 2 ends here"),
        "sort_unique": (unique, DIGITS, "the tokens sorted, if all differ"),
        "sort": (sort, DIGITS, "the tokens sorted"),
        "sort_freq": (lib.make_sort_freq(LENGTH), DIGITS, "the tokens, most frequent first"),
        "most_freq": (most_frequent(), DIGITS, "the most frequent token"),
        "frac_prevs": (
            lib.make_frac_prevs(tokens == 1), DIGITS, "which share of the tokens so far is 1"
        ),
        "pair_balance": (
            lib.make_pair_balance(tokens, "(", ")"), BRACKETS, "share of ( less share of ) so far"
        ),
        "dyck1": (lib.make_shuffle_dyck(["()"]), BRACKETS[:2], "whether the brackets balance"),
        "shuffle_dyck2": (
            lib.make_shuffle_dyck(["()", "{}"]), BRACKETS, "whether both kinds balance, each alone"
        ),
    }  # fmt: skip


def example_tokens(name: str, vocabulary: list[Any], rng: random.Random) -> list[list[Any]]:
    """Sequences of all lengths; without repetition where the program asks for it."""
    found = []
    for number in range(EXAMPLES):
        length = 1 + number % LENGTH
        if name == "sort_unique":
            found.append(rng.sample(vocabulary, min(length, len(vocabulary))))
        else:
            found.append([rng.choice(vocabulary) for _ in range(length)])
    return found


def weights(model: Any) -> dict[str, np.ndarray]:
    """Tracr's parameters, by names of ours."""
    params = {
        key: {k: np.asarray(v, np.float32) for k, v in value.items()}
        for key, value in model.params.items()
    }
    found = {
        "tokens": params["token_embed"]["embeddings"],
        "positions": params["pos_embed"]["embeddings"],
    }
    for layer in range(model.model_config.num_layers):
        for ours, theirs in {
            "query": "attn/query", "key": "attn/key", "value": "attn/value", "out": "attn/linear",
            "hidden": "mlp/linear_1", "write": "mlp/linear_2",
        }.items():  # fmt: skip
            found[f"{layer}.{ours}.weight"] = params[f"transformer/layer_{layer}/{theirs}"]["w"].T
            found[f"{layer}.{ours}.bias"] = params[f"transformer/layer_{layer}/{theirs}"]["b"]
    return {key: np.ascontiguousarray(value) for key, value in found.items()}


def answers(model: Any, program: rasp.SOp, sequences: list[list[Any]]) -> dict[str, np.ndarray]:
    """Padded token codes, the residual stream that Tracr's model ends with, and its answers.

    Raises:
        ValueError: The compiled model does not answer as the program does.
    """
    encoder = model.input_encoder
    pad = encoder.encoding_map["compiler_pad"]
    codes = np.full((len(sequences), LENGTH + 1), pad, np.int64)
    width = len(model.residual_labels)
    residual = np.zeros((*codes.shape, width), np.float32)
    for row, sequence in enumerate(sequences):
        whole = ["compiler_bos", *sequence]
        out = model.apply(whole)
        codes[row, : len(whole)] = encoder.encode(whole)
        residual[row, : len(whole)] = np.asarray(out.transformer_output[0])
        for ours, theirs in zip(out.decoded[1:], program(sequence), strict=True):
            if theirs is not None and abs(float_or(ours, theirs)) > 1e-3:
                raise ValueError(f"{program.name} of {sequence}: {out.decoded[1:]}")
    return {"example.tokens": codes, "example.residual": residual}


def float_or(ours: Any, theirs: Any) -> float:
    """How far two answers are apart; 0 or 1 where they are no numbers."""
    try:
        return float(ours) - float(theirs)
    except (TypeError, ValueError):
        return float(ours != theirs)


def main() -> None:
    """Write all programs and the manifest."""
    about: dict[str, Any] = {
        "made_by": "experiments/recovery/tracr/export.py",
        "versions": {name: version(name) for name in ("tracr-pypi", "jax", "dm-haiku", "numpy")},
        "python": sys.version.split()[0],
        "licence": "weights compiled by Tracr (Apache License 2.0, DeepMind Technologies Limited, "
        "github.com/google-deepmind/tracr) from RASP programs of its library and two of ours; no "
        "code of Tracr is part of this project",
        "seed": 0,
        "programs": {},
    }
    for name, (program, vocabulary, gives) in programs().items():
        model = compiling.compile_rasp_to_model(program, set(vocabulary), max_seq_len=LENGTH)
        path = HERE / f"{name}.safetensors"
        sequences = example_tokens(name, vocabulary, random.Random(0))
        save_file(weights(model) | answers(model, program, sequences), path)
        codes = model.input_encoder.encoding_map
        about["programs"][name] = {
            "gives": gives,
            "vocabulary": sorted(codes, key=codes.get),
            "heads": model.model_config.num_heads,
            "layers": model.model_config.num_layers,
            "residual": model.residual_labels,
            "answer": program.label,
            "unique": name == "sort_unique",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        print(name, model.model_config, len(model.residual_labels), path.stat().st_size)
    (HERE / "manifest.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
