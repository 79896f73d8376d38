"""Where a recording keeps what it saw: in memory, or above a bound in files on disk."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from infoflow._arguments import check_fields
from infoflow._files import write_atomically
from infoflow.site import Site

FEW_OUTPUTS = 2**24  # numbers up to which outputs are kept: 64 MiB in float32
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MANIFEST = "recording.json"


@dataclass(frozen=True)
class Store:
    """Where activations go that are too large for memory: one file a site, raw and mapped.

    A recording that broke off goes on where it stopped if it is made again with the same model,
    data and layers. The files hold numbers and nothing that could run.

    Attributes:
        folder: A folder of this recording alone; made if it is not there.
        memory: Bytes, or a text such as `"500 MB"`, that activations may take in memory. Up to it
            nothing is written; beyond it, one batch at a time is in memory while recording.

    Examples:
        >>> Store("activations", "1.5 GB").bound
        1500000000
    """

    folder: str | Path
    memory: int | str = "1 GB"

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.bound

    @property
    def bound(self) -> int:
        """`memory` in bytes.

        Raises:
            ValueError: It is no size.
        """
        found = re.fullmatch(r"(\d*\.?\d+)\s*([KMGT]?B?)", str(self.memory).strip().upper())
        if found is None or found[2] not in _UNITS or float(found[1]) * _UNITS[found[2]] < 1:
            raise ValueError(
                f"expected memory in bytes or as a text such as '500 MB', got {self.memory!r}"
            )
        return int(float(found[1]) * _UNITS[found[2]])


@dataclass(eq=False)
class Kept:
    """Activations as they come, batch by batch.

    Attributes:
        count: Number of samples.
        store: Where they go if they are too large; None: memory.
        of: What the recording is of, for `Store`: model, data and sites.
        stored: The files, if there are any.
    """

    count: int
    store: Store | None = None
    of: Callable[[], str] = str
    stored: Stored | None = None
    _tensors: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, first: Mapping[str, Tensor], rows: int) -> int:
        """Make room for sites that gave this first, in batches of so many rows; how many samples
        are there already.

        Raises:
            ValueError: One batch is larger than the bound; the folder holds something else.
            OSError: The disk has not the room.
        """
        shapes = {name: (self.count, *values.shape[1:]) for name, values in first.items()}
        total = sum(int(np.prod(s)) * first[name].element_size() for name, s in shapes.items())
        if self.store is None or total <= self.store.bound:
            self._tensors = {n: first[n].new_empty(shape) for n, shape in shapes.items()}
            return 0
        batch = sum(values.nbytes for values in first.values())
        if batch > self.store.bound:
            raise ValueError(
                f"one batch of {rows} samples has {batch:,} bytes of activations, and memory="
                f"{self.store.memory!r} is less: give batch_size={rows * self.store.bound // batch}"
                " or fewer layers, positions or units, or more memory"
            )
        types = {name: values.dtype for name, values in first.items()}
        self.stored = Stored(Path(self.store.folder), self.of(), shapes, types)
        return self.stored.begin(total, rows)

    def put(self, rows: slice, values: Mapping[str, Tensor]) -> None:
        """Keep what the sites gave on those rows, each in turn."""
        if self.stored is not None:
            self.stored.append(values)
            return
        for name, part in values.items():
            self._tensors[name][rows] = part

    def close(self) -> None:
        """Nothing more is coming, for whatever reason."""
        if self.stored is not None:
            self.stored.close()

    def finished(self) -> dict[str, Tensor]:
        """Per site `(count, ...)`."""
        return self._tensors if self.stored is None else self.stored.mapped()


def room_for(
    store: Store | str | Path | None,
    model: nn.Module,
    sites: Iterable[Site],
    data: Sequence[Tensor],
    rotated: bool,
) -> Kept:
    """Room for the activations of those sites; `rotated`: they are to be turned into a basis.

    Raises:
        ValueError: With a basis, which is found from all activations at once.
    """
    if store is not None and rotated:
        raise ValueError(
            "store= and basis= do not go together, as a basis needs all activations in memory: "
            "record fewer samples or positions for it"
        )
    store = store if store is None or isinstance(store, Store) else Store(store)
    texts = [repr(model), *map(repr, sites)]
    weights = [*model.parameters(), *model.buffers(), *data]
    return Kept(len(data[0]), store, lambda: _content_of(texts, weights))


@dataclass(eq=False)
class Stored:
    """Files of activations, one a site, rows one after the other.

    Attributes:
        folder: Where they are.
        key: What they are of.
        shapes, types: Per site, of the whole.
    """

    folder: Path
    key: str
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, torch.dtype]
    _open: dict[str, BinaryIO] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A site's file."""
        return self.folder / f"{list(self.shapes).index(name)}.bin"

    def _row(self, name: str) -> int:
        """Bytes of a sample."""
        return int(np.prod(self.shapes[name][1:])) * self.types[name].itemsize

    def begin(self, total: int, batch: int) -> int:
        """Open the files; how many rows are in all of them, in whole batches."""
        about = {
            "format": 1,
            "of": self.key,
            "sites": {n: [list(s), str(self.types[n])] for n, s in self.shapes.items()},
        }
        manifest = self.folder / _MANIFEST
        self.folder.mkdir(parents=True, exist_ok=True)
        if not manifest.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty, and holds no recording: give another")
        if manifest.exists() and json.loads(manifest.read_text()) != about:
            raise ValueError(
                f"{self.folder} holds a recording of another model, other data or other layers: "
                "give another folder, or empty this one"
            )
        write_atomically(manifest, json.dumps(about))
        sizes = {
            n: self.path(n).stat().st_size if self.path(n).exists() else 0 for n in self.shapes
        }
        there = min(sizes[name] // max(self._row(name), 1) for name in self.shapes)
        there -= there % batch if there < next(iter(self.shapes.values()))[0] else 0
        free = shutil.disk_usage(self.folder).free + sum(sizes.values())
        if total > free:
            raise OSError(
                f"the recording takes {total:,} bytes, and {self.folder} has room for {free:,}: "
                "give another folder, or fewer layers, positions or samples"
            )
        for name in self.shapes:
            file = self.path(name).open("ab")
            file.truncate(there * self._row(name))
            self._open[name] = file
        return there

    def append(self, values: Mapping[str, Tensor]) -> None:
        """One batch more.

        Raises:
            OSError: It cannot be written; what was, is kept.
        """
        try:
            for name, part in values.items():
                self._open[name].write(_bytes_of(part))
                self._open[name].flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"could not write activations to {self.folder} ({error.strerror}); what was "
                "recorded is kept: make room and make the same recording again",
            ) from error

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open = {}

    def mapped(self) -> dict[str, Tensor]:
        """Tensors that read from the files; writing to them changes memory, and no file."""
        self.close()
        self.check()
        return {
            name: torch.from_file(
                str(self.path(name)), shared=False, size=int(np.prod(shape)), dtype=self.types[name]
            ).reshape(shape)
            for name, shape in self.shapes.items()
        }

    def check(self) -> None:
        """Raises:
        RuntimeError: A file is gone, or has not the size that it had.
        """
        for name, shape in self.shapes.items():
            wanted = int(np.prod(shape)) * self.types[name].itemsize
            path = self.path(name)
            size = path.stat().st_size if path.exists() else None
            if size != wanted:
                got = "is not there any more" if size is None else f"has {size:,} bytes"
                raise RuntimeError(
                    f"the activations of {name!r} were kept in {path}, which {got}, where "
                    f"{wanted:,} bytes are expected: put the folder back, or record again"
                )


def _bytes_of(values: Tensor) -> memoryview:
    flat = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().data


def _content_of(texts: Sequence[str], tensors: Sequence[Tensor]) -> str:
    """A hash of texts and of the contents of tensors."""
    found = hashlib.sha256("\n".join(texts).encode())
    for tensor in tensors:
        found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            found.update(_bytes_of(tensor))
    return found.hexdigest()[:32]


class Recomputed:
    """Outputs that are too large to keep (a language model's logits): run again where they are
    asked for, as `outputs[rows]`.

    Rows of a slice are run together; others in the batches in which they were recorded.
    """

    def __init__(
        self, run: Callable[[slice], Tensor], like: Tensor, count: int, batches: Sequence[slice]
    ) -> None:
        self._run, self._batches = run, tuple(batches)
        self.shape = torch.Size((count, *like.shape[1:]))
        self.dtype, self.ndim = like.dtype, like.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor | np.ndarray | int) -> Tensor:
        """The outputs of those samples, on the CPU."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self._run(slice(start, stop, step))
        index = torch.as_tensor(rows)
        if index.ndim == 0:
            return self[index[None]][0]
        index = index.nonzero().ravel() if index.dtype == torch.bool else index % len(self)
        found = torch.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        for batch in self._batches:
            own = (index >= batch.start) & (index < batch.stop)
            if bool(own.any()):
                found[own] = self._run(batch)[index[own] - batch.start]
        return found

    def is_floating_point(self) -> bool:
        """Whether their numbers are."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether their numbers are."""
        return self.dtype.is_complex

    def __getattr__(self, name: str) -> object:
        raise AttributeError(
            f"outputs of more than {FEW_OUTPUTS:,} numbers are not kept and have no {name!r}: take "
            "the rows that you need, as in outputs[:100]"
        )

    def __repr__(self) -> str:
        return f"Recomputed({tuple(self.shape)}, {self.dtype})"
