"""Sphinx settings: `make docs` writes docs/_build/html."""

import infoflow

project = "infoflow"
author = "The infoflow developers"
release = infoflow.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
autodoc_typehints = "none"  # signatures carry them, shapes stand in the text
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of results as a list, not as members documented twice
suppress_warnings = ["myst.xref_missing"]  # links to files outside docs/ work in the repository


def _as_rst(_app, _what, _name, _obj, _options, lines):
    """Docstrings are written for people at a prompt: `name` for code, formulas indented."""
    import re

    lines[:] = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines)).split("\n")
    for i, line in enumerate(lines):
        before_formula = lines[i + 1 : i + 2] == [""] and lines[i + 2 : i + 3] != []
        if before_formula and line.strip() and lines[i + 2].startswith(" " * (_indent(line) + 4)):
            lines[i] += ":" if line.endswith(":") else " ::"


def _indent(line):
    return len(line) - len(line.lstrip())


def setup(app):
    """Before napoleon, which runs at the default priority."""
    app.connect("autodoc-process-docstring", _as_rst, priority=100)
