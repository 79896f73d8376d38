"""What users hand to functions: good values in odd clothes, and nonsense, for each kind."""

# ruff: noqa: E501  (a table)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

NAN, INF = float("nan"), float("inf")
ODD_THINGS: tuple[Any, ...] = (object(), 1j, b"3", {}, {"a": 1}, [], (), set(), print, int)
MASKED = np.ma.masked_equal(np.arange(6.0), 2.0)


@dataclass(frozen=True)
class Odd:
    """Values of one kind.

    Attributes:
        good: Each must be accepted, and mean what the plain value means.
        other: Each must be accepted, and may mean something else.
        bad: Nonsense: each must be refused.
    """

    good: tuple[Any, ...] = ()
    other: tuple[Any, ...] = ()
    bad: tuple[Any, ...] = ()


def whole(plain: int, least: int, *, none: bool = False, extra: tuple[Any, ...] = ()) -> Odd:
    kinds = (np.int64, np.int32, np.uint8, np.array, torch.tensor)
    small = tuple(least - k for k in (1, 7, 10**9))
    texts = ("", "3", "all" if "all" not in extra else "most", "nonsense")
    return Odd(
        good=tuple(kind(plain) for kind in kinds),
        other=(*extra, *((None,) if none else ())),
        bad=(
            *small, 2.5, NAN, INF, -INF, True, np.True_, *texts, [plain], (plain,), 10**18, 2**70,
            np.array([plain, plain]), torch.tensor([plain, plain]), np.float64(2.5), *ODD_THINGS,
            torch.tensor(NAN), np.float32(NAN), *(() if none else (None,)),
        ),
    )  # fmt: skip


def seed() -> Odd:
    found = whole(0, 0)
    bad = tuple(x for x in found.bad if not (isinstance(x, int) and x == 10**18))
    return Odd(found.good, (2**32, 2**32 + 7, 2**63 - 1), (*bad, 2**64))


def real(plain: float, bad: tuple[Any, ...] = (), *, none: bool = False) -> Odd:
    return Odd(
        good=(np.float64(plain), np.array(plain), torch.tensor(plain, dtype=torch.float64)),
        other=(None,) if none else (),
        bad=(
            *bad, NAN, INF, -INF, True, "", "1.0", "nonsense", [plain], np.array([plain, plain]),
            np.float32(NAN), torch.tensor(NAN), *ODD_THINGS, *(() if none else (None,)),
        ),
    )  # fmt: skip


def flag(plain: bool) -> Odd:
    return Odd(
        good=(np.bool_(plain), np.array(plain), torch.tensor(plain)),
        other=(not plain,),
        bad=(
            None,
            0,
            1,
            2.5,
            NAN,
            "",
            "yes",
            "False",
            [plain],
            np.array([True, False]),
            *ODD_THINGS,
        ),
    )


def name(plain: str, others: tuple[str, ...] = (), *, none: bool = False) -> Odd:
    return Odd(
        good=(np.str_(plain),),
        other=(*others, *((None,) if none else ())),
        bad=(
            "", "nonsense", plain.upper() + "x", " ", "\n", 5, -1, 2.5, NAN, True, [plain, plain, 5],
            *ODD_THINGS, *(() if none else (None,)),
        ),
    )  # fmt: skip


def partition(plain: list[int]) -> Odd:
    array = np.array(plain)
    return Odd(
        good=(
            tuple(plain), array, array.astype(np.int8), array.astype(np.uint8),
            torch.tensor(plain), pd.Series(plain), pd.Series(plain, index=range(3, 3 + len(plain))),
            iter(plain), array[:, None][:, 0],
        ),
        other=(array + 5,),
        bad=(
            "01" * 5, "", None, 5, 2.5, NAN, True, plain[:-1], [*plain, 0], array + 0.5,
            array * NAN, [str(label) for label in plain], [plain], array[:, None], array.astype(bool),
            [None] * len(plain), MASKED[: len(plain)], np.ma.masked_equal(array, 0),
            array + 1j, torch.tensor(plain).float(), pd.DataFrame({"a": plain}),
            pd.Series(plain).astype(float), [[0], [1, 2]], *ODD_THINGS,
        ),
    )  # fmt: skip


def unsized(plain: list[int]) -> Odd:
    """A partition whose number of units nothing tells."""
    found = partition(plain)
    some = (plain[:-1], [*plain, 0], [], ())
    return Odd(
        found.good,
        found.other,
        tuple(
            x
            for x in found.bad
            if not any(
                x is s or (isinstance(s, type(x)) and isinstance(x, (list, tuple)) and x == s)
                for s in some
            )
        ),
    )


def units(plain: list[int], n: int, layer: str) -> Odd:
    array, mask = np.array(plain), np.isin(np.arange(n), plain)
    return Odd(
        good=(
            tuple(plain), array, array.astype(np.uint8), torch.tensor(plain), pd.Series(plain),
            mask, torch.tensor(mask), mask.tolist(), range(plain[0], plain[-1] + 1), iter(plain),
            (array - n).tolist(), np.array(plain, dtype=object).astype(int), {layer: plain},
            {layer: array}, {layer: torch.tensor(plain)},
        ),
        bad=(
            None, NAN, 2.5, "", "nonsense", {"nonsense": [0]}, {layer: []}, {layer: None},
            {layer: [99]}, {layer: [0, 0]}, {layer: [0.5]}, {5: [0]}, [n], [-n - 1], [0, 0], [0.5],
            [NAN], ["0"], [None], [[0, 1]], np.array([[0]]), mask[:-1], np.zeros(n, bool),
            array + 0.5, array * 1j, [10**18], [2**70], {layer: "nonsense"}, {layer: {}},
            MASKED, {layer: MASKED}, np.ma.masked_equal(array, array[0]),
            *(x for x in ODD_THINGS if x != {}), {},
        ),
    )  # fmt: skip


def matrix(plain: np.ndarray) -> Odd:
    n = len(plain)
    broken = {}
    for what, value in (("nan", NAN), ("inf", INF), ("less", -1.0)):
        broken[what] = plain.copy()
        broken[what][0, 1] = broken[what][1, 0] = value
    lopsided = plain.copy()
    lopsided[0, 1] += 1
    return Odd(
        good=(plain.tolist(), torch.tensor(plain), pd.DataFrame(plain), np.asfortranarray(plain)),
        bad=(
            None, 5, NAN, "", "nonsense", True, *broken.values(), lopsided, plain[0], plain[:-1],
            plain[None], plain * 1j, plain.astype(str), np.zeros((n, n)), np.zeros((0, 0)),
            np.full((n, n), None), [[1, 2], [3]], np.ma.masked_less(plain, plain.mean()),
            torch.tensor(plain) * NAN, pd.DataFrame(plain).astype(str), *ODD_THINGS,
        ),
    )  # fmt: skip


def names(plain: list[str], *, none: bool = True) -> Odd:
    return Odd(
        good=(tuple(plain), np.array(plain), iter(plain), pd.Series(plain)),
        other=(None,) if none else (),
        bad=(
            5, 2.5, NAN, True, "", "nonsense", ["nonsense"], [*plain, "nonsense"], [5], [None],
            [NAN], [[plain[0]]], [plain[0], plain[0]], [b"cov"], np.arange(3), MASKED,
            *ODD_THINGS, *(() if none else (None,)),
        ),
    )  # fmt: skip


def path(plain: Any) -> Odd:
    return Odd(
        good=(Path(plain), str(plain)),
        bad=(
            None,
            5,
            2.5,
            NAN,
            True,
            "",
            "\0",
            "nonsense-that-is-nowhere",
            [str(plain)],
            *ODD_THINGS,
        ),
    )


def thing(*more: Any, none: bool = False) -> Odd:
    """Of a type that nothing else stands for."""
    common = (5, 2.5, NAN, True, "", "nonsense", np.arange(3), torch.ones(2), *ODD_THINGS)
    return Odd(other=(None,) if none else (), bad=(*common, *more, *(() if none else (None,))))
