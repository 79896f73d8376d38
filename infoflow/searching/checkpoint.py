"""Checkpoints of a search: the log of what it measured, in one .npz file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from infoflow._files import remove_partials, write_atomically
from infoflow.exchanges import Values
from infoflow.partition import Partition
from infoflow.recording import Recording

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class SavedLog:
    """What a search measured, in order.

    Attributes:
        labels: `(E, n)` partitions.
        values: What is minimised, and bits.
        state: State of the random generator after the last of them, as JSON.
    """

    labels: np.ndarray
    values: Values
    state: str

    def replayed(self, partitions: Sequence[Partition], done: int) -> Values:
        """Values of the next partitions, as far as the log goes.

        Raises:
            ValueError: The log holds other partitions at this point.
        """
        logged = self.labels[done : done + len(partitions)]
        for number, (labels, partition) in enumerate(zip(logged, partitions, strict=False), done):
            if not np.array_equal(labels, partition.labels):
                raise ValueError(
                    f"the checkpoint does not belong to this search: its partition {number} is "
                    "another one than this version of infoflow or numpy asks for; start anew"
                )
        part = slice(done, done + len(partitions))
        return Values(self.values.weighted[part], self.values.bits[part])

    def check_state(self, state: str) -> None:
        """Raises:
        ValueError: The random generator is not where it was when the log was saved.
        """
        if state != self.state:
            raise ValueError(
                "the checkpoint does not belong to this search: the random generator is not in "
                "the state that was saved; another version of infoflow or numpy wrote it"
            )


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a search keeps its log.

    Attributes:
        path: The file, `.npz`.
        config: What the log depends on; a log of another configuration is refused.
        every: Evaluations between two writes, at least; a log of many is written again when a tenth
            has come, so that writing costs as much a partition however long the log is.
    """

    path: Path
    config: Mapping[str, object]
    every: int = 50

    def write(self, log: SavedLog) -> None:
        """Write the file in one step: it is either whole or as it was."""
        content = io.BytesIO()
        values = np.column_stack([log.values.weighted, log.values.bits])
        np.savez(
            content,
            format=_FORMAT,
            labels=log.labels,
            values=values,
            state=log.state,
            config=_as_json(self.config),
            digest=_digest(log.labels, values, log.state, _as_json(self.config)),
        )
        write_atomically(self.path, content.getvalue())

    def read(self) -> SavedLog | None:
        """The log in the file; None if there is no file.

        Raises:
            ValueError: A damaged file, or one of another network or configuration.
        """
        remove_partials(self.path.parent, escape(self.path.name))
        if not self.path.exists():
            return None
        log, config = _read(self.path)
        differences = [
            f"{key} was {config.get(key)!r}, is {_plain(self.config).get(key)!r}"
            for key in sorted({*config, *self.config})
            if config.get(key) != _plain(self.config).get(key)
        ]
        if differences:
            raise ValueError(
                f"checkpoint {self.path} is of another search: {'; '.join(differences)}; use the "
                "same settings, or another file"
            )
        return log


def _read(path: Path) -> tuple[SavedLog, dict[str, object]]:
    try:
        with open(path, "rb") as file:
            return _checked(file)
    except OSError as error:
        raise ValueError(f"checkpoint {path} cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"checkpoint {path} is damaged or no checkpoint of a search ({error}); delete it to "
            "start anew"
        ) from error


def _checked(file: BinaryIO) -> tuple[SavedLog, dict[str, object]]:
    with zipfile.ZipFile(file) as parts:
        for part in parts.infolist():
            _check_size(parts, part)
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        labels, values, state = found["labels"], found["values"], str(found["state"])
        config, digest = str(found["config"]), str(found["digest"])
        if int(found["format"]) != _FORMAT:
            raise ValueError(f"unknown format {int(found['format'])}")
    if digest != _digest(labels, values, state, config):
        raise ValueError("its contents do not match their digest")
    weighted, bits = np.ascontiguousarray(values.T)
    return SavedLog(labels, Values(weighted, bits), state), json.loads(config)


def _check_size(parts: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """Before anything is made room for: a small file may promise any size.

    Raises:
        ValueError: An array is not of the size that its header says.
    """
    if part.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed, and a checkpoint is not")
    with parts.open(part) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"unknown format of {part.filename}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if math.prod(shape) * dtype.itemsize != part.file_size - member.tell():
            raise ValueError(f"{part.filename} has not the size that its header says")


def _as_json(config: Mapping[str, object]) -> str:
    return json.dumps(dict(config), sort_keys=True)


def _plain(config: Mapping[str, object]) -> dict[str, object]:
    return json.loads(_as_json(config))


def _digest(labels: np.ndarray, values: np.ndarray, state: str, config: str) -> str:
    return _sha256(labels.tobytes(), values.tobytes(), state.encode(), config.encode())


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def fingerprint(rec: Recording) -> dict[str, object]:
    """What tells one recording from another: network, layers, inputs, activations, unused units.

    The activations tell what weights do not: another activation function, say."""
    weights = [
        part
        for name, tensor in rec.model.state_dict().items()
        for part in (name.encode(), _bytes(tensor))
    ]
    data = [*rec.inputs, *([] if rec.padding is None else [rec.padding.mask])]
    seen = [_bytes(rec[layer]) for layer in rec.units.layers]
    return {
        "network": f"{type(rec.model).__name__} {_sha256(*weights)}",
        "layers": [repr(site) for site in rec.units.sites],
        "units": list(rec.units.sizes),
        "inputs": f"{len(rec)} samples {_sha256(*map(_bytes, data))}",
        "activations": _sha256(*seen),
    }


def _bytes(tensor: Tensor) -> bytes:
    whole = tensor.detach().cpu().contiguous()
    return whole.flatten().view(torch.uint8).numpy().tobytes()
