"""The house rules that a machine can check."""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import infoflow

PACKAGE = Path(infoflow.__file__).parent

# A file may import from its own stage and from those above it in this list, never from below.
STAGES = (
    (
        "_arguments",
        "_warnings",
        "_memory",
        "_compiled",
        "_files",
        "_provenance",
        "_pools",
        "_sweep_folder",
        "sweep",
        "saving",
    ),
    ("_shapes", "attention", "basis", "partition", "rounding"),
    ("site", "units", "module_tree", "forcing", "measured", "_unchanged", "graphs"),
    (
        "data",
        "penalties",
        "models",
        "recurrent",
        "_hooks",
        "_inputs",
        "_outputs",
        "_safety",
        "_refusals",
        "_restored",
        "_notebook",
    ),
    ("discovery", "_storage", "_passes", "_padding"),
    ("train", "recording", "checkpoint"),
    ("_replay",),
    ("interventions", "unit_similarity", "clustering", "agreements"),
    ("information", "checking", "lesioning"),
    ("exchanges",),
    ("searching", "oracle"),
    ("toys",),
    ("comparing",),
    ("plot", "reporting"),
    ("results",),
    ("study", "estimator"),
    ("commands", "cli"),
    ("__main__", "__init__"),
)


def _stage_of(name: str) -> int:
    for number, names in enumerate(STAGES):
        if name in names:
            return number
    raise AssertionError(f"infoflow/{name} has no place in STAGES")


def _imports(path: Path) -> set[str]:
    """First names under infoflow that a file imports when it runs, type checking left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infoflow"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


def test_imports_run_downward_only():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for imported in _imports(path):
            ours = (PACKAGE / imported).is_dir() or (PACKAGE / f"{imported}.py").exists()
            if ours and _stage_of(imported) > _stage_of(name):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {imported}")
    assert wrong == []


def _imported_files(path: Path, files: dict[str, Path]) -> set[str]:
    """Files that a file imports anywhere in it, also for its types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & set(files)


def test_no_two_files_import_each_other():
    files = {
        ".".join(("infoflow", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {name: _imported_files(path, files) - {name} for name, path in files.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # a cycle is an error that names it


def test_no_file_is_longer_than_350_lines():
    lines = {p: p.read_text(encoding="utf-8").count("\n") for p in PACKAGE.rglob("*.py")}
    assert [str(p) for p, n in lines.items() if n > 350] == []


def test_no_public_name_hides_a_file_or_folder_beside_it():
    hidden = []
    for init in sorted(PACKAGE.rglob("__init__.py")):
        package = ".".join(("infoflow", *init.parent.relative_to(PACKAGE).parts))
        names = set(getattr(importlib.import_module(package), "__all__", ()))
        hidden += [f"{package}.{p.stem}" for p in init.parent.iterdir() if p.stem in names]
    assert hidden == []


def test_every_public_name_exists_and_is_documented():
    for name in infoflow.__all__:
        assert getattr(infoflow, name).__doc__, name


def test_importing_the_package_leaves_heavy_libraries_alone():
    heavy = (
        "pandas",
        "scipy",
        "pgmpy",
        "matplotlib",
        "sklearn",
        "numba",
        "clusim",
        "tyro",
        "highspy",
        "networkx",
        "igraph",
        "dask",
        "jinja2",
    )
    code = (
        "import sys, torch; before = set(sys.modules); import infoflow; "
        f"print(sorted(set({heavy!r}) & (set(sys.modules) - before)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
