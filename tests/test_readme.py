"""README and guide: examples and commands are real."""

import ast
import re
from pathlib import Path

import pytest

import infoflow as ifl

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_line_example_runs(capsys):
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["S"].shape == (64, 64)
    assert names["best"].partition.n_modules == 2
    assert "Modules(q=" in capsys.readouterr().out


def test_the_guide_s_blocks_run_in_order():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", guide, re.S):
        exec(compile(block, "docs/guide.md", "exec"), names)
    assert names["H"].shape == (200, 12)
    assert names["cmp"].partitions.loc["causal search", "n_modules"] == 2


def test_the_blocks_about_models_run_in_order():
    pytest.importorskip("transformers")
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(compile(block, "docs/models.md", "exec"), names)
    assert names["head_to_head"].shape == (6, 6) and names["head_to_head"].max() > 0
    assert names["f"].reachable and names["f"].bits_given_context > 0


def test_every_refusal_that_is_listed_is_one_of_the_package():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|(.*?`)\s*\|", page.split("## What is refused")[1], re.M)
    listed = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(listed) > 20
    said = [
        node.value
        for path in (ROOT / "infoflow").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [text for text in listed if not any(text in one for one in said)] == []


def test_every_make_target_named_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"make (\w+)", README)) - {"it"}
    assert {"demo", "test", "lint", "toys"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_ci_runs_nothing_that_readme_does_not_name():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\w+)", script, re.M)
    assert commands
    assert set(commands) <= set(re.findall(r"make (\w+)", README))


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_measures_in_the_table_are_those_of_the_package():
    from infoflow.unit_similarity import MEASURES

    rows = re.findall(r"^\| `(\w+)` \|.*(?:up|down)stream \|$", README, re.M)
    assert {name for row in rows for name in (row, f"{row}_norm")} == set(MEASURES)
    assert ifl.__version__ in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
