"""Networks with shuffled weights, to hold a module score against."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import infoflow as ifl
from infoflow.comparing import CAUSAL, with_references
from infoflow.comparing.references import SHUFFLED, _recorded, causal_score, shuffled
from infoflow.reporting import finding, report_tables
from infoflow.saving import Absent
from tests.conftest import SMALL


def test_the_copies_are_searched_as_the_comparison_was(comparison):
    asked = {name: n for name, n in SMALL.items() if name != "same_size"}
    assert causal_score(comparison.rec, **asked) == comparison.search.score.ratio


def test_a_shuffled_copy_has_the_values_of_each_weight_and_leaves_the_network_alone():
    net = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    net[2].weight = net[0].weight = nn.Parameter(torch.randn(4, 4))  # shared
    before = [w.clone() for w in net.parameters()]
    copy = shuffled(net, 3)
    assert copy[2].weight is copy[0].weight
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    for own, other in zip(net.parameters(), copy.parameters(), strict=True):
        assert torch.equal(own.flatten().sort().values, other.flatten().sort().values)
        assert torch.equal(own, other) == (own.ndim < 2)
    assert not torch.equal(shuffled(net, 4)[0].weight, copy[0].weight)


def test_scores_of_the_copies_stand_beside_the_comparison_s_and_judge_it(comparison, tmp_path):
    judged = with_references(comparison, networks=2, **SMALL)
    scores = judged.references[SHUFFLED]
    assert len(scores) == 2 and all(score > 0 for score in scores)
    again = ifl.load(judged.save(tmp_path / "judged"), model=comparison.rec.model)
    assert tuple(again.references[SHUFFLED]) == scores
    assert f"modular than {SHUFFLED}" in finding(
        replace(judged, references={SHUFFLED: [0.1, 99.0]})
    )
    text = ifl.report(again, tmp_path / "report.html").read_text()
    assert SHUFFLED in report_tables(judged, judged.references)["partitions"]["verdict"][CAUSAL]
    assert f"It is compared with {SHUFFLED}" in text


def test_a_copy_is_recorded_with_the_same_inputs_mask_and_sites():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, ids, *, attention_mask):
            hidden = self.embed(ids) * attention_mask[..., None]
            return self.out(hidden.sum(1))

    ids, mask = torch.randint(9, (20, 5)), torch.ones(20, 5)
    mask[::2, 3:] = 0
    rec = ifl.record(Two(), [ifl.Site("embed")], (ids, {"attention_mask": mask}))
    again = _recorded(rec, rec.model)
    assert torch.equal(again["embed"], rec["embed"]) and again.keywords == rec.keywords
    assert torch.equal(again.padding.mask, rec.padding.mask)


def test_what_cannot_be_shuffled_is_refused(comparison):
    with pytest.raises(ValueError, match="networks=0"):
        with_references(comparison, networks=0)
    bare = replace(comparison, rec=replace(comparison.rec, model=Absent()))
    with pytest.raises(RuntimeError):
        with_references(bare)
    turned = ifl.record(comparison.rec.model, ["1"], comparison.rec.inputs[0], basis="pca")
    with pytest.raises(ValueError, match="basis"):
        with_references(replace(comparison, rec=turned))
