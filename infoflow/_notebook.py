"""What a notebook shows of a result: a heading, its numbers, and a small table. Text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from infoflow._outputs import name_of

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 12


def card(title: str, facts: Mapping[str, Any], table: pd.DataFrame | None = None) -> str:
    """HTML without scripts, in the notebook's own colours; long tables are cut, which is said.

    Examples:
        >>> card("Modules of <net>", {"Q": 0.25})[:43]
        '<div><strong>Modules of &lt;net&gt;</strong'
    """
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(_said(value))}</td></tr>'
        for name, value in facts.items()
        if value not in (None, "")
    )
    parts = [f"<strong>{escape(title)}</strong>", f"<table>{rows}</table>"]
    if table is not None and len(table):
        parts.append(_table(table))
    return f"<div>{''.join(parts)}</div>"


def recording_text(self: Any) -> str:
    """A recording's `repr`."""
    return f"Recording({', '.join(_facts(self).values())})"


def recording_card(self: Any) -> str:
    """A recording: what was run, and its layers."""
    import pandas as pd

    table = self.units.table.groupby("layer", sort=False)["unused"].sum()
    own = {"layer": table.index, "units": self.units.sizes, "unused": table.to_numpy()}
    facts = {**_facts(self), "units": f"{len(self.units)}, {int(self.units.unused.sum())} unused"}
    title = f"Recording of {facts.pop('model')}"
    said = {name: text.removeprefix(f"{name} ") for name, text in facts.items()}
    return card(title, said, pd.DataFrame(own))


def _facts(rec: Any) -> dict[str, str]:
    facts = {"model": type(rec.model).__name__, "data": f"{len(rec)} samples"}
    facts["units"] = repr(rec.units)
    if rec.output.key is not None:
        facts["output"] = f"output {rec.output!r}"
    if rec.loss is not None:
        facts["loss"] = f"loss {name_of(rec.loss)}"
    if rec.padding is not None:
        facts["padding"] = repr(rec.padding)
    if rec.device.type != "cpu":
        facts["device"] = f"on {rec.device}"
    return facts


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_said(cell))}</td>' for cell in row)}</tr>"
        for row in table.head(_MOST_ROWS).itertuples(index=False)
    )
    more = len(table) - _MOST_ROWS
    cut = f"<p>and {more} more rows</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{cut}"


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
