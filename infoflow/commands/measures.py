"""sites, check, flow, search, compare, analyze: on a network of the user's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from infoflow._arguments import whole
from infoflow.checking import check
from infoflow.commands.answer import Answer, Command, plain, say, table, watched
from infoflow.commands.network import (
    Effort,
    Factory,
    Network,
    Rows,
    chosen,
    made,
    parse_units,
    recorded,
)
from infoflow.comparing import Comparison, compare, with_references
from infoflow.discovery import sites
from infoflow.information import flow
from infoflow.partition import Partition
from infoflow.recording import Recording
from infoflow.results import prepare_folder, save_run
from infoflow.searching import search
from infoflow.searching.plan import Method


@dataclass(frozen=True, kw_only=True)
class Sites(Command):
    """List what can be recorded in your own network, and the text to pass on for it."""

    factory: Factory
    """module:function; the function returns model, inputs (and targets, loss, as for analyze)."""

    def run(self) -> Answer:
        """Call the factory, run two samples, show the table of `infoflow.sites`."""
        model, inputs, *_ = made(self.factory)
        found = sites(model, inputs)
        return Answer(table(found), {"sites": found})


@dataclass(frozen=True, kw_only=True)
class Check(Command):
    """Try what answers about your own network rest on: replay, short cuts, the bare model."""

    network: Network

    def run(self) -> Answer:
        """Call the factory, record, show what `infoflow.check` tried."""
        found = check(self.network.record())
        text = repr(found)
        if not found.ok:
            text += "\ntwo ways to the same numbers differ: do not trust measurements of this model"
        return Answer(text, {"trials": found.to_frame()}, found.ok)


@dataclass(frozen=True, kw_only=True)
class Flow(Command):
    """Measure the bits that one group of units sends another when it is forced to change."""

    factory: Factory
    """module:function, as for analyze."""
    source: tuple[str, ...]
    """Units to force: LAYER for all of a layer, LAYER:0,3,8-11 for some; several take it
    together."""
    target: tuple[str, ...]
    """Units to observe, in the same words."""
    donors: int = 200
    """Samples that the source is set to."""
    contexts: int = 100
    """Samples that are run with each."""
    n_null: int = 0
    """Draws of the null, for a p-value and a detection floor; 0: none."""
    seed: int = 0
    """Seed of everything."""
    rows: Rows = field(default_factory=Rows)

    def run(self) -> Answer:
        """Call the factory, record the layers that are named, measure one flow."""
        self.rows.check()
        (sending, source), (seeing, target) = parse_units(self.source), parse_units(self.target)
        layers = list(dict.fromkeys([*sending, *seeing]))
        rec = recorded(self.factory, layers, self.rows)
        found = flow(
            rec,
            chosen(rec, source),
            chosen(rec, target),
            donors=self.donors,
            contexts=self.contexts,
            n_null=self.n_null,
            seed=self.seed,
            progress=watched(),
        )
        return Answer(_flow_text(found), found.to_frame().to_dict("records")[0])


@dataclass(frozen=True, kw_only=True)
class Search(Command):
    """Find the partition of your network's units that exchanges least, and score it."""

    network: Network
    effort: Effort = field(default_factory=Effort)
    method: Method = "genetic"
    """How it is searched; "screened" measures fewest partitions."""
    auto: bool = False
    """As many modules as the flows between units show, in place of --n-modules."""
    confidence: int = 0
    """Search so many times more, to tell how sure each unit's module is."""
    out: Path = Path("runs/search")
    """Folder for the result, which `infoflow.load` reads."""
    overwrite: bool = False
    """Replace an earlier result there."""

    def run(self) -> Answer:
        """Call the factory, record, search, save the result. What was measured is kept on the way,
        so that the same command goes on after an interruption."""
        self.effort.check()
        out = _free(self.out, self.overwrite)
        rec = self.network.record()
        kept = out.with_name(out.name + ".unfinished.npz")
        settings = {**asdict(self.effort), "method": self.method, "confidence": self.confidence}
        out.parent.mkdir(parents=True, exist_ok=True)
        say(f"{rec!r}; " + (f"going on from {kept}" if kept.exists() else "searching ..."))
        try:
            number = {"n_modules": None} if self.auto else {}
            found = search(rec, checkpoint=kept, progress=watched(), **{**settings, **number})
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"what was measured is kept in {kept}: the same command goes on from there"
                if kept.exists()
                else "nothing was measured yet: run the same command again"
            ) from None
        found.save(out, overwrite=self.overwrite)
        kept.unlink(missing_ok=True)
        where = _module_units(rec, found.partition)
        text = f"{found.score!r}\n{found.exchange!r}\n{where}\nsaved: {out}"
        facts = {
            "score": found.score.to_frame().to_dict("records")[0],
            "exchange": found.exchange.to_frame(),
            "bits": found.exchange.bits,
            "bits_given_context": found.exchange.bits_given_context,
            "partition": found.partition,
            "units": rec.units.table,
            "p_value": found.count.p_value if found.count else None,
            "out": out,
        }
        return Answer(text, facts)


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Set all partitions of your network side by side: would Q have told who sends whom what?"""

    network: Network
    effort: Effort = field(default_factory=Effort)
    out: Path = Path("runs/compare")
    """Folder for the comparison, which `infoflow.load` and `infoflow report` read."""
    overwrite: bool = False
    """Replace an earlier result there."""

    def run(self) -> Answer:
        """Call the factory, record, compare, save the comparison."""
        self.effort.check()
        out = _free(self.out, self.overwrite)
        found = compared(self.network.record(), self.effort, out)
        found.save(out, overwrite=self.overwrite)
        _forget(out)
        return comparison_answer(found, {"out": out}, f"saved: {out} (infoflow report {out})")


@dataclass(frozen=True, kw_only=True)
class Analyze(Command):
    """Report on the modules of your own network: compare, with tables, figures and report.html."""

    network: Network
    effort: Effort = field(default_factory=Effort)
    out: Path = Path("runs/analyze")
    """Folder for config, tables, figures and report.html."""
    overwrite: bool = False
    """Write over an earlier run in the same folder."""
    shuffled: int = 3
    """Copies with shuffled weights that are searched too, to judge the module score by; 0: none."""

    def run(self) -> Answer:
        """Call the factory, record, compare, write the run folder."""
        self.effort.check()
        self.network.rows.check()
        whole(0, 10**4)("--shuffled", self.shuffled)
        folder = prepare_folder(self.out, overwrite=self.overwrite)
        title = f"Modules of {self.network.factory}"
        config = settings_of("analyze", self)
        rec = self.network.record()
        return analysed(rec, self.effort, folder, config, title=title, shuffled=self.shuffled)


def analysed(
    rec: Recording,
    effort: Effort,
    folder: Path,
    config: Mapping[str, Any],
    *,
    title: str,
    shuffled: int,
    about: Mapping[str, Any] | None = None,
) -> Answer:
    """Compare, also with shuffled networks, and write a run folder that `prepare_folder` made."""
    from infoflow.reporting import finding

    out = folder.with_name(folder.name.removesuffix(".unfinished"))
    found = compared(rec, effort, out)
    if shuffled > 0:
        say(f"searching {shuffled} networks with shuffled weights, to judge the score by ...")
        try:
            found = with_references(found, networks=shuffled, progress=watched(), **asdict(effort))
        except (ValueError, RuntimeError) as error:  # the comparison itself is not to be lost
            say(f"the score is judged without them: {error}")
    path = save_run(found, folder, config, title=title, about=about or {})
    _forget(out)
    said = f"{finding(found)}\nreport: {path.resolve().as_uri()}"
    return comparison_answer(found, {"out": path.parent, "report": path}, said)


def compared(rec: Recording, effort: Effort, out: Path) -> Comparison:
    """All partitions side by side. What the searches measure is kept beside `out` on the way."""
    kept = _kept(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    say(f"{rec!r}; " + (f"going on from {kept}" if kept.exists() else "measuring ..."))
    try:
        return compare(rec, checkpoint=kept, progress=watched(), **asdict(effort))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"what the searches measured is kept in {kept}: the same command goes on from there"
            if kept.exists()
            else "nothing was measured yet: run the same command again"
        ) from None


def _kept(out: Path) -> Path:
    return out.with_name(out.name + ".searches")


def _forget(out: Path) -> None:
    shutil.rmtree(_kept(out), ignore_errors=True)


def comparison_answer(found: Comparison, facts: Mapping[str, Any], said: str) -> Answer:
    """The partitions a reader asks for first, and what else was said of them."""
    columns = ["source", "n_modules", "bits", "bits_given_context", "score", "p_same_size"]
    shown = found.partitions.loc[found.partitions["origin"] != "random"]
    shown = shown.sort_values("score", ascending=False).head(12)
    more = len(found.partitions) - len(shown)
    text = f"{table(shown, columns)}\n({more} more partitions in the tables)\n{said}"
    everything = {"partitions": found.partitions, "tracking": found.tracking, **facts}
    return Answer(text, everything)


def settings_of(command: str, settings: Any) -> dict[str, Any]:
    """What goes into a run folder's config.json."""
    asked = {"command": command, "torch_threads": torch.get_num_threads(), **asdict(settings)}
    return plain(asked)


def _free(folder: Path, overwrite: bool) -> Path:
    """Where a result is saved; refused before the work where that would fail."""
    out = folder.expanduser()
    earlier = (out / "manifest.json").is_file()
    if out.exists() and not (overwrite and earlier):
        hint = ", or --overwrite" if earlier else ""
        raise FileExistsError(f"{out} is there already; choose another folder with --out{hint}")
    return out


def _flow_text(found: Any) -> str:
    lines = [
        f"{found.bits:9.4f} ± {found.se:.4f} bits    sent: what the target tells of the source",
        f"{found.bits_given_context:9.4f} ± {found.se_given_context:.4f} bits    sent given the "
        "context: the same when the target's other inputs are known",
        f"{found.observational_bits:9.4f}          bits    shared in the normal run: no evidence "
        "of sending",
    ]
    if found.p_value is not None:
        lines.append(f"p = {found.p_value:.3g} where nothing flows; floor {found.floor:.4f} bits")
    return "\n".join([*lines, repr(found)] if found.flags else lines)


def _module_units(rec: Recording, partition: Partition) -> str:
    """Which units of which layer are in each module."""
    lines = []
    for name, units in zip(partition.names, partition.modules, strict=True):
        inside = {layer: own.tolist() for layer, own in rec.units.by_layer(units).items()}
        listed = "; ".join(f"{layer}: {_ranges(own)}" for layer, own in inside.items())
        lines.append(f"module {name}, {len(units)} units: {listed}")
    return "\n".join(lines)


def _ranges(numbers: list[int]) -> str:
    """0-3, 7 for [0, 1, 2, 3, 7]."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][1] + 1:
            groups[-1][1] = number
        else:
            groups.append([number, number])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in groups)
