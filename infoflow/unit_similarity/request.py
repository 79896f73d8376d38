"""The measures (Lange et al. 2022, section 3.1), and what is asked of a recording, checked at the
door."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from infoflow._arguments import check_fields, one_of
from infoflow._unchanged import fingerprint
from infoflow.recording import Recording
from infoflow.site import Site
from infoflow.unit_similarity.per_sample_loss import Loss, per_sample_loss
from infoflow.units import UnknownName, unknown_name

_LOSS_ROWS, _LOSS_NUMBERS = 256, 2**20
_NO_WEIGHTS = torch.nn.Module()

Positions = Literal["mean", "each"] | int
Method = Literal["auto", "exact", "probes"]
Family = Literal["upstream", "downstream", "other"]


@dataclass(frozen=True)
class Measure:
    """One way to say how alike two hidden units are.

    Attributes:
        name: The name by which it is asked for.
        base: The measure whose matrix it is, or is normalised from.
        family: `"upstream"` looks at what drives the units, `"downstream"` at what they drive;
            `"other"` is for comparison, and not from the paper.
        normalised: Divided by the diagonal as in eq. 5.
    """

    name: str
    base: str
    family: Family
    normalised: bool


_FAMILIES: dict[str, Family] = {
    "cov": "upstream",
    "i_sens": "upstream",
    "o_sens": "downstream",
    "hess": "downstream",
}
TABLE: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        *(
            Measure(base + end, base, family, bool(end))
            for base, family in _FAMILIES.items()
            for end in ("", "_norm")
        ),
        Measure("weights", "weights", "other", False),
        Measure("w_in", "w_in", "other", False),
        Measure("w_in_norm", "w_in", "other", True),
        Measure("w_out", "w_out", "other", False),
        Measure("w_out_norm", "w_out", "other", True),
        Measure("spearman", "spearman", "other", False),
        Measure("slopes", "slopes", "other", False),
    )
}

OTHERS: tuple[str, ...] = tuple(m.name for m in TABLE.values() if m.family == "other")
MEASURES: tuple[str, ...] = tuple(name for name in TABLE if name not in OTHERS)
UPSTREAM: tuple[str, ...] = tuple(m.name for m in TABLE.values() if m.family == "upstream")
DOWNSTREAM: tuple[str, ...] = tuple(m.name for m in TABLE.values() if m.family == "downstream")


def chosen(measures: str | Sequence[str] | None) -> list[Measure]:
    """The measures asked for, or (None) all eight.

    Raises:
        ValueError: No measure of that name (near misses are named), or none asked for.
    """
    names = MEASURES if measures is None else measures
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(f"expected at least one measure of {list(MEASURES)}, got none")
    for name in names:
        if name not in TABLE:
            raise UnknownName(unknown_name("similarity measure", name, tuple(TABLE)))
    return [TABLE[name] for name in names]


@dataclass(frozen=True)
class How:
    """How the derivative measures are computed.

    Attributes:
        method: `"exact"`, `"probes"`, or `"auto"`: exact unless that is too much.
        probes: Random directions per sample and measure, an even number.
        seed: Of the directions.
        fast: The exact short cuts that hold are taken.
    """

    method: Method = "auto"
    probes: int = 8
    seed: int = 0
    fast: bool = True

    def __post_init__(self) -> None:
        check_fields(self, method=one_of(("auto", "exact", "probes")))
        if self.probes % 2:
            raise ValueError(
                "probes: expected an even number (half of them check the other half), got "
                f"{self.probes}"
            )


@dataclass(frozen=True, eq=False)
class Request:
    """Which base measures of which units.

    Attributes:
        rec: The recording.
        sites: Where the units are.
        bases: Of `cov`, `i_sens`, `o_sens`, `hess`.
        across: Also between sites; else those blocks may be left out.
        positions: `(p,)` indices of the positions that are looked at one by one; None: a unit's
            activation is the mean over its positions, and is perturbed at all of them alike.
    """

    rec: Recording
    sites: tuple[Site, ...]
    bases: frozenset[str]
    across: bool
    positions: Tensor | None

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.rec.units.indices([site.name for site in self.sites]))

    @property
    def loss(self) -> Loss:
        """The loss; its presence is checked by `make_request`."""
        assert self.rec.loss is not None
        return self.rec.loss

    def labels(self, index: slice) -> Tensor:
        """The targets of those samples, on the device."""
        assert self.rec.targets is not None
        return self.rec.targets[index].to(self.rec.device)

    @property
    def key(self) -> Hashable:
        """What the matrices depend on beside the recording itself; None: on what cannot be told,
        as a loss function of the user's own may refer to anything."""
        names = tuple(site.name for site in self.sites)
        places = None if self.positions is None else tuple(self.positions.tolist())
        asked = (names, self.bases, self.across, places)
        if "hess" not in self.bases:
            return asked
        loss, targets = self.rec.loss, self.rec.targets
        kind = type(loss) if isinstance(loss, torch.nn.Module) else loss
        if not (getattr(kind, "__module__", None) or "").startswith("torch.nn.") or targets is None:
            return None
        held = loss if isinstance(loss, torch.nn.Module) else _NO_WEIGHTS
        return *asked, loss, repr(fingerprint(held, [targets]))

    def activations(self, index: slice) -> Tensor:
        """`(batch, positions, n)` float64; one position if the mean is asked for."""
        blocks = []
        for site in self.sites:
            block = self.rec.filled(site.name)[index].double()
            block = block if block.ndim == 3 else block[:, :, None]
            if self.positions is None:
                blocks.append(block.mean(2, keepdim=True))
            else:
                blocks.append(block[:, :, self.positions])
        return torch.cat(blocks, 1).transpose(1, 2)


@torch.inference_mode(False)
def make_request(
    rec: Recording,
    names: Sequence[str],
    bases: frozenset[str],
    *,
    across: bool,
    positions: Positions = "mean",
    seed: int = 0,
    embedded: bool = False,
) -> Request:
    """Check what is asked for; `embedded`: of integer inputs `i_sens` is taken at what embeddings
    make of them.

    Raises:
        KeyError: A layer that was not recorded.
        RuntimeError: The model was changed since it was recorded.
        ValueError: A layer named twice; `i_sens` of integer inputs; `o_sens` of complex outputs;
            `hess` without targets or loss, or with a loss that has no second
            derivative per sample; positions that do not exist.
    """
    rec.check_current(running=bool(bases & {"i_sens", "o_sens", "hess"}))
    sites = tuple(rec.units.site(name) for name in names)
    _check_names([site.name for site in sites])
    for base, reason in _refused_bases(rec).items():
        if base in (bases or {"weights"}) and not (embedded and base == "i_sens"):
            raise ValueError(reason)
    if bases & {"i_sens", "o_sens", "hess"}:
        _check_outputs(rec)
    if "hess" in bases:
        _check_loss(rec)
    return Request(rec, sites, bases, across, _chosen_positions(rec, names, positions, seed))


def allowed_measures(rec: Recording) -> tuple[str, ...]:
    """Those of the eight measures that need nothing the recording has not got.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2))
        >>> allowed_measures(ifl.record(net, "0", torch.ones(3, 2)))
        ('cov', 'cov_norm', 'i_sens', 'i_sens_norm', 'o_sens', 'o_sens_norm')
    """
    return tuple(name for name in MEASURES if name not in refused_measures(rec))


def refused_measures(rec: Recording) -> dict[str, str]:
    """The others of the eight, and why."""
    refused = _refused_bases(rec)
    return {name: refused[TABLE[name].base] for name in MEASURES if TABLE[name].base in refused}


def _refused_bases(rec: Recording) -> dict[str, str]:
    reasons = {}
    kinds = [str(x.dtype) for x in rec.inputs]
    if not any(x.is_floating_point() for x in rec.inputs):
        reasons["i_sens"] = (
            f"input sensitivity differentiates with respect to the inputs, and these are {kinds}. "
            "Say method='probes' (or 'exact') to take it at what nn.Embedding makes of them, "
            "record a model that starts from the embedded tokens (for a transformer, call it with "
            "inputs_embeds=embedding(tokens)), or leave out 'i_sens' and 'i_sens_norm'"
        )
    if rec.loss is None or rec.targets is None:
        missing = "loss" if rec.loss is None else "targets"
        reasons["hess"] = (
            f"measures 'hess' and 'hess_norm' need the recording's {missing}: "
            "record(model, layers, inputs, targets, loss=torch.nn.functional.cross_entropy)"
        )
    if rec.outputs.is_complex():
        reasons |= dict.fromkeys(
            ("o_sens", "hess"),
            "the outputs are complex, and have no real derivative: let the model return "
            "torch.view_as_real(y), or leave out 'o_sens' and 'hess'",
        )
    if any(p.is_inference() for p in (*rec.model.parameters(), *rec.model.buffers())):
        reasons |= dict.fromkeys(
            ("i_sens", "o_sens", "hess", "weights"),
            "the model was made inside torch.inference_mode(), and nothing can be differentiated "
            "through its parameters: make or load it outside, or record copy.deepcopy(model)",
        )
    return reasons


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"expected each layer once, got {twice} more than once in {list(names)}")


def _check_outputs(rec: Recording) -> None:
    if rec.outputs.ndim < 1 or len(rec.outputs) != len(rec):
        raise ValueError(
            f"expected one output per sample along dimension 0, got {tuple(rec.outputs.shape)} for "
            f"{len(rec)} samples: let the model put the batch first"
        )


def _check_loss(rec: Recording) -> None:
    """On many samples at once, as one alone cannot show that a loss weighs them by their batch."""
    assert rec.loss is not None and rec.targets is not None
    rows = _typical_rows(rec)
    outputs = rec.outputs[rows].to(rec.device).requires_grad_()
    with torch.enable_grad():
        values = per_sample_loss(rec.loss, outputs, rec.targets[rows].to(rec.device))
        try:
            (slope,) = torch.autograd.grad(values.sum(), outputs, create_graph=True)
            if slope.requires_grad:
                torch.autograd.grad(slope.sum(), outputs, allow_unused=True)
        except RuntimeError as error:
            raise ValueError(
                f"the loss cannot be differentiated twice ({error}), which 'hess' needs; write it "
                "with differentiable torch functions, or leave out 'hess' and 'hess_norm'"
            ) from error


def _typical_rows(rec: Recording) -> Tensor:
    """Rows from all over the data set, and one of every class, as far as that is not too much."""
    assert rec.targets is not None
    most = max(min(_LOSS_ROWS, _LOSS_NUMBERS // max(rec.outputs[0].numel(), 1)), 2)
    rows = np.arange(0, len(rec), -(-len(rec) // most))
    if rec.targets.ndim == 1 and not rec.targets.is_floating_point():
        _, first = np.unique(rec.targets.cpu().numpy(), return_index=True)
        rows = np.concatenate([first, rows])[:most]
    return torch.from_numpy(np.unique(rows))


def _chosen_positions(
    rec: Recording, names: Sequence[str], positions: Positions, seed: int
) -> Tensor | None:
    if positions == "mean":
        return None
    padded = [name for name in names if rec.real(name) is not None]
    if padded:
        raise ValueError(
            f"positions one by one weigh every position alike, and some of layers {padded} are "
            "padding: use positions='mean', or record(mask=False)"
        )
    counts = {name: 1 if rec[name].ndim == 2 else rec[name].shape[2] for name in names}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"layers with different numbers of positions {counts} have no position in common: "
            "use positions='mean', or similarities_by_layer"
        )
    count = next(iter(counts.values()))
    if positions == "each":
        positions = count
    if isinstance(positions, str) or positions < 1:
        raise ValueError(f"expected positions 'mean', 'each' or a number >= 1, got {positions!r}")
    if count == 1:  # which is the mean
        return None
    few = np.random.default_rng(seed).choice(count, min(positions, count), replace=False)
    return torch.from_numpy(np.sort(few))
