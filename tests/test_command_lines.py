"""Generated command lines: whatever is typed, the answer is a line that says why, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_origin

import pytest

from infoflow.cli import main
from infoflow.commands.reading import COMMANDS, _flags
from tests.fuzzing import limited

FACTORY = """
import torch

def make():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    return net, torch.randn(12, 3)

def nothing():
    return 3

def fails():
    raise ArithmeticError("mine")
"""
# Of each command what it cannot do without.
BASE = {
    "demo": ["--out", "out"],
    "sites": ["mine:make"],
    "check": ["mine:make", "--layers", "1"],
    "analyze": ["mine:make", "--layers", "1", "2", "--out", "out"],
    "flow": ["mine:make", "--source", "1:0", "--target", "2:0"],
    "search": ["mine:make", "--layers", "1", "2", "--out", "out"],
    "compare": ["mine:make", "--layers", "1", "2", "--out", "out"],
    "report": ["nowhere"],
    "toys": [],
    "bench": ["mine:make", "--layers", "1"],
}
NUMBERS = ("-1", "2.5", "nan", "x", "", "1e9", "9" * 30, "None", "[1]", "--")
LAYERS = ("nonsense", "", "9", "1@x", "1@9", "@", "*no*", "1,2", "0.0.0")
UNITS = ("nonsense:0", "1:99", "1:x", "", ":", "1:", "1:0:0", "1:-99", "1:0,0", "1:0.5")
MODELS = ("", "nonsense", "mine", "mine:", ":make", "mine:absent", "mine:nothing", "mine:fails")


def lines() -> Iterator[list[str]]:
    """Each with one thing wrong."""
    for command, kind in COMMANDS.items():
        base = BASE[command]
        yield [command, *base, "--nonsense"]
        yield [command, *base, "--config", "nowhere.toml"]
        if "mine:make" in base:
            yield from ([command, model, *base[1:]] for model in MODELS)
        for flag, hint in _flags(kind).items():
            name = f"--{flag.replace('_', '-')}"
            odd: tuple[str, ...] = ()
            if flag in ("source", "target"):
                odd = UNITS
            elif flag == "layers":
                odd = LAYERS
            elif get_origin(hint) is Literal:
                odd = ("", "nonsense", "5")
            elif hint is bool:
                odd = ("maybe",)
            elif "int" in str(hint) or "float" in str(hint):
                odd = NUMBERS
            yield from ([command, *base, name, value] for value in odd)


def test_no_command_line_ends_in_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong, count = [], 0
    for line in lines():
        count += 1
        try:
            with limited(5):
                status: object = main(line)
        except SystemExit as stop:  # tyro's own refusal
            status = stop.code
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
        said = capsys.readouterr()
        sys.modules.pop("mine", None)
        if status not in (1, 2) or "Traceback" in said.err or not (said.err + said.out).strip():
            wrong.append((line, status, said.err[-120:]))
    assert wrong == []
    assert count >= 224
