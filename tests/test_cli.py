"""The command line on small settings."""

import json
import sys

import pytest

import infoflow as ifl
from infoflow.cli import main
from infoflow.commands.network import load_factory, parse_site, parse_units
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
    assert main(["demo", "--out", str(out), "--max-rows", "120", "--shuffled", "1", *EFFORT]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"] == "digits"
    assert config["effort"]["budget"] == 8
    assert (out / "report.html").stat().st_size > 50_000
    assert (out / "model.safetensors").exists()
    said = capsys.readouterr()
    assert "test accuracy" in said.err and "report: file:" in said.out
    assert "networks with shuffled weights" in said.out


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
    assert captured.err.startswith("infoflow: ") and flag in captured.err
    assert "training" not in captured.err
    assert not out.exists()


def test_sites_lists_what_can_be_recorded(factory, capsys):
    assert main(["sites", factory]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["layer", "kind", "shape", "units", "positions"]
    assert len(rows) == 4 and rows[0].split()[:2] == ["0", "Conv2d"]
    assert main(["sites", factory, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sites"]
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
    assert main(["analyze", factory, "--layers", "0", "3", *rows, "--shuffled", "0", *EFFORT]) == 0
    printed = capsys.readouterr().err
    assert "the first 30 of 40 rows" in printed
    assert "30 samples" in printed
    assert main(["analyze", factory, "--layers", "0", "3", "--max-rows", "-5", "--out", "x"]) == 1
    assert "--max-rows: expected" in capsys.readouterr().err


def test_an_interrupted_run_can_be_run_again(factory, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    asked = [
        "analyze",
        factory,
        "--layers",
        "0",
        "3",
        "--out",
        str(out),
        "--shuffled",
        "0",
        *EFFORT,
    ]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("infoflow.comparing.run.partition_table", stop)  # after the searches
        assert main(asked) == 130
    kept = tmp_path / "run.searches"
    assert f"kept in {kept}: the same command goes on" in capsys.readouterr().err
    assert not out.exists() and kept.exists()
    assert main(asked) == 0
    assert f"going on from {kept}" in capsys.readouterr().err and not kept.exists()
    assert (out / "tables" / "partitions.csv").exists()
    resumed = ifl.load(out / "comparison").partitions
    assert main(asked) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*asked, "--overwrite"]) == 0
    assert resumed.equals(ifl.load(out / "comparison").partitions)
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
    assert "training" not in said.err and not out.exists()


def test_flow_measures_what_the_function_measures(factory, capsys):
    asked = ["flow", factory, "--source", "0:0-1,3", "--target", "3", "--donors", "30"]
    assert main([*asked, "--contexts", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, x, y, loss = load_factory(factory)()
    rec = ifl.record(model, ["0", "3"], x, y, loss=loss)
    truth = ifl.flow(rec, {"0": [0, 1, 3]}, {"3": range(3)}, donors=30, contexts=30)
    assert found["bits"] == pytest.approx(truth.bits) and found["flags"] == list(truth.flags)
    assert main([*asked, "--contexts", "30"]) == 0
    assert f"{truth.bits:.4f}" in capsys.readouterr().out


SEARCH = ["--budget", "60", "--samples", "6", "--donors", "8", "--contexts", "8"]


def test_an_interrupted_search_goes_on_to_the_same_end(factory, tmp_path, monkeypatch, capsys):
    def asked(out):
        return ["search", factory, "--layers", "0", "3", "--out", str(tmp_path / out), *SEARCH]

    assert main(asked("whole")) == 0

    def stopped(*args, **options):
        def stop(step):
            if step.evaluations > 30:
                raise KeyboardInterrupt

        return ifl.search(*args, callback=stop, **options)

    with monkeypatch.context() as patch:
        patch.setattr("infoflow.commands.measures.search", stopped)
        assert main(asked("cut")) == 130
    kept = tmp_path / "cut.unfinished.npz"
    assert f"kept in {kept}: the same command goes on" in capsys.readouterr().err
    assert kept.exists() and not (tmp_path / "cut").exists()
    assert main(asked("cut")) == 0
    assert f"going on from {kept}" in capsys.readouterr().err and not kept.exists()
    whole, cut = ifl.load(tmp_path / "whole"), ifl.load(tmp_path / "cut")
    assert cut.partition == whole.partition and (cut.trail == whole.trail).all()
    assert main(asked("cut")) == 1  # refused before anything is recorded
    assert "--overwrite" in capsys.readouterr().err


def test_a_saved_comparison_gives_its_report_again(factory, tmp_path, capsys):
    out = tmp_path / "compared"
    assert main(["compare", factory, "--layers", "0", "3", "--out", str(out), *EFFORT]) == 0
    assert "causal search" in capsys.readouterr().out
    assert main(["report", str(out), "--title", "Mine again"]) == 0
    assert "Mine again" in (tmp_path / "compared.html").read_text()
    search = ifl.load(out).search.save(tmp_path / "search")
    assert main(["report", str(search)]) == 0
    assert "No recording was given" in (tmp_path / "search.html").read_text()
    found = ifl.find_modules([[0, 1, 0], [1, 0, 0], [0, 0, 0]]).save(tmp_path / "modules")
    assert main(["report", str(found)]) == 1
    assert "holds a Modules" in capsys.readouterr().err


def test_bench_times_every_step(factory, capsys):
    few = ["--max-rows", "20", "--partitions", "4"]
    assert main(["bench", factory, "--layers", "0", "3", "--json", *few]) == 0
    seconds = json.loads(capsys.readouterr().out)["seconds"]
    assert min(seconds.values()) > 0
    assert {"record 20 samples", "similarity hess", "search, 9 partitions"} <= set(seconds)
    assert main(["bench", "--max-rows", "12", "--partitions", "1"]) == 0
    assert "flows between all units" in capsys.readouterr().out
    assert main(["bench", factory]) == 1
    assert "--layers together" in capsys.readouterr().err


def test_settings_come_from_a_file_and_flags_win(factory, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(
        'factory = "mine:make"\nmax_rows = 30\nbudget = 5\n'
        '[flow]\nsource = "0:0"\ntarget = ["3"]\ncontexts = 9\ndonors = 8\n'
    )
    assert main(["flow", "--config", "run.toml", "--donors", "11", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["n_donors"], found["n_contexts"]) == (11, 9)
    assert "the first 30 of 40 rows" in said.err


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("bugdet = 3", "did you mean 'budget'"),
        ("[serch]\nbudget = 3", "did you mean 'search'"),
        ("[search]\nsource = 'a'", "unknown setting 'source'"),
        ("budget = 'many'", "budget: expected int"),
        ("method = 'genetik'", "did you mean 'genetic'"),
        ("layers = 3", "expected a list of texts"),
        ("budget =", "cannot read the settings"),
    ],
)
def test_settings_that_are_not_understood_are_told(tmp_path, capsys, written, said):
    (tmp_path / "run.toml").write_text(written)
    assert main(["search", "--config", str(tmp_path / "run.toml")]) == 2
    assert said in capsys.readouterr().err


def test_near_misses_of_commands_and_flags_are_named(capsys):
    assert main(["serch"]) == 2
    assert "did you mean 'search'" in capsys.readouterr().err
    assert main(["search", "a:b", "--layer", "0"]) == 2
    assert "did you mean '--layers'" in capsys.readouterr().err
    assert main(["toys", "--json", "--loud"]) == 2
    assert json.loads(capsys.readouterr().out)["status"] == 2


def test_what_is_found_wrong_has_a_status_of_its_own(monkeypatch, factory, capsys):
    monkeypatch.setattr("infoflow.checking.Check.ok", False)
    assert main(["check", factory, "--layers", "0", "3", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and found["trials"][0]["what"] == "bare model"


def test_tables_fit_the_terminal_and_say_what_they_left_out(factory, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["sites", factory]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    assert max(map(len, rows)) <= 40
    assert last.startswith("(no room for: ") and "note" in last


def test_units_are_named_by_layer_and_number():
    assert parse_units(["fc1:0,3-5", "relu@1"]) == (
        ["fc1", "relu@1"],
        {"fc1": [0, 3, 4, 5], "relu": slice(None)},
    )
    for wrong, said in ((["fc1:0,"], "expected LAYER"), (["a:0", "a:1"], "named twice")):
        with pytest.raises(ValueError, match=said):
            parse_units(wrong)


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
