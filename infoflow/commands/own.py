"""demo, toys, bench, report: what needs no network of the user's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch.nn.functional import cross_entropy
from tyro.conf import Positional

import infoflow.saving as saving
from infoflow._files import write_atomically
from infoflow.commands.answer import Answer, Command, say, table, watched
from infoflow.commands.measures import analysed, settings_of
from infoflow.commands.network import Effort, Factory, Rows, recorded
from infoflow.comparing import Comparison
from infoflow.recording import Recording, record
from infoflow.results import prepare_folder
from infoflow.searching import SearchResult


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Train the 2022 study's network on handwritten digits and report on its modules."""

    dataset: Literal["digits", "mnist"] = "digits"
    """The bundled 8x8 digits, or MNIST from --data-dir."""
    data_dir: Path | None = None
    """Folder of the four MNIST files; by default the environment variable INFOFLOW_DATA."""
    dropout: float = 0.2
    """Dropout probability in training."""
    effort: Effort = field(default_factory=Effort)
    max_rows: int = 2000
    """Rows of the data that are recorded at most (the first ones)."""
    out: Path = Path("runs/demo")
    """Folder for config, tables, figures and report.html."""
    overwrite: bool = False
    """Write over an earlier run in the same folder."""
    shuffled: int = 3
    """Copies with shuffled weights that are searched too, to judge the module score by; 0: none."""

    def run(self) -> Answer:
        """Train, record, compare, write the run folder."""
        from infoflow.checkpoint import save_checkpoint
        from infoflow.data import load
        from infoflow.train import TrainConfig, train

        config = TrainConfig(dataset=self.dataset, dropout=self.dropout, seed=self.effort.seed)
        Rows(self.max_rows).check()
        self.effort.check(sum(config.hidden))
        folder = prepare_folder(self.out, overwrite=self.overwrite)
        data = load(self.dataset, self.data_dir)
        say(f"training {config.hidden} units on {self.dataset}, dropout {config.dropout} ...")
        trained = train(config, data, progress=watched())
        say(f"test accuracy {trained.test_accuracy:.4f} after {trained.epochs} epochs")
        save_checkpoint(trained, folder / "model.safetensors")
        rows = slice(self.max_rows)
        x, y = data.test_x[rows], data.test_y[rows]
        rec = record(trained.model, ["fc1", "fc2"], x, y, loss=cross_entropy)
        about = {
            "data": f"{data.name}, held-out test samples",
            "test accuracy": f"{trained.test_accuracy:.4f}",
            "training": f"dropout {config.dropout}, L2 {config.l2}, {trained.epochs} epochs",
            "seed": self.effort.seed,
        }
        title = f"Modules of a network trained on {data.name}"
        config_json = settings_of("demo", self)
        return analysed(
            rec,
            self.effort,
            folder,
            config_json,
            title=title,
            about=about,
            shuffled=self.shuffled,
        )


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write the report of a saved comparison or search again."""

    folder: Positional[Path]
    """What `compare` or `search` saved, or a run folder of `analyze` or `demo`."""
    out: Path | None = None
    """The page to write; by default report.html in the folder's own place."""
    title: str = "Modules and what they exchange"
    """Its heading."""

    def run(self) -> Answer:
        """Load the result and write one HTML file."""
        from infoflow.plot import check_installed
        from infoflow.reporting import finding, report

        check_installed("jinja2")
        folder = self.folder.expanduser()
        inside = folder / "comparison"
        found = saving.load(inside if inside.is_dir() else folder)
        if not isinstance(found, (Comparison, SearchResult)):
            raise ValueError(
                "a report is made of a Comparison or a SearchResult, and "
                f"{folder} holds a {type(found).__name__}: infoflow.load(folder) gives it back; "
                "infoflow compare makes a comparison"
            )
        beside = folder / "report.html" if inside.is_dir() else Path(f"{folder}.html")
        path = report(found, self.out or beside, title=self.title)
        said = finding(found) if isinstance(found, Comparison) else repr(found.score)
        facts = {"report": path.resolve(), "finding": said}
        return Answer(f"{said}\nreport: {path.resolve().as_uri()}", facts)


@dataclass(frozen=True, kw_only=True)
class Toys(Command):
    """Show the toy networks: exact bits by enumeration, by pgmpy and from the table; then the same
    toys with their source set in other ways, or its relays held."""

    out: Path | None = None
    """Also write the first table to this CSV file."""

    def run(self) -> Answer:
        """Compute the tables; a disagreement is bad news."""
        from infoflow import toys
        from infoflow.toys import variations

        first, varied = toys.table(), variations.table()
        if self.out is not None:
            out = self.out.expanduser()
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out, first.to_csv())
        rows = [*first.to_dict("records"), *varied.to_dict("records")]
        wrong = [row["name"] for row in rows if not row["agree"]]
        text = f"{table(first.reset_index(drop=True))}\n\n{table(varied.reset_index(drop=True))}"
        said = f"\nthese toys' three answers disagree: {wrong}" if wrong else ""
        facts = {"toys": first, "variations": varied, "disagree": wrong}
        return Answer(text + said, facts, not wrong)


@dataclass(frozen=True, kw_only=True)
class Bench(Command):
    """Time each step on this machine, on the demo's network or on your own; as a first call has
    it, with what is loaded and compiled on the way."""

    factory: Factory = ""
    """module:function, as for analyze; by default two layers of 64 units, digits, untrained."""
    layers: tuple[str, ...] = ()
    """Layers of your network to record."""
    rows: Rows = field(default_factory=Rows)
    partitions: int = 20
    """Partitions that the timed search measures, beside five random ones."""
    seed: int = 0
    """Seed of everything."""

    def run(self) -> Answer:
        """Record, and time the steps one after another."""
        self.rows.check()
        if bool(self.factory) != bool(self.layers):
            raise ValueError("expected module:function and --layers together, or neither")
        begin = time.perf_counter()
        rec = recorded(self.factory, self.layers, self.rows) if self.factory else _digits(self)
        seconds = {f"record {len(rec)} samples": time.perf_counter() - begin}
        say(f"{rec!r}; timing ...")
        for what, step in _steps(rec, self).items():
            begin = time.perf_counter()
            step()
            seconds[what] = time.perf_counter() - begin
            say(f"{what}: {seconds[what]:.2f} s")
        found = pd.DataFrame({"step": seconds.keys(), "seconds": seconds.values()})
        return Answer(table(found), {"seconds": seconds, "units": len(rec.units)})


def _digits(asked: Bench) -> Recording:
    from infoflow.data import load_digits
    from infoflow.models import mlp

    data, rows = load_digits(), slice(asked.rows.max_rows)
    net = mlp(data.test_x[0].numel(), n_classes=10, seed=asked.seed)
    return record(net, ["fc1", "fc2"], data.test_x[rows], data.test_y[rows], loss=cross_entropy)


def _steps(rec: Recording, asked: Bench) -> dict[str, Callable[[], Any]]:
    """What is timed, on the recording: the first of its layers, and all of them."""
    import numpy as np

    from infoflow.clustering import find_modules
    from infoflow.exchanges import exchange
    from infoflow.information import flow, unit_flow
    from infoflow.searching import search
    from infoflow.unit_similarity import refused_measures, similarity

    first, *_, last = rec.units.layers
    seed, halves = asked.seed, np.arange(len(rec.units)) % 2
    steps: dict[str, Callable[[], Any]] = {
        f"similarity {name}": lambda name=name: similarity(rec, name)
        for name in ("cov", "i_sens", "o_sens", "hess")
        if name not in refused_measures(rec)
    }
    steps["modules of largest Q"] = lambda: find_modules(similarity(rec, "cov_norm"), seed=seed)
    if len(rec.units.layers) < 2:
        return steps
    steps[f"flow of 3 units, {first} to {last}"] = lambda: flow(rec, {first: range(3)}, last)
    steps["flows between all units"] = lambda: unit_flow(rec, given_context=True, seed=seed)
    steps["exchange of two halves"] = lambda: exchange(rec, halves, seed=seed)
    steps[f"search, {asked.partitions + 5} partitions"] = lambda: search(
        rec, budget=asked.partitions, samples=5, seed=seed
    )
    return steps
