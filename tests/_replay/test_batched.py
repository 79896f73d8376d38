"""Many interventions in one batch are each what they are alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infoflow._replay.chunks import GUARDED_ROWS
from infoflow._replay.edits import BatchedEdits
from infoflow.interventions import resample, resample_each
from tests._replay.test_replay import recorded, rows


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("kind", ["table", "permutation", "any"])
@pytest.mark.parametrize("case", ["mlp", "residual, late", "gru cell over time", "dict output"])
def test_folded_sources_are_what_they_are_alone(case, kind, replay):
    rec, _, source = recorded(case, batch_size=50)
    (name,) = source
    n = len(rec.units.indices(name))
    sources = [{name: [0]}, {name: list(range(n))}, rec.units.indices(name)[1:3]]
    sources += [[len(rec.units) - 1], {name: [n - 1]}]
    names, (donors, contexts) = rec.units.layers, rows(kind)
    found = {number: [] for number in range(len(sources))}
    order = []
    for number, part, seen in resample_each(rec, sources, donors, contexts, names, replay=replay):
        assert part.start == sum(len(s[names[0]]) for s in found[number])
        found[number].append(seen)
        order.append(number)
    assert order == sorted(order)
    for number, source in enumerate(sources):
        alone = list(resample(rec, source, donors, contexts, names))
        for layer in names:
            folded = torch.cat([seen[layer] for seen in found[number]])
            torch.testing.assert_close(folded, torch.cat([seen[layer] for _, seen in alone]))


def test_several_sources_share_a_batch():
    rec, _, _ = recorded("mlp")
    passes = []
    handle = rec.model[3].register_forward_hook(lambda _m, _x, out: passes.append(len(out)))
    sources = [[i] for i in range(8)]
    list(resample_each(rec, sources, *rows("table"), ["3"]))
    passes.clear()
    list(resample_each(rec, sources, *rows("table"), ["3"]))
    handle.remove()
    assert passes == [len(sources) * len(rows("table")[0]), GUARDED_ROWS]


def test_memory_is_flat_in_the_number_of_interventions(monkeypatch):
    rec, _, _ = recorded("mlp")
    held, batches = [], []
    close = BatchedEdits._close_before

    def look(self, number):
        close(self, number)
        held.append(len(self._open))

    monkeypatch.setattr(BatchedEdits, "_close_before", look)
    monkeypatch.setattr("infoflow._replay.chunks._CPU_BYTES", 1 << 14)
    donors, contexts = rows("table")
    for count in (8, 64):
        sources = [[i % 8] for i in range(count)]
        for _, _, seen in resample_each(rec, sources, donors, contexts, ["3"]):
            batches.append(len(seen["3"]))
        peak = max(held), max(batches)
        if count == 8:
            first = peak
    assert peak == first


def test_bad_rows_are_refused():
    rec, _, _ = recorded("mlp")
    with pytest.raises(ValueError, match="one context per donor"):
        list(resample_each(rec, [[0]], np.arange(3), np.arange(2), ["3"]))
    assert list(resample_each(rec, [], np.arange(3), np.arange(3), ["3"])) == []
