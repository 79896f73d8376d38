"""A thousand random programs: no answer of ours differs from raw hooks and autograd.

A refusal (an error) is allowed where the model cannot be recorded; a wrong number never is."""

import os
import warnings

import numpy as np
import pytest
import torch

import infoflow as ifl
from infoflow.interventions import resample
from tests.programs import (
    WIDTH,
    Program,
    forced,
    hessian_reference,
    similarity_references,
    sites_of,
)

PROGRAMS = int(os.environ.get("INFOFLOW_PROGRAMS", "1000"))
FIRST = int(os.environ.get("INFOFLOW_FIRST_PROGRAM", "0"))
BLOCKS = 20
ROWS = 60


LABELS = torch.arange(ROWS) % 3


def _recorded(
    seed: int, batch_size: int = ROWS
) -> tuple[Program, torch.Tensor, ifl.Recording | None]:
    program = Program(seed)
    x = torch.from_numpy(np.random.default_rng(seed + 10**6).normal(size=(ROWS, WIDTH)))
    loss = torch.nn.functional.cross_entropy
    try:
        rec = ifl.record(program, sites_of(program), x, LABELS, loss=loss, batch_size=batch_size)
    except (RuntimeError, ValueError):
        rec = None
    return program, x, rec


def _differs(ours: torch.Tensor, truth: torch.Tensor) -> bool:
    return not torch.allclose(ours, truth, rtol=1e-7, atol=1e-8)


def _wrong_interventions(seed: int) -> list[str]:
    program, x, rec = _recorded(seed)
    if rec is None:
        return ["not recorded"]
    wrong = []
    for source in rec.units.layers[:-1]:
        units = [0, 3, 4]
        donors = torch.from_numpy(np.random.default_rng(seed).permutation(ROWS))
        values = rec[source][donors][:, units]
        others = [name for name in rec.units.layers if name != source]
        truth = forced(program, x, source, units, values, others)
        for other in others:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ours = _forced_by_us(rec, source, units, donors, other)
            if _differs(ours, truth[other]):
                rows = int((ours - truth[other]).abs().amax(1).gt(1e-8).sum())
                wrong.append(f"{seed}: {source} -> {other} on {rows} rows ({program.said})")
    return wrong


def _forced_by_us(
    rec: ifl.Recording, source: str, units: list[int], donors: torch.Tensor, other: str
) -> torch.Tensor:
    runs = resample(rec, {source: units}, donors.numpy(), np.arange(ROWS), [other])
    return torch.cat([seen[other] for _, seen in runs])


def _wrong_similarities(seed: int) -> list[str]:
    program, x, rec = _recorded(seed)
    if rec is None:
        return ["not recorded"]
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bases = ["o_sens", "i_sens", "hess"][: 2 + seed % 2]
            ours = ifl.similarities_by_layer(rec, bases)
        except (RuntimeError, ValueError):
            return ["refused"]
    for site in rec.units.layers:
        try:
            truth = similarity_references(program, x, site)
            if "hess" in bases:
                truth["hess"] = hessian_reference(program, x, LABELS, site)
        except RuntimeError:  # autograd itself refuses this program's in-place steps
            continue
        for measure, reference in truth.items():
            got = ours[site][measure]
            if not np.allclose(got, reference, rtol=1e-6, atol=1e-8 * max(reference.max(), 1e-3)):
                wrong.append(f"{seed}: {measure} of {site} ({program.said})")
    return wrong


def _by_batch_size(seed: int, batch_size: int) -> dict[str, np.ndarray] | None:
    """What half of the first layer's units do to every other, and its similarities."""
    _, _, rec = _recorded(seed, batch_size)
    if rec is None:
        return None
    first, *others = rec.units.layers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = {
            name: ifl.counterfactual(rec, {first: [0, 3, 4]}, observe=name).numpy()
            for name in others
        }
        try:
            return done | ifl.similarities(rec, ["cov", "i_sens", "o_sens", "hess"], layers=first)
        except (RuntimeError, ValueError):
            return done


def _differing_batch_sizes(seed: int) -> list[str]:
    whole = _by_batch_size(seed, 64)
    if whole is None:
        return ["not recorded"]
    wrong = []
    for size in (1, 7):
        found = _by_batch_size(seed, size)
        if found is None or found.keys() != whole.keys():
            wrong.append(f"{seed}: batches of {size} are refused, or those of 64 are")
            continue
        for name, right in whole.items():
            scale = max(float(np.abs(right).max()), 1e-3)
            if not np.allclose(found[name], right, rtol=1e-7, atol=1e-9 * scale):
                wrong.append(f"{seed}: {name} with batches of {size}")
    return wrong


def _judge(found: list[str], number: int) -> None:
    refused = [f for f in found if ":" not in f]
    wrong = [f for f in found if ":" in f]
    assert wrong == []
    assert len(refused) < number / 3 + 2  # else the programs would show little


@pytest.mark.parametrize("block", range(BLOCKS))
def test_interventions_on_random_programs_equal_raw_hooks(block):
    seeds = range(FIRST + block, FIRST + PROGRAMS, BLOCKS)
    _judge([f for seed in seeds for f in _wrong_interventions(seed)], len(seeds))


@pytest.mark.parametrize("block", range(BLOCKS))
def test_similarities_of_random_programs_equal_autograd(block):
    seeds = range(FIRST + block, FIRST + PROGRAMS, 4 * BLOCKS)
    _judge([f for seed in seeds for f in _wrong_similarities(seed)], len(seeds))


@pytest.mark.parametrize("number", range(10))
def test_no_answer_about_a_random_program_depends_on_the_batch_size(number):
    seeds = range(FIRST + number * 10, FIRST + PROGRAMS, 1010)
    _judge([f for seed in seeds for f in _differing_batch_sizes(seed)], 3 * len(seeds) + 1)
