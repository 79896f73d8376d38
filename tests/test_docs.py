"""The pages: examples run, names exist, what is public is documented."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

import infoflow

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "made"), [("quickstart", "best"), ("howto", "between_heads experts modules table")]
)
def test_the_blocks_of_a_page_run_in_order(page, made):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, f"docs/{page}.md", "exec"), names)
    assert set(made.split()) <= set(names)


def _documented():
    """What the reference page has directives for, by full name."""
    found = set(re.findall(r"\.\. auto(?:function|class):: ([\w.]+)", API))
    for module, options in re.findall(r"\.\. automodule:: ([\w.]+)\n((?:   :.*\n)+)", API):
        own = importlib.import_module(module)
        left_out = set(
            re.findall(r"\w+", (re.findall(r"exclude-members: (.*)", options) or [""])[0])
        )
        public = getattr(own, "__all__", [n for n in vars(own) if not n.startswith("_")])
        found |= {f"{module}.{name}" for name in public if name not in left_out}
    return found


def test_every_public_name_is_in_the_reference():
    documented = _documented()
    flat = {f"infoflow.{name}" for name in infoflow.__all__}
    assert flat - documented == set()
    folders = ("clustering", "exchanges", "information", "interventions", "oracle", "searching")
    for folder in (*folders, "toys", "unit_similarity"):
        module = importlib.import_module(f"infoflow.{folder}")
        own = {name for name in module.__all__ if callable(getattr(module, name))}
        kept = {name for name in own if f"infoflow.{folder}.{name}" not in documented}
        assert all(f"infoflow.{name}" in flat for name in kept), (folder, kept)


def test_every_name_that_pages_import_exists_and_is_in_the_reference():
    documented = _documented()
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    asked = set()
    for page in pages:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infoflow"):
                    asked |= {(page.name, node.module, alias.name) for alias in node.names}
    assert len(asked) > 15
    for page, module, name in asked:
        found = getattr(importlib.import_module(module), name)
        named = {
            f"{module}.{name}",
            f"infoflow.{name}",
            f"{getattr(found, '__module__', '')}.{name}",
        }
        submodule = getattr(found, "__name__", "") in re.findall(r"automodule:: (\S+)", API)
        assert submodule or named & documented, (page, module, name)


def test_the_functions_of_the_theory_table_exist():
    table = re.findall(r"^\|.*\|$", (DOCS / "theory.md").read_text(encoding="utf-8"), re.M)
    named = {
        name
        for row in table
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)[(`]", row.split("|")[3])
    }
    assert {"similarity", "flow", "searching.proxy.proxies"} <= named
    for name in named:
        path, _, last = f"infoflow.{name}".rpartition(".")
        assert hasattr(importlib.import_module(path), last), name


@pytest.mark.parametrize(
    "notebook", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_notebooks_were_run_from_top_to_bottom_without_errors(notebook):
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert not [o for o in outputs if o.get("name") == "stderr"]
    for cell in cells:
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ifl":
                assert hasattr(infoflow, node.attr), node.attr


def test_the_version_is_the_same_everywhere():
    version = infoflow.__version__
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{version}}}" in (DOCS / "citing.md").read_text()


def test_every_command_and_exit_status_is_documented():
    from infoflow import cli
    from infoflow.commands.reading import COMMANDS

    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `infoflow (\w+)", page, re.M)) == set(COMMANDS)
    statuses = (cli.DONE, cli.FAILED, cli.MISUNDERSTOOD, cli.WRONG, cli.INTERRUPTED)
    assert re.findall(r"^\| (\d+) \|", page, re.M) == [str(status) for status in statuses]


def test_no_page_has_the_name_of_a_page_that_sphinx_writes():
    assert {"search", "genindex", "py-modindex"} & {
        page.stem for page in DOCS.glob("*.md")
    } == set()


def test_the_extras_of_the_install_page_are_those_that_there_are():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", (DOCS / "install.md").read_text(), re.M)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    assert named == set(project["optional-dependencies"])
    tried = [c for c in project["classifiers"] if "Python :: 3." in c]
    assert [c[-4:] for c in tried] == ["3.11", "3.12"]  # the page says which of them was tried
