"""The command line on small settings."""

import json
import sys

import pytest

import infoflow as ifl
from infoflow.cli import load_factory, main, parse_site
from infoflow.results import prepare_folder
from infoflow.units import Site

EFFORT = ["--budget", "8", "--samples", "4", "--donors", "8", "--contexts", "8"]

FACTORY = """
import torch

def make():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    x = torch.randn(40, 1, 8, 8)
    return net, x, net(x).argmax(1), torch.nn.functional.cross_entropy

def nothing():
    return 3
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mine:make"
    sys.modules.pop("mine", None)


def test_demo_leaves_a_run_folder(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--max-rows", "120", *EFFORT]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"] == "digits"
    assert config["effort"]["budget"] == 8
    assert (out / "report.html").stat().st_size > 50_000
    assert (out / "model.safetensors").exists()
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--n-modules", "1"),
        ("--n-modules", "4000"),
        ("--samples", "1"),
        ("--budget", "0"),
        ("--donors", "1"),
        ("--max-rows", "-5"),
    ],
)
def test_an_effort_that_cannot_be_made_is_refused_before_training(tmp_path, capsys, flag, value):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), flag, value]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"infoflow: expected {flag}")
    assert "training" not in captured.out
    assert not out.exists()


def test_sites_lists_what_can_be_recorded(factory, capsys):
    assert main(["sites", factory]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["layer", "kind", "shape", "units", "positions"]
    assert len(rows) == 4 and rows[0].split()[:2] == ["0", "Conv2d"]
    assert main(["sites", factory, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["units"] for row in found] == [4, 4, 144, 3]
    assert found[3]["pass_on"] == '"3"'
    assert main(["sites", "mine:nothing"]) == 1
    assert "expected a tuple" in capsys.readouterr().err


def test_check_prints_what_answers_rest_on(factory, capsys):
    assert main(["check", factory, "--layers", "0", "3"]) == 0
    assert "bare model" in capsys.readouterr().out


def test_analyze_records_as_many_rows_as_it_may(factory, tmp_path, capsys):
    out = tmp_path / "run"
    rows = ["--max-rows", "30", "--out", str(out)]
    assert main(["analyze", factory, "--layers", "0", "3", *rows, *EFFORT]) == 0
    printed = capsys.readouterr().out
    assert "the first 30 of 40 rows" in printed
    assert "30 samples" in printed
    assert main(["analyze", factory, "--layers", "0", "3", "--max-rows", "-5", "--out", "x"]) == 1
    assert "expected --max-rows" in capsys.readouterr().err


def test_an_interrupted_run_can_be_run_again(factory, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    asked = ["analyze", factory, "--layers", "0", "3", "--out", str(out), *EFFORT]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("infoflow.cli.compare", stop)
        assert main(asked) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert not out.exists()
    assert main(asked) == 0
    assert main(asked) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*asked, "--overwrite"]) == 0
    assert [p.name for p in tmp_path.glob("run*")] == ["run"]


def test_a_folder_with_another_program_s_config_is_not_an_earlier_run(tmp_path):
    (tmp_path / "config.json").write_text('{"editor": "vim"}')
    with pytest.raises(FileExistsError, match="other files"):
        prepare_folder(tmp_path, overwrite=True)


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_what_the_report_needs_is_asked_for_before_the_run(missing, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--max-rows", "120", *EFFORT]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"infoflow: plots need {missing}: pip install")
    assert "training" not in said.out and not out.exists()


def test_analyze_takes_a_factory_and_layers(factory, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["analyze", factory, "--layers", "0", "3", "--out", str(out), *EFFORT]
    assert main(arguments) == 0, capsys.readouterr().err
    assert (out / "tables" / "partitions.csv").exists()
    assert len(ifl.load(out / "comparison").partitions) > 10


def test_a_misspelt_layer_is_one_line_on_stderr(factory, tmp_path, capsys):
    assert main(["analyze", factory, "--layers", "O", "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("infoflow: unknown layer 'O'")
    assert "Traceback" not in error


def test_a_factory_that_returns_something_else_is_refused(factory, tmp_path, capsys):
    arguments = ["analyze", "mine:nothing", "--layers", "0", "--out", str(tmp_path / "run")]
    assert main(arguments) == 1
    assert "expected a tuple" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numpy", "expected module:function"),
        ("no_such_module:f", "cannot import 'no_such_module'"),
        ("math:no_such_function", "no function"),
    ],
)
def test_a_factory_that_cannot_be_found_is_explained(name, message):
    with pytest.raises(ValueError, match=message):
        load_factory(name)


def test_a_site_may_name_its_unit_dimension():
    assert parse_site("relu@1") == Site("relu", unit_dim=1)
    with pytest.raises(ValueError, match="NAME@DIMENSION"):
        parse_site("relu@last")


def test_toys_prints_every_toy_and_agrees(capsys, tmp_path):
    assert main(["toys", "--out", str(tmp_path / "toys.csv")]) == 0
    printed = capsys.readouterr().out
    assert "ducks_and_shadows" in printed
    assert (tmp_path / "toys.csv").read_text().count("\n") > 20
