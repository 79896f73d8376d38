"""Sphinx settings: `make docs` writes docs/_build/html."""

import infoflow

project = "infoflow"
author = "The infoflow developers"
copyright = "2026, " + author
release = infoflow.__version__
extensions = [
    "myst_nb",  # pages in Markdown, and the notebooks with the outputs they were saved with
    "sphinx_gallery.gen_gallery",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
nb_execution_mode = "off"
sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["_gallery"],
    "filename_pattern": r"/\d",  # all of them
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib",),
    "remove_config_comments": True,
}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_gallery/*.ipynb", "_gallery/*.py", "gallery"]
html_theme = "furo"
autodoc_typehints = "none"  # signatures carry them, shapes stand in the text
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of results as a list, not as members documented twice
# links to files outside docs/ work in the repository; attributes of several results share a name
suppress_warnings = ["myst.xref_missing", "ref.python"]


def _as_rst(_app, _what, _name, _obj, _options, lines):
    """Docstrings are written for people at a prompt: `name` for code, formulas indented."""
    import re

    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    table = r"((?:^ *\|.*\|$\n?){2,})"  # in Markdown: shown as it stands
    text = re.sub(table, lambda found: "::\n\n" + _indented(found[1]) + "\n", text, flags=re.M)
    text = re.sub(r"(?<![`|])\|(\w+)\|", r"\\|\1\\|", text)  # |W| is no substitution
    lines[:] = [_plain(line) if line[:1] not in " >" else line for line in text.split("\n")]
    for i, line in enumerate(lines):
        if line.strip() == "Returns:":  # else what stands before a colon is shown as a type
            lines[i + 1] = " " * _indent(lines[i + 1]) + ": " + lines[i + 1].lstrip()
        before_formula = lines[i + 1 : i + 2] == [""] and lines[i + 2 : i + 3] != []
        if before_formula and line.strip() and lines[i + 2].startswith(" " * (_indent(line) + 4)):
            lines[i] += ":" if line.endswith(":") else " ::"


def _plain(line):
    """Bars of a formula in a sentence; those in code, and escaped ones, stay."""
    import re

    return re.sub(r"(``.*?``)|(?<!\\)\|", lambda found: found[1] or r"\|", line)


def _indented(table):
    return "\n".join("    " + line.strip() for line in table.strip("\n").split("\n"))


def _indent(line):
    return len(line) - len(line.lstrip())


def setup(app):
    """Before napoleon, which runs at the default priority."""
    app.connect("autodoc-process-docstring", _as_rst, priority=100)
