"""Every public function given odd values: the right answer or a clear error, nothing else.

`INFOFLOW_FUZZ` is the number of calls with two odd arguments, drawn anew for another
`INFOFLOW_FUZZ_SEED`.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import infoflow
from tests.doors import doors
from tests.fuzzing import Door, outcome, same, unclear

PAIRS = int(os.environ.get("INFOFLOW_FUZZ", "1500"))
SEED = int(os.environ.get("INFOFLOW_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Door]]:
    """All doors, each of the fast ones opened once: libraries are imported, kernels compiled."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = doors(tmp_path_factory.mktemp("fuzz"))
        for door in found.values():
            if not door.slow:
                door.call(**door.plain)
        infoflow.agreement([0, 1], [0, 1], measure="nmi")  # imports clusim
        yield found


def fresh(value: Any) -> Any:
    """Iterators are used up by a call."""
    return copy.copy(value) if hasattr(value, "__next__") else value


def refused(door: Door, changed: Mapping[str, Any], counts: Counter[str]) -> str:
    """What is wrong with how nonsense was met; empty if it was refused with a clear error."""
    kind, got = outcome(door, changed)
    counts[kind] += 1
    wrong = f"{kind}, to be refused" if kind != "error" else unclear(got, tuple(changed))
    return wrong and f"{', '.join(f'{n}={v!r:.60}' for n, v in changed.items())}: {wrong}"


def accepted(door: Door, name: str, value: Any, expected: Any, counts: Counter[str]) -> str:
    """What is wrong with how a good value was met; `expected`: the answer, where that is known."""
    kind, got = outcome(door, {name: fresh(value)})
    counts[kind] += 1
    if kind != "answer":
        return f"{name}={value!r:.60}: {kind}, to be accepted: {got!s:.150}"
    changes = expected is not None and not same(got, expected)
    return f"{name}={value!r:.60} changes the answer" if changes else ""


def faults(door: Door, counts: Counter[str]) -> Iterator[str]:
    """What is wrong with calls in which one argument is odd."""
    expected = None if door.slow else outcome(door, {})[1]
    for name, odd in door.odd.items():
        for value in odd.bad:
            yield refused(door, {name: value}, counts)
        if not door.slow:
            known = expected if name in door.plain else None
            for value in odd.good:
                yield accepted(door, name, value, known, counts)
            for value in odd.other:
                yield accepted(door, name, value, None, counts)


def test_one_odd_argument_is_understood_or_refused(every: Mapping[str, Door]) -> None:
    counts: Counter[str] = Counter()
    found = {name: [*filter(None, faults(door, counts))] for name, door in every.items()}
    assert {name: texts for name, texts in found.items() if texts} == {}
    assert counts.total() >= 5500 and counts["answer"] >= 600


def test_nonsense_beside_another_odd_argument_is_refused(every: Mapping[str, Door]) -> None:
    rng = np.random.default_rng(SEED)
    names = [name for name, door in every.items() if len(door.odd) > 1]
    found = []
    for _ in range(PAIRS):
        door = every[names[rng.integers(len(names))]]
        one, other = rng.permutation(list(door.odd))[:2].tolist()
        odd = [*door.odd[other].good, *door.odd[other].other, *door.odd[other].bad]
        bad = door.odd[one].bad[rng.integers(len(door.odd[one].bad))]
        changed = {one: bad, other: fresh(odd[rng.integers(len(odd))])}
        found.append(refused(door, changed, Counter()))
    assert [*filter(None, found)] == []


def test_every_public_function_has_a_door(every: Mapping[str, Door]) -> None:
    made = ("Check", "Comparison", "Confidence", "Exchange", "Flow", "ModuleCount", "ModuleScore")
    made += ("Lesions", "Modules", "Recording", "SearchResult")  # by functions, not by users
    made += ("ModuleFinder",)  # keeps what it is given for `fit`, as scikit-learn asks
    names = set(infoflow.__all__) - set(made)
    assert names <= set(every)
    for name in names:
        asked = set(inspect.signature(getattr(infoflow, name)).parameters)
        unasked = {"meter", "checkpoint", "callback", "aliases", "starts"}
        assert asked - unasked <= {*every[name].odd, *every[name].plain}, name
