"""What replay hands out was compared with a full pass: which errors that finds, and how often."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow._replay.chunks import GUARDED_ROWS, Guard
from infoflow._replay.run import Run
from infoflow.interventions import resample
from tests.nets import normal, seeded

CHUNK = 20


class WrongWhenReplayed(nn.Module):
    """Samples that are marked come out by the size of the batch, but only under an intervention:
    full passes of a few rows and a replayed chunk disagree on them, normal runs on none."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        z = self.b(h)
        moved = (z - nn.functional.linear(h, self.b.weight, self.b.bias)).abs().amax(1) > 1e-3
        return self.head(z + (moved & (x[:, 0] > 10)).unsqueeze(1) * float(len(x)))


def marked(share, n=400, start=0):
    """A recording in which that share of the samples from `start` on is marked."""
    x = normal(n, 4).clamp(-3, 3)
    later = np.arange(start, n)
    x[np.random.default_rng(0).permutation(later)[: round(share * len(later))], 0] = 11.0
    return ifl.record(seeded(WrongWhenReplayed), ["b", "head"], x, batch_size=5)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("infoflow._replay.chunks._CPU_ROWS", CHUNK)
    monkeypatch.setattr("infoflow._replay.run._CALL_BYTES", 0)


def run(rec, replay=True):
    """Every unit from another sample, and the rows at which replay was given up."""
    rows, given_up, found = np.arange(len(rec)), [], []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for part, seen in resample(rec, {"b": range(6)}, rows[::-1], rows, ["head"], replay=replay):
            if said and not given_up:
                given_up.append(part.start)
            found.append(seen["head"])
    return torch.cat(found), given_up, [str(w.message) for w in said]


def test_what_goes_wrong_on_some_rows_late_in_a_run_is_found_while_it_runs():
    rec = marked(0.5, start=200)
    right, _, _ = run(marked(0.5, start=200), replay=False)
    found, given_up, said = run(rec)
    assert len(said) == 1
    assert "'head' under the intervention" in said[0]
    assert "run it again" in said[0], "chunks handed out before may hold rows that nobody compared"
    wrong = (found - right).abs().amax(1) > 1e-3
    assert 200 <= given_up[0] < 300  # half the rows of a chunk, two looked at: missed once in four
    assert not wrong[:200].any()
    assert not wrong[given_up[0] :].any(), "the chunk in which it was found was done again"
    assert run(rec)[2] == [], "said once"
    torch.testing.assert_close(run(rec)[0], right)


def test_an_error_on_a_share_of_the_rows_is_found_as_often_as_two_rows_hit_it():
    share, missed = 0.25, 0
    rec = marked(share)
    chunk = slice(0, CHUNK)
    names = ("head",)
    hit = (rec.inputs[0][:, 0] > 10).numpy()
    guard = Guard()
    guard.sample(names, chunk)
    for number in range(400):
        rows = slice(number % 20 * CHUNK, (number % 20 + 1) * CHUNK)
        sampled = guard.sample(names, rows)
        assert rows.start <= sampled.start < sampled.stop <= rows.stop
        assert sampled.stop - sampled.start == GUARDED_ROWS
        missed += not hit[sampled].any()
    assert abs(missed / 400 - (1 - share) ** GUARDED_ROWS) < 0.06  # two standard errors


def test_every_chunk_is_compared_before_it_is_handed_out(monkeypatch):
    rec = ifl.record(seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))), ["0", "1"],
                     normal(200, 4))  # fmt: skip
    compared = []
    full = Run._full
    monkeypatch.setattr(
        Run,
        "_full",
        lambda self, rows, *until: (compared.append(rows), full(self, rows, *until))[1],
    )
    rows = np.arange(200)
    for number, (part, _) in enumerate(resample(rec, {"0": [0]}, rows[::-1], rows, ["1"])):
        assert len(compared) == number + 1
        assert part.start <= compared[-1].start < compared[-1].stop <= part.stop


def test_what_a_comparison_costs_decides_how_many_chunks_share_one(monkeypatch):
    """Two rows of forty layers are 15 % of 267 rows of two."""
    net = seeded(lambda: nn.Sequential(*(nn.Linear(64, 64) for _ in range(40))))
    rec = ifl.record(net, ["38", "39"], normal(400, 64))
    compared, handed_out = [], []
    full = Run._full
    monkeypatch.setattr(
        Run,
        "_full",
        lambda self, rows, *until: (compared.append(rows), full(self, rows, *until))[1],
    )
    rows = np.arange(400)
    for part, _ in resample(rec, {"38": [0]}, rows[::-1], rows, ["39"]):
        handed_out.append(part)
    assert [p.stop - p.start for p in handed_out] == [CHUNK] * 20
    assert len(compared) == 2


def test_a_comparison_ends_where_the_replay_does():
    net = seeded(lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(6))))
    rec = ifl.record(net, ["1", "2"], normal(CHUNK, 4))
    ifl.counterfactual(rec, {"1": [0]}, observe="2")
    ran = []
    handles = [m.register_forward_hook(lambda m, *_: ran.append(m)) for m in net]
    ifl.counterfactual(rec, {"1": [0]}, observe="2")  # built anew, for the hooks
    ran.clear()
    ifl.counterfactual(rec, {"1": [0]}, observe="2")
    assert ran == [net[2], net[0], net[1], net[2]]
    for handle in handles:
        handle.remove()


def test_the_same_rows_are_compared_each_time_and_no_random_state_is_touched():
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    ups = [run(marked(0.1))[1] for _ in range(2)]
    assert ups[0] == ups[1]
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
