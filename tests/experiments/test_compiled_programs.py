"""Compiled transformers: ours answers as Tracr's, and units belong to whom the labels say."""

import hashlib

import numpy as np
import pytest
import torch

import infoflow as ifl
from experiments.recovery import compiled
from experiments.recovery.compiled import FOLDER, load_program, manifest, network, one_hot


@pytest.mark.parametrize("name", list(manifest()))
def test_our_transformer_ends_with_the_stream_that_tracr_s_ends_with(name):
    program = load_program(name)
    ours = network([program]).stream(one_hot(program, program.tensors["example.tokens"]))
    torch.testing.assert_close(ours, program.tensors["example.residual"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", list(manifest()))
def test_files_are_those_of_the_manifest(name):
    file = (FOLDER / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(file).hexdigest() == manifest()[name]["sha256"]


def test_hist_counts_and_sort_sorts():
    """What comes out, read by a person: values 0 to 6 of the variable that is the answer."""
    program = load_program("hist")
    at = [i for i, label in enumerate(program.residual) if label.startswith("hist_3:")]
    tokens = [[4, 0, 1, 0, 0, 5, 5]]  # the first token, 1, 2, 1, 1, padding
    counted = (
        network([program]).stream(one_hot(program, torch.tensor(tokens)))[0, 1:5, at].argmax(1)
    )
    assert [program.residual[at[i]] for i in counted] == [
        "hist_3:3", "hist_3:1", "hist_3:3", "hist_3:3"
    ]  # fmt: skip
    program = load_program("sort")
    at = [i for i, label in enumerate(program.residual) if label.startswith("sort_33:")]
    tokens = [[4, 3, 0, 2, 0, 1, 5]]
    ordered = (
        network([program]).stream(one_hot(program, torch.tensor(tokens)))[0, 1:6, at].argmax(1)
    )
    assert ordered.tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("name", ["tracr-hist+dyck1-own", "tracr-more_ones+detect-shared"])
def test_joined_programs_answer_as_each_alone_and_send_each_other_nothing(name):
    programs, own = compiled.parts_of(name)
    known = compiled.build(name, samples=60)
    together = known.model.stream(known.inputs)
    start = code = 0
    for program in programs:
        tokens = known.inputs[..., code : code + len(program.vocabulary)]
        code += len(program.vocabulary) * own
        alone = network([program]).stream(tokens)
        width = alone.shape[2]
        torch.testing.assert_close(together[..., start : start + width], alone)
        start += width
    rec, draws = known.record(), {"donors": 20, "contexts": 20, "given_context": True}
    with pytest.warns(RuntimeWarning, match="no module reaches another"):
        flow = np.asarray(ifl.module_flow(rec, known.labels, **draws))
    assert flow[0, 1] == flow[1, 0] == 0
    wrong = known.labels.copy()
    wrong[np.flatnonzero(wrong == 0)[::2]] = 1
    assert np.asarray(ifl.module_flow(rec, wrong, **draws))[0, 1] > 1


def test_every_unit_writes_one_variable_but_for_the_neuron_that_two_counts_share():
    for name in compiled.manifest():
        program = load_program(name)
        written = compiled.owners(network([program]), program.variables)
        shared = sum(owner == "" for owners in written.values() for owner in owners)
        assert shared == (name == "more_ones")


def test_without_its_units_a_variable_is_gone_and_those_before_it_stay():
    program = load_program("sort")
    model, tokens = network([program]), one_hot(program, program.tensors["example.tokens"])
    whole = model.stream(tokens)
    owners = compiled.owners(model, program.variables)
    for number, block in enumerate(model.blocks):
        for site, writer in (("results", block.out), ("neurons", block.write)):
            of = np.array(owners.get(f"blocks.{number}.{site}", []))
            writer.weight.data[:, of == "target_pos_35"] = 0
    changed = (model.stream(tokens) - whole).abs().amax((0, 1)) > 0.1
    after = {v for v, moved in zip(program.variables, changed.tolist(), strict=True) if moved}
    assert after == {"target_pos_35", "sort_33"}


def test_balanced_brackets_are_balanced():
    program = load_program("shuffle_dyck2")
    words = {"(": 0, ")": 1, "{": 4, "}": 5}
    rng = np.random.default_rng(0)
    for _ in range(20):
        codes = compiled._balanced(words, 6, rng)
        for opens, closes in ((0, 1), (4, 5)):
            depth = np.cumsum([(c == opens) - (c == closes) for c in codes])
            assert depth.min() >= 0 and depth[-1] == 0
    assert program.vocabulary[4] == "{"


def test_a_name_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="tracr-sort"):
        compiled.build("tracr-bubblesort")
    with pytest.raises(ValueError, match="different vocabularies"):
        network([load_program("hist"), load_program("dyck1")])
