"""Recordings that are kept on disk, and outputs that are not kept."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from infoflow import _passes
from infoflow._storage import Recomputed, Store, Stored
from tests.nets import normal

K = 40
SMALL = "1 KB"  # holds a batch of 5 samples, and no recording of 40


def net(kind=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5)).to(kind)


def recorded(store=None, kind=torch.float32, **how):
    x, y = normal(K, 2, 5).to(kind), torch.arange(K) % 4
    how = {"batch_size": 5, "loss": cross_entropy} | how
    return ifl.record(how.pop("model", net(kind)), ["1", "3"], x, y, store=store, **how)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_read_from_disk_is_what_memory_holds(tmp_path: Path, kind: torch.dtype):
    kept, stored = recorded(kind=kind), recorded(Store(tmp_path, SMALL), kind)
    assert stored.stored is not None and kept.stored is None
    for name in ("1", "3"):
        assert stored[name].dtype == kept[name].dtype == kind
        assert torch.equal(stored[name], kept[name])
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.bin")}
    assert sizes == {"0.bin": K * 3 * 4 * kind.itemsize, "1.bin": K * 5 * kind.itemsize}
    assert torch.equal(torch.tensor(stored.units.unused), torch.tensor(kept.units.unused))
    np.testing.assert_array_equal(stored.matrix(), kept.matrix())


def test_similarities_and_interventions_run_from_disk(tmp_path: Path):
    kept, stored = recorded(), recorded(Store(tmp_path, SMALL))
    for name, matrix in ifl.similarities(kept).items():
        np.testing.assert_allclose(ifl.similarities(stored)[name], matrix, rtol=1e-6)
    one, two = (ifl.counterfactual(rec, {"1": [0]}, observe="3") for rec in (kept, stored))
    np.testing.assert_array_equal(one, two)


def test_padding_is_filled_from_disk(tmp_path: Path):
    mask = torch.arange(4)[None] < (torch.arange(K) % 4 + 1)[:, None]
    kept, stored = (recorded(s, mask=mask) for s in (None, Store(tmp_path, SMALL)))
    np.testing.assert_array_equal(stored.matrix(), kept.matrix())
    some = torch.tensor([3, 1])
    assert torch.equal(stored.filled("1", rows=some), kept.filled("1", rows=some))


def test_what_is_on_disk_or_run_again_is_saved_in_full(tmp_path: Path):
    with patch.object(_passes, "FEW_OUTPUTS", 100):
        stored = recorded(Store(tmp_path / "store", SMALL))
    loaded, kept = ifl.load(stored.save(tmp_path / "saved"), model=stored.model), recorded()
    shutil.rmtree(tmp_path / "store")
    assert torch.equal(loaded["1"], kept["1"])
    torch.testing.assert_close(loaded.outputs, kept.outputs)
    np.testing.assert_allclose(
        ifl.similarity(loaded, "hess"), ifl.similarity(kept, "hess"), rtol=1e-6
    )


def test_up_to_the_bound_nothing_is_written(tmp_path: Path):
    assert recorded(tmp_path / "new").stored is None
    assert not (tmp_path / "new").exists()


MEASURED = """
import sys, threading, time
from pathlib import Path
import torch
from torch import nn
import infoflow as ifl

def held():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024

def grown(run):
    most, done = [held()], threading.Event()
    def look():
        while not done.wait(0.001):
            most.append(held())
    start, thread = held(), threading.Thread(target=look)
    thread.start()
    run()
    done.set()
    thread.join()
    return max(most) - start

net, x = nn.Sequential(nn.Linear(4, 4096), nn.Linear(4096, 2)), torch.randn(4000, 4)
ifl.record(net, ["0"], x[:64], batch_size=64)
store = ifl.Store(sys.argv[1], "2 MB")
print(grown(lambda: ifl.record(net, ["0"], x, batch_size=64, store=store)))
print(grown(lambda: ifl.record(net, ["0"], x, batch_size=64)))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells memory by its kind")
def test_memory_is_bound_by_the_batch_and_not_by_the_recording(tmp_path: Path):
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    # memory that was freed goes back at once, so that what is seen is what is held
    returning = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=returning)
    found = run.stdout.split()
    stored, whole = map(int, found)
    size = 4000 * 4096 * 4
    assert (tmp_path / "0.bin").stat().st_size == size
    assert stored < size / 3 < 0.9 * size < whole < 1.6 * size


class Breaks(nn.Module):
    """Counts the samples that it is given, and breaks off after so many."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.count, self.most = net(), [0], [10**9]

    def __getitem__(self, which: int) -> nn.Module:
        return self.inner[which]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count[0] += len(x)
        if self.count[0] > self.most[0]:
            raise KeyboardInterrupt
        return self.inner(x)


def of_breaks(model: Breaks, store: Store | None) -> ifl.Recording:
    model.count[0] = 0
    x = normal(K, 2, 5)
    return ifl.record(model, ["inner.1", "inner.3"], x, batch_size=5, store=store)


def test_a_recording_that_broke_off_goes_on_where_it_stopped(tmp_path: Path):
    model, store = Breaks(), Store(tmp_path, SMALL)
    kept = of_breaks(model, None)
    whole = model.count[0]
    model.most[0] = whole - 14
    with pytest.raises(KeyboardInterrupt):
        of_breaks(model, store)
    # as if it had been stopped while it wrote the last batch
    with (tmp_path / "0.bin").open("ab") as file:
        file.write(b"half a row")
    model.most[0] = 10**9
    rec = of_breaks(model, store)
    assert model.count[0] == whole - 20  # 25 of 40 were there; the first batch is looked at again
    assert torch.equal(rec["inner.1"], kept["inner.1"])
    assert torch.equal(rec["inner.3"], kept["inner.3"])
    assert torch.equal(rec.outputs[:], kept.outputs) and torch.equal(
        rec.outputs[7:9], kept.outputs[7:9]
    )
    of_breaks(model, store)
    assert model.count[0] == whole - 35  # all there: one batch


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    recorded(Store(tmp_path / "a", SMALL))
    other = net()
    with torch.no_grad():
        other[0].weight += 1
    with pytest.raises(ValueError, match="another model, other data or other layers"):
        recorded(Store(tmp_path / "a", SMALL), model=other)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        recorded(Store(tmp_path / "b", SMALL))


def test_bounds_that_cannot_hold_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"one batch of 5 samples has 340 bytes.*batch_size=1"):
        recorded(Store(tmp_path, 70))
    for memory in ("much", "-1 GB", 0):
        with pytest.raises(ValueError, match="'500 MB'"):
            recorded(Store(tmp_path, memory))
    with pytest.raises(ValueError, match="store= and basis="):
        recorded(Store(tmp_path, SMALL), basis="pca")


def test_a_disk_without_room_is_said_before_and_while_writing(tmp_path: Path):
    store = Store(tmp_path, SMALL)
    usage = shutil.disk_usage(tmp_path)
    with (
        patch("shutil.disk_usage", lambda _path: usage._replace(free=100)),
        pytest.raises(OSError, match="has room for 100"),
    ):
        recorded(store)
    append, calls = Stored.append, []

    def full(self: Stored, values: dict[str, torch.Tensor]) -> None:
        calls.append(1)
        if len(calls) == 4:
            self.close()
            self._open = {n: Full() for n in self.shapes}  # pyright: ignore
        append(self, values)

    with patch.object(Stored, "append", full), pytest.raises(OSError, match=r"make\s+room") as said:
        recorded(store)
    assert said.value.errno == errno.ENOSPC
    assert torch.equal(recorded(store)["1"], recorded()["1"])


class Full:
    def write(self, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None: ...


def test_files_that_were_moved_or_cut_are_noticed(tmp_path: Path):
    rec = recorded(Store(tmp_path / "a", SMALL))
    file = tmp_path / "a" / "1.bin"
    whole = file.read_bytes()
    (tmp_path / "a").rename(tmp_path / "b")
    for call in (lambda: rec["3"], lambda: ifl.similarity(rec, "cov", layers="3")):
        with pytest.raises(RuntimeError, match=r"'3' were kept in .*not there any more|'1' were"):
            call()
    (tmp_path / "b").rename(tmp_path / "a")
    file.write_bytes(whole[:-8])
    with pytest.raises(RuntimeError, match=r"has 792 bytes, where 800 bytes are expected"):
        rec["3"]
    with pytest.raises(RuntimeError, match="792 bytes"):
        rec.matrix("1")


def test_large_outputs_are_run_again_where_they_are_needed():
    with patch.object(_passes, "FEW_OUTPUTS", 100):
        rec = recorded()
    kept = recorded()
    assert isinstance(rec.outputs, Recomputed) and isinstance(kept.outputs, torch.Tensor)
    assert rec.outputs.shape == kept.outputs.shape and len(rec.outputs) == K
    for rows in (slice(3, 9), slice(None), slice(0, K, 7), torch.tensor([9, 2, -1]), np.array([4])):
        assert torch.allclose(rec.outputs[rows], kept.outputs[rows], atol=1e-6)
    assert torch.allclose(rec.outputs[3], kept.outputs[3], atol=1e-6)
    with pytest.raises(AttributeError, match=r"outputs\[:100\]"):
        rec.outputs.argmax(1)
    for name, matrix in ifl.similarities(kept).items():
        np.testing.assert_allclose(ifl.similarities(rec)[name], matrix, rtol=1e-6)
    assert ifl.check(rec).trials == ifl.check(kept).trials
    wrong = recorded()
    model = wrong.model
    with torch.no_grad():
        model[3].weight += 1
    with pytest.raises(RuntimeError, match="record again"):
        ifl.similarity(wrong, "o_sens")
