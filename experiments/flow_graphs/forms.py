"""What slopes could say of the flow between two units: responses, and forms of them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import infoflow as ifl
from infoflow.information.binning import UnitBins
from infoflow.information.entropy import miller_madow_bits
from infoflow.information.slopes import slopes
from infoflow.information.targets import fit_target
from infoflow.measured import TRAFFIC

DRAWS = replace(TRAFFIC, donors=100, contexts=30)
FORMS = [f"{form}_{c}" for form in ("sq", "log") for c in (10, 3, 1)]
RESPONSES = ("map", "shift", "rms")


def graphs(rec: ifl.Recording, seconds: dict[str, float]) -> dict[str, np.ndarray]:
    """`(n, n)` flow graphs by name, `codes map` and `FORM RESPONSE`.

    Args:
        rec: A recording.
        seconds: Processor time is added: of the slopes and all forms, but the codes; and with them.
    """
    donors, contexts = DRAWS.rows(len(rec))
    maps = {name: _map(rec, name) for name in rec.units.layers}
    means = torch.cat([h.mean(2) for h in maps.values()], 1)
    spread = means.std(0, correction=0).numpy()
    bins = fit_target(rec, np.arange(len(rec.units)), DRAWS).coder
    assert isinstance(bins, UnitBins)
    n, start, coding = len(rec.units), time.process_time(), 0.0
    found = {f"{form} {response}": np.zeros((n, n)) for form in FORMS for response in RESPONSES}
    codes = np.zeros((n, n))
    for targets, parts in slopes(rec, contexts):
        for name, g in parts.items():
            block = np.ix_(rec.units.indices(name), targets)
            moved = torch.einsum("mkup,dup->mkud", g, maps[name][donors])
            for response, r in _responses(g, maps[name], moved).items():
                ratio = r.permute(2, 0, 1).double().numpy() / spread[targets][None, :, None]
                for form in FORMS:
                    found[f"{form} {response}"][block] = _form(form, ratio).mean(2)
            began = time.process_time()
            here = torch.einsum("mkup,kup->mku", g, maps[name][contexts])
            at = means[contexts][:, targets].T[:, :, None, None] + moved - here[..., None]
            codes[block] = _coded(at, bins.take(targets))
            coding += time.process_time() - began
    whole = time.process_time() - start
    for form in FORMS:
        seconds[form] = whole - coding
    seconds["codes"] = whole
    return {"codes map": codes, **found}


def _map(rec: ifl.Recording, name: str) -> Tensor:
    h = rec.filled(name)
    return h if h.ndim == 3 else h[:, :, None]


def _responses(g: Tensor, h: Tensor, moved: Tensor) -> dict[str, Tensor]:
    """By name `(targets, contexts, units)`."""
    return {
        "map": moved.std(-1, correction=0),
        "shift": g.sum(-1).abs() * h.mean(2).std(0, correction=0),
        "rms": (g.square() * h.var(0, correction=0)).sum(-1).sqrt(),
    }


def _form(name: str, ratio: np.ndarray) -> np.ndarray:
    form, c = name.split("_")
    scaled = float(c) * ratio
    return 0.5 * np.log2(1 + scaled**2) if form == "sq" else np.log2(1 + scaled)


def _coded(at: Tensor, bins: UnitBins) -> np.ndarray:
    """`(units, targets)` mean entropy over donors of the codes of `at` `(m, K, u, D)`."""
    m, k, u, d = at.shape
    flat = at.permute(3, 1, 2, 0).reshape(-1, m).double().contiguous().numpy()
    codes = bins.encode(flat).reshape(d, k, u, m)
    counts = np.stack([(codes == c).sum(0) for c in range(bins.n_codes)], -1)
    return miller_madow_bits(counts).mean(0)
