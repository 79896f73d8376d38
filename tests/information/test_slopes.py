"""Claims about flows from slopes: exact on linear networks, else those of the linearisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import infoflow as ifl
from experiments.common.builders import tracks
from infoflow.information.binning import UnitBins
from infoflow.information.entropy import miller_madow_bits
from infoflow.information.slopes import slope_flows, strongest_flows
from infoflow.information.targets import fit_target, pooled
from infoflow.information.unit_flows import single_flows
from infoflow.interventions import resample
from infoflow.measured import UNIT_FLOW, Draws
from infoflow.units import UnknownName

DRAWS = Draws(12, 7, 6, "units", "mean", "miller_madow", 3)


def convolutions(act: type[nn.Module]) -> ifl.Recording:
    """Two layers of channels with 16 and 4 positions, and one of units without."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), act(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1), act(),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    sites = [ifl.Site("1", unit_dim=1), ifl.Site("4", unit_dim=1), "6"]
    return ifl.record(net.double(), sites, torch.randn(40, 1, 4, 4).double())


def entropies(rec: ifl.Recording, values: np.ndarray) -> np.ndarray:
    """Mean over contexts of the entropy over donors of the codes of `(D, K, n)` values."""
    bins = fit_target(rec, np.arange(len(rec.units)), DRAWS).coder
    assert isinstance(bins, UnitBins)
    codes = bins.encode(values.reshape(-1, values.shape[2])).reshape(values.shape)
    counts = np.stack([(codes == c).sum(0) for c in range(bins.n_codes)], -1)
    return miller_madow_bits(counts).mean(0)


def test_on_a_linear_network_slopes_give_what_interventions_give():
    rec = convolutions(nn.Identity)
    donors, contexts = DRAWS.rows(len(rec))
    found = slope_flows(rec, DRAWS)
    rows = np.repeat(donors, len(contexts)), np.tile(contexts, len(donors))
    for unit in range(7):
        layers = rec.units.layers
        seen = [s for _, s in resample(rec, np.array([unit]), *rows, layers, replay=False)]
        values = torch.cat([torch.cat([pooled(s[n], "mean") for n in layers], 1) for s in seen])
        sent = entropies(rec, values.numpy().reshape(len(donors), len(contexts), -1))
        later = rec.units.layer_index > rec.units.layer_index[unit]
        assert np.allclose(found[unit], np.where(later, sent, 0.0)) and found[unit].any()


def test_elsewhere_they_are_flows_of_the_linearisation_at_each_context():
    rec = convolutions(nn.Tanh)
    donors, contexts = DRAWS.rows(len(rec))
    found = slope_flows(rec, DRAWS)
    first, last = rec["1"], rec["6"]
    after = nn.Sequential(*list(rec.model)[2:])  # type: ignore[arg-type]
    for unit in range(3):
        values = np.zeros((len(donors), len(contexts), len(rec.units)))
        for k, context in enumerate(contexts):
            h = first[context].reshape(1, 3, 4, 4)
            slope = torch.autograd.functional.jacobian(lambda h: after(h)[0], h)
            g = slope.reshape(5, 3, 16)[:, unit]  # type: ignore[union-attr]
            change = (first[donors] - first[context])[:, unit] @ g.T
            values[:, k, 7:] = (last[context] + change).numpy()
        assert np.allclose(found[unit, 7:], entropies(rec, values)[7:])


def test_they_are_near_the_measured_flows_and_zero_where_nothing_flows():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
    with torch.no_grad():
        net[2].weight[:3, :4] = net[2].weight[3:, 4:] = 0  # type: ignore[index]
    rec = ifl.record(net, ["1", "3"], torch.randn(300, 5))
    found = ifl.unit_flow(rec, method="gradient", given_context=True, donors=60, contexts=30)
    true = single_flows(rec, UNIT_FLOW, given_context=True)
    assert not found[:4, 8:11].any() and not found[8:].any() and not found.diagonal().any()
    assert abs(found.sum() / true.sum() - 1) < 0.25
    assert np.corrcoef(found[true > 0], true[true > 0])[0, 1] > 0.9


def test_padding_does_not_matter():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
    x, mask = torch.randn(30, 5, 3), torch.arange(5) < torch.randint(2, 6, (30, 1))
    flows = []
    for filler in (0.0, 9.0):
        given = torch.where(mask[:, :, None], x, filler)
        sites = [ifl.Site(name, unit_dim=-1) for name in ("1", "3")]
        flows.append(slope_flows(ifl.record(net, sites, given, mask=mask), DRAWS))
    assert np.allclose(*flows) and flows[0].any()


def test_what_slopes_cannot_say_is_refused():
    rec = convolutions(nn.Tanh)
    with pytest.raises(ValueError, match="expected given_context=True"):
        ifl.unit_flow(rec, method="gradient")
    with pytest.raises(ValueError, match="measure the flows"):
        ifl.unit_flow(rec, method="gradient", given_context=True, pool="max")
    with pytest.raises(UnknownName, match="gradient"):
        ifl.unit_flow(rec, method="gradients", given_context=True)  # type: ignore[arg-type]
    cell = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.cell(self.cell(x))

    again = ifl.record(Twice(), [ifl.Site("cell.1", call="all", unit_dim=1)], torch.randn(20, 4))
    with pytest.raises(ValueError, match="called several times"):
        slope_flows(again, DRAWS)


def test_the_strongest_flows_are_those_of_the_matrix_and_strengths_those_of_all():
    rec = convolutions(nn.Tanh)
    draws = Draws(20, 6, 5, "units")
    whole = slope_flows(rec, draws)
    both = whole + whole.T
    how = {"donors": 20, "contexts": 6, "bins": 5}
    everything = strongest_flows(rec, neighbours=99, **how)
    assert np.allclose(everything.matrix.toarray(), both)
    few = strongest_flows(rec, neighbours=2, **how)
    assert np.allclose(few.strength, both.sum(0)) and few.matrix.nnz < everything.matrix.nnz
    kept = np.where(whole >= np.sort(whole, axis=0)[-2], whole, 0)
    assert np.allclose(few.matrix.toarray(), kept + kept.T)
    with pytest.raises(ValueError, match="at least one neighbour"):
        strongest_flows(rec, neighbours=0)


def test_modules_of_the_strongest_flows_lie_within_planted_tracks():
    rec, planted = tracks((6, 6), 0, cross=0.05)
    found = ifl.find_modules(strongest_flows(rec, neighbours=5))
    assert all(len(np.unique(planted.labels[module])) == 1 for module in found.partition.modules)
