"""Positions that are padding, and no data: no number may depend on what stands there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from infoflow._arguments import numbers
from infoflow._inputs import Given
from infoflow._outputs import Output
from infoflow._warnings import warn
from infoflow.site import Site

MaskLike = Any | Literal[False] | None


@dataclass(frozen=True, eq=False)
class Padding:
    """Which positions of which sites are real.

    Attributes:
        mask: `(K, T)` bool, True where a position is real; every sample has one.
        of_sites: Per name of a site that has these positions, its `(K, t)` part of the mask.
        output_dim: The dimension of the outputs that has them; None: there is none.
        source: Where the mask is from.
        missed: Names of sites that have other positions: there all of them count.
    """

    mask: Tensor
    of_sites: Mapping[str, Tensor]
    output_dim: int | None
    source: str
    missed: tuple[str, ...] = ()

    def real(self, name: str, count: int, rows: Any = slice(None)) -> Tensor | None:
        """`(rows, count)` bool of a site's positions, which may be several times those of the mask
        (components of heads go first); None: all are real."""
        own = self.of_sites.get(name)
        return None if own is None else own[rows].repeat(1, count // own.shape[1])

    def filled(self, name: str, values: Tensor, rows: Any = slice(None)) -> Tensor:
        """`values` `(rows, units, positions)` of a site, each padded position at the mean of the
        sample's real ones: their mean, their range and their maximum are those of what is real."""
        if name not in self.of_sites:
            return values
        real = self.of_sites[name][rows].to(values.device)[:, None, None]
        parts = values.unflatten(2, (-1, real.shape[-1]))
        total = torch.where(real, parts, 0).double().sum(-1, keepdim=True)
        mean = (total / real.sum(-1, keepdim=True)).to(values.dtype)
        return torch.where(real, parts, mean).flatten(2)

    def outputs(self, values: Tensor, rows: Any = slice(None)) -> Tensor:
        """Outputs `(rows, ...)`, zero at padded positions."""
        if self.output_dim is None:
            return values
        real = self.mask[rows].to(values.device)
        shape = [1] * values.ndim
        shape[0], shape[self.output_dim] = real.shape
        return torch.where(real.view(shape), values, 0)

    def __repr__(self) -> str:
        share = 1 - float(self.mask.double().mean())
        left = list(self.of_sites) if len(self.of_sites) < 4 else [f"{len(self.of_sites)} sites"]
        left += ["the outputs"] if self.output_dim is not None else []
        missed = f", not at {', '.join(self.missed)}" if self.missed else ""
        return f"{share:.0%} padding by {self.source} left out at {', '.join(left)}{missed}"


def find_padding(
    given: Given,
    names: Sequence[str | None],
    wanted: MaskLike,
    sites: Mapping[Site, int],
    outputs: Tensor,
    shorter: Callable[[int], Tensor | None],
) -> Padding | None:
    """The padding of a data set; None where all positions are real.

    Args:
        given: The data set.
        names: Of its arguments.
        wanted: `(K, T)`, True or 1 where a position is real; None: an argument `attention_mask`
            of that shape; False: nothing is padding.
        sites: The sites, and how many positions each has.
        outputs: The model's outputs.
        shorter: What it returns for two samples with one of that many positions fewer; None: it
            takes no other number.

    Raises:
        ValueError: Another shape or other values, a sample without a real position, or neither a
            site nor outputs with so many positions.
    """
    mask = _own_mask(given, names) if wanted is None else wanted
    if mask is False:
        return None
    source = "attention_mask" if wanted is None else "mask"
    mask = torch.from_numpy(numbers("mask", mask))
    width = mask.shape[-1] if mask.ndim else 1
    # where calls are positions they lie outside the components of heads
    fits = [s for s, n in sites.items() if n == width and (s.heads is None or s.call != "all")]
    output_dim = _dim_of(outputs, width, shorter)
    fitting = bool(fits) or output_dim is not None or wanted is None
    if not _is_mask(mask, len(given.tensors[0])) or not fitting:
        raise ValueError(
            f"expected a mask ({len(given.tensors[0])}, positions) that is True or 1 where a "
            f"position is real, for the positions of a site, {_counts(sites)}; "
            f"got {tuple(mask.shape)} of {mask.dtype}"
        )
    mask = mask.bool()
    _check_real(mask, source)
    if bool(mask.all()):
        return None
    missed = _counts({s: n for s, n in sites.items() if n > 1 and s not in fits})
    if missed:
        _say_missed(source, width, missed)
    chosen = {s.name: mask if s.positions is None else mask[:, list(s.positions)] for s in fits}
    for name, own in chosen.items():
        _check_real(own, f"{source} at {name!r}")
    found = Padding(mask, chosen, output_dim, source, tuple(missed))
    return found if chosen or output_dim is not None else None


def _counts(sites: Mapping[Site, int]) -> dict[str, int]:
    return {site.name: count for site, count in sites.items()}


def _say_missed(source: str, positions: int, missed: Mapping[str, int]) -> None:
    warn(
        f"{source} has {positions} positions, which sites {missed} have not: there padding counts "
        "as data. Record other layers, or say mask=False"
    )


def _own_mask(given: Given, names: Sequence[str | None]) -> Tensor | Literal[False]:
    """The model's argument `attention_mask`, if it tells padding; others do more than that."""
    own = [x for x, name in zip(given.tensors, names, strict=True) if name == "attention_mask"]
    return own[0] if own and _is_mask(own[0], len(own[0])) else False


def _is_mask(mask: Tensor, count: int) -> bool:
    return mask.ndim == 2 and len(mask) == count and bool(((mask == 0) | (mask == 1)).all())


def _check_real(mask: Tensor, where: str) -> None:
    empty = (~mask.any(1)).nonzero().ravel().tolist()
    if empty:
        raise ValueError(
            f"samples {empty[:10]} have no real position in {where}: leave them out, choose "
            "positions that are real on all, or say mask=False"
        )


def outputs_for_fewer(
    model: nn.Module, given: Given, where: torch.device, output: Output, positions: int
) -> Tensor | None:
    """The model's outputs for two samples without the last of so many positions; None: it takes no
    other number, or has no argument with so many."""
    cut = []
    for x in given.tensors:
        dims = [d for d in range(1, x.ndim) if x.shape[d] == positions]
        cut.append(x.narrow(dims[0], 0, positions - 1) if dims else x)
    if all(x is y for x, y in zip(cut, given.tensors, strict=True)):
        return None
    try:
        return output(replace(given, tensors=tuple(cut)).call(model, where, slice(0, 2)))
    except Exception:  # made for one number of positions
        return None


def _dim_of(outputs: Tensor, positions: int, shorter: Callable[[int], Tensor | None]) -> int | None:
    """The one dimension of outputs that has the positions; those of `(K, T)` may be classes, which
    stay as many where there are fewer positions."""
    places = [d for d in range(1, outputs.ndim) if outputs.shape[d] == positions]
    if outputs.ndim > 2 or not places or positions < 2:
        return places[0] if len(places) == 1 and outputs.ndim > 2 else None
    fewer = shorter(positions)
    if fewer is None:
        warn(
            f"the model has {positions} outputs a sample and {positions} positions, of which some "
            "are padding, and runs on no fewer: all its outputs count. If they are one for each "
            "position, say record(output=lambda y: y.unsqueeze(-1))"
        )
        return None
    return 1 if fewer.shape[1:] == (positions - 1,) else None
