"""Checkpoints: a search that was killed goes on as if it had not been."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.exchanges import ExchangeMeter
from infoflow.exchanges.meter import FRESH
from infoflow.searching.checkpoint import Checkpoint

OPTIONS = {"budget": 90, "samples": 6, "donors": 10, "contexts": 10, "seed": 3}
METHODS = ["genetic", "annealing", "climbing", "screened", "exhaustive", "sampling"]


def network(seed=0):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return ifl.record(net, ["1", "2"], torch.randn(80, 4, generator=generator))


@pytest.fixture(scope="module")
def rec():
    return network()


@pytest.fixture(scope="module")
def whole(rec):
    """A search that nothing breaks off, by its options; each is made once."""
    found = {}

    def made(**options):
        key = repr(options)
        if key not in found:
            found[key] = ifl.search(rec, **options)
        return found[key]

    return made


@pytest.fixture(scope="module")
def written(rec, tmp_path_factory):
    """The checkpoint of a search that came to its end."""
    path = tmp_path_factory.mktemp("written") / "search.npz"
    ifl.search(rec, checkpoint=path, **OPTIONS)
    return path


@pytest.fixture
def path(written, tmp_path):
    """A copy of it."""
    return Path(shutil.copy(written, tmp_path))


class Killed(Exception):
    pass


def killed_at(evaluations):
    def callback(step):
        if step.evaluations >= evaluations:
            raise Killed

    return callback


def assert_same(a, b):
    assert a.partition == b.partition
    assert a.trail.tobytes() == b.trail.tobytes()
    assert a.exchange.weighted == b.exchange.weighted
    assert a.score == b.score


@pytest.mark.parametrize(
    ("method", "n_modules"),
    [*((method, 2) for method in METHODS), ("genetic", range(2, 4)), ("annealing", range(2, 4))],
)
def test_a_search_broken_off_goes_on_bit_for_bit(rec, whole, tmp_path, method, n_modules):
    options = {**OPTIONS, "method": method, "n_modules": n_modules}
    path = tmp_path / "search.npz"
    with pytest.raises(Killed):
        ifl.search(rec, checkpoint=path, callback=killed_at(40), **options)
    measured = []
    resumed = ifl.search(rec, checkpoint=path, callback=measured.append, **options)
    assert_same(resumed, whole(**options))


def test_what_the_checkpoint_holds_is_not_measured_again(rec, path, monkeypatch):
    values = ExchangeMeter.values

    def refuse(meter, *asked):
        assert meter.draws.seed >= FRESH, "measured again"  # the score has draws of its own
        return values(meter, *asked)

    monkeypatch.setattr(ExchangeMeter, "values", refuse)
    ifl.search(rec, checkpoint=path, **OPTIONS)


def test_a_larger_budget_goes_on_from_where_the_smaller_ended(rec, tmp_path):
    path = tmp_path / "search.npz"
    options = {**OPTIONS, "method": "climbing"}
    shorter = ifl.search(rec, checkpoint=path, **{**options, "budget": 50})
    longer = ifl.search(rec, checkpoint=path, **options)
    assert longer.evaluations == shorter.evaluations + 40
    assert np.array_equal(longer.trail[: len(shorter.trail)], shorter.trail)


def test_a_search_killed_by_the_system_goes_on_bit_for_bit(rec, whole, tmp_path):
    options = {**OPTIONS, "method": "genetic", "n_modules": range(2, 4)}
    path = tmp_path / "search.npz"
    code = (
        "import sys, time; import infoflow as ifl; "
        "from tests.searching.test_checkpoint import network; "
        "ifl.search(network(), checkpoint=sys.argv[1], callback=lambda s: time.sleep(0.2), "
        f"**{options!r})"
    )
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], env=env, cwd=root)
    try:
        while not path.exists() and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with np.load(path) as found:
        assert 0 < len(found["values"]) < whole(**options).evaluations
    assert_same(ifl.search(rec, checkpoint=path, **options), whole(**options))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weighting": "pairs"}, "weighting was 'ncut', is 'pairs'"),
        ({"donors": 11}, "donors was"),
        ({"seed": 4}, "seed was 3, is 4"),
        ({"n_modules": 3}, "n_modules was"),
        ({"method": "annealing"}, "method was 'genetic', is 'annealing'"),
        ({"starts": [[0, 1] * 5]}, "starts was"),
        ({"budget": 91}, "budget was 90, is 91"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_and_the_difference_named(
    rec, path, change, named
):
    with pytest.raises(ValueError, match=named):
        ifl.search(rec, checkpoint=path, **{**OPTIONS, **change})


def test_a_checkpoint_of_another_network_is_refused(path):
    with pytest.raises(ValueError, match="network was 'Sequential"):
        ifl.search(network(seed=1), checkpoint=path, **OPTIONS)


@pytest.mark.parametrize("damage", ["short", "flipped", "text", "empty"])
def test_a_damaged_checkpoint_is_refused(rec, path, damage):
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "short": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "text": b"labels",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ValueError, match="damaged"):
        ifl.search(rec, checkpoint=path, **OPTIONS)


def test_another_function_between_the_same_weights_is_refused(tmp_path):
    layers = [nn.Linear(4, 5), nn.Linear(5, 3)]
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "search.npz"
    nets = [nn.Sequential(layers[0], act, layers[1]) for act in (nn.Tanh(), nn.Softplus())]
    ifl.search(ifl.record(nets[0], ["0", "2"], x), checkpoint=path, **OPTIONS)
    with pytest.raises(ValueError, match="activations was"):
        ifl.search(ifl.record(nets[1], ["0", "2"], x), checkpoint=path, **OPTIONS)


def test_a_network_of_half_precision_has_a_checkpoint(tmp_path):
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(torch.bfloat16)
    rec = ifl.record(net, ["1", "2"], torch.randn(40, 4, dtype=torch.bfloat16))
    first = ifl.search(rec, checkpoint=tmp_path / "search.npz", **OPTIONS)
    assert_same(first, ifl.search(rec, checkpoint=tmp_path / "search.npz", **OPTIONS))


def test_a_file_that_would_unpack_to_any_size_is_refused(rec, tmp_path):
    path = tmp_path / "search.npz"
    np.savez_compressed(path, format=1, labels=np.zeros((1000, 1000)), values=np.zeros(2))
    with pytest.raises(ValueError, match="it is compressed"):
        ifl.search(rec, checkpoint=path, **OPTIONS)


def test_a_file_that_cannot_be_read_is_not_called_damaged(rec, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        ifl.search(rec, checkpoint=tmp_path, **OPTIONS)


def test_writing_costs_as_much_a_partition_however_long_the_log(rec, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, log: written.append(len(log.values)))
    options = {**OPTIONS, "budget": 2000, "method": "sampling"}
    found = ifl.search(rec, checkpoint=tmp_path / "search.npz", **options)
    assert sum(written) < 15 * len(found.trail)


def test_a_log_of_other_values_is_refused(rec, path):
    with np.load(path) as found:
        parts = {**found}
    parts["values"] = parts["values"] * 2
    np.savez(path, **parts)
    with pytest.raises(ValueError, match="digest"):
        ifl.search(rec, checkpoint=path, **OPTIONS)
