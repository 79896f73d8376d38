"""Claims about checkpoints: what comes back, and which files are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from infoflow.checkpoint import load_checkpoint, save_checkpoint
from infoflow.data import Dataset
from infoflow.train import TrainConfig, TrainResult, train


@pytest.fixture
def path(digits_result: TrainResult, tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_checkpoint(digits_result, path)
    return path


def _about(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["infoflow"])


def _rewrite(path: Path, result: TrainResult, about: object, drop: str = "") -> None:
    """The same weights (one may be dropped) under another description."""
    weights = {name: w for name, w in result.model.state_dict().items() if name != drop}
    save_file(weights, path, metadata={"infoflow": json.dumps(about)})


def test_a_checkpoint_gives_back_everything(
    path: Path, digits_result: TrainResult, digits: Dataset
) -> None:
    loaded = load_checkpoint(path)
    assert torch.equal(loaded.model(digits.test_x), digits_result.model(digits.test_x))
    assert not loaded.model.training
    for name in ("config", "history", "test_accuracy", "validation_accuracy", "best_epoch"):
        assert getattr(loaded, name) == getattr(digits_result, name)


def test_dropout_and_other_shapes_come_back(digits: Dataset, tmp_path: Path) -> None:
    result = train(TrainConfig(hidden=(9, 5, 4), dropout=0.3, max_epochs=1), digits)
    save_checkpoint(result, tmp_path / "net")
    loaded = load_checkpoint(tmp_path / "net")
    assert str(loaded.model) == str(result.model)
    assert torch.equal(loaded.model(digits.test_x), result.model(digits.test_x))


def test_equal_results_make_equal_files(path: Path, digits_result: TrainResult) -> None:
    again = path.with_name("again")
    save_checkpoint(digits_result, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_checkpoint_is_plain_safetensors_with_a_readable_configuration(path: Path) -> None:
    assert _about(path)["config"]["hidden"] == [64, 64]


def test_loading_leaves_the_global_generator_alone(path: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_litter(
    path: Path, digits_result: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(replace(digits_result, test_accuracy=0.0), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent"):
        load_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_cut_short_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="no intact safetensors file"):
        load_checkpoint(path)


def test_no_flipped_bit_goes_unnoticed(path: Path, digits_result: TrainResult) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    header = rng.integers(8 + int.from_bytes(whole[:8], "little"), size=60)
    for place in (*header, *rng.integers(len(whole), size=60)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError):
            load_checkpoint(path)


def test_a_pickled_checkpoint_is_refused(path: Path, digits_result: TrainResult) -> None:
    torch.save(digits_result.model.state_dict(), path)
    with pytest.raises(ValueError, match="no intact safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"infoflow": "{"}])
def test_safetensors_of_another_program_are_refused(path: Path, metadata: dict | None) -> None:
    save_file({"w": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(ValueError, match="not a checkpoint of infoflow"):
        load_checkpoint(path)


@pytest.mark.parametrize("about", [{"format": "infoflow.checkpoint.99"}, {}, [1]])
def test_another_format_is_refused(path: Path, digits_result: TrainResult, about: object) -> None:
    _rewrite(path, digits_result, about)
    with pytest.raises(ValueError, match=r"expected format 'infoflow\.checkpoint\.2'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"l1": -1}, "l1"), ({"momentum": 0.9}, "momentum"), ({"hidden": []}, "hidden")],
)
def test_an_invalid_configuration_is_refused(
    path: Path, digits_result: TrainResult, change: dict, says: str
) -> None:
    about = _about(path)
    _rewrite(path, digits_result, about | {"config": about["config"] | change})
    with pytest.raises(ValueError, match=f"configuration or history .* is invalid.*{says}"):
        load_checkpoint(path)


@pytest.mark.parametrize("missing", ["config", "history", "test_accuracy"])
def test_an_incomplete_description_is_refused(
    path: Path, digits_result: TrainResult, missing: str
) -> None:
    about = _about(path)
    del about[missing]
    _rewrite(path, digits_result, about)
    with pytest.raises(ValueError, match=missing):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("hidden", "says"),
    [
        ([64, 32], r"fc2\.linear\.bias \(32,\), got \(64,\)"),
        ([64], r"fc2\.linear\.bias absent, got \(64,\)"),
        ([64, 64, 64], r"hidden \(64, 64, 64\) needs more than there are"),
    ],
)
def test_a_configuration_that_does_not_fit_the_weights_is_refused(
    path: Path, digits_result: TrainResult, hidden: list[int], says: str
) -> None:
    about = _about(path)
    _rewrite(path, digits_result, about | {"config": about["config"] | {"hidden": hidden}})
    with pytest.raises(ValueError, match=says):
        load_checkpoint(path)


@pytest.mark.parametrize("lost", ["fc2.linear.bias", "fc1.linear.weight", "out.weight"])
def test_a_lost_weight_is_named(path: Path, digits_result: TrainResult, lost: str) -> None:
    _rewrite(path, digits_result, _about(path), drop=lost)
    with pytest.raises(ValueError, match=lost.replace(".", r"\.")):
        load_checkpoint(path)
