"""The command line: infoflow demo | analyze | sites | check | toys."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.functional import cross_entropy
from tyro.conf import Positional

from infoflow._files import write_atomically
from infoflow._inputs import Inputs, check_data, collect
from infoflow.checking import check
from infoflow.comparing import Comparison, compare
from infoflow.discovery import sites
from infoflow.measured import Weighting
from infoflow.recording import Recording, record
from infoflow.results import prepare_folder, save_run
from infoflow.units import Site


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    n_modules: int = 2
    """Modules that the causal search looks for."""
    weighting: Weighting = "ncut"
    """What the exchange is divided by."""
    budget: int = 400
    """Partitions that the search measures."""
    samples: int = 40
    """Random partitions for the mean of the module score."""
    donors: int = 60
    """Donor samples of every intervention."""
    contexts: int = 40
    """Context samples of every intervention."""
    max_rows: int = 2000
    """Rows of the data that are recorded at most (the first ones)."""
    seed: int = 0
    """Seed of everything."""

    def check(self, units: int | None = None) -> None:
        """Refuse what would fail after the network is trained or recorded.

        Args:
            units: How many there will be, if that is known.

        Raises:
            ValueError: An option out of its range.
        """
        least = {"n_modules": 2, "budget": 1, "samples": 2, "donors": 2, "contexts": 2}
        for name, smallest in {**least, "max_rows": 2}.items():
            if getattr(self, name) < smallest:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"expected {flag} >= {smallest}, got {getattr(self, name)}")
        if units is not None and self.n_modules > units:
            raise ValueError(f"expected --n-modules <= {units} units, got {self.n_modules}")


@dataclass(frozen=True)
class Demo:
    """Train the 2022 study's network on handwritten digits and report on its modules."""

    dataset: Literal["digits", "mnist"] = "digits"
    """The bundled 8x8 digits, or MNIST from --data-dir."""
    data_dir: Path | None = None
    """Folder of the four MNIST files; by default the environment variable INFOFLOW_DATA."""
    dropout: float = 0.2
    """Dropout probability in training."""
    effort: Effort = Effort()
    out: Path = Path("runs/demo")
    """Folder for config, tables, figures and report.html."""
    overwrite: bool = False
    """Write over an earlier run in the same folder."""

    def run(self) -> Path:
        """Train, record, compare, write the run folder; returns the report's path."""
        from infoflow.checkpoint import save_checkpoint
        from infoflow.data import load
        from infoflow.train import TrainConfig, train

        config = TrainConfig(dataset=self.dataset, dropout=self.dropout, seed=self.effort.seed)
        self.effort.check(sum(config.hidden))
        folder = prepare_folder(self.out, overwrite=self.overwrite)
        data = load(self.dataset, self.data_dir)
        _say(f"training {config.hidden} units on {self.dataset}, dropout {config.dropout} ...")
        trained = train(config, data, progress=True)
        _say(f"test accuracy {trained.test_accuracy:.4f} after {trained.epochs} epochs")
        save_checkpoint(trained, folder / "model.safetensors")
        rows = slice(self.effort.max_rows)
        rec = record(
            trained.model,
            ["fc1", "fc2"],
            data.test_x[rows],
            data.test_y[rows],
            loss=cross_entropy,
        )
        about = {
            "data": f"{data.name}, held-out test samples",
            "test accuracy": f"{trained.test_accuracy:.4f}",
            "training": f"dropout {config.dropout}, L2 {config.l2}, {trained.epochs} epochs",
            "seed": self.effort.seed,
        }
        title = f"Modules of a network trained on {data.name}"
        return _analysed(rec, self.effort, folder, _settings("demo", self), title, about)


@dataclass(frozen=True)
class Analyze:
    """Report on the modules of your own network."""

    factory: Positional[str]
    """module:function; the function returns model, inputs, targets, loss (the last two may be
    None)."""
    layers: tuple[str, ...]
    """Dotted names of the layers to record; NAME@D for units along dimension D."""
    effort: Effort = Effort()
    batch_size: int = 512
    """Rows per forward pass."""
    out: Path = Path("runs/analyze")
    """Folder for config, tables, figures and report.html."""
    overwrite: bool = False
    """Write over an earlier run in the same folder."""

    def run(self) -> Path:
        """Call the factory, record, compare, write the run folder; returns the report's path."""
        self.effort.check()
        made = _made(self.factory)
        folder = prepare_folder(self.out, overwrite=self.overwrite)
        rec = _recorded(made, self.layers, self.effort.max_rows, self.batch_size)
        title = f"Modules of {self.factory}"
        return _analysed(rec, self.effort, folder, _settings("analyze", self), title, {})


@dataclass(frozen=True)
class Sites:
    """List what can be recorded in your own network, and the text to pass on for it."""

    factory: Positional[str]
    """module:function; the function returns model, inputs (and targets, loss, as for analyze)."""
    json: bool = False
    """Print a list of JSON objects, one a layer, instead of a table."""

    def run(self) -> None:
        """Call the factory, run two samples, print the table of `infoflow.sites`."""
        model, inputs, *_ = _made(self.factory)
        table = sites(model, inputs)
        if self.json:
            _say(json.dumps(table.to_dict("records")))
        else:
            _say(table.to_string(index=False))


@dataclass(frozen=True)
class Check:
    """Try what answers about your own network rest on: replay, short cuts, the bare model."""

    factory: Positional[str]
    """module:function, as for analyze."""
    layers: tuple[str, ...]
    """Dotted names of the layers to record; NAME@D for units along dimension D."""
    max_rows: int = 500
    """Rows of the data that are recorded at most (the first ones)."""
    batch_size: int = 512
    """Rows per forward pass."""

    def run(self) -> None:
        """Call the factory, record, print the table of `infoflow.check`; what differs is an
        error."""
        found = check(_recorded(_made(self.factory), self.layers, self.max_rows, self.batch_size))
        _say(repr(found))
        if not found.ok:
            raise ValueError("two ways to the same numbers differ: see above")


@dataclass(frozen=True)
class Toys:
    """Print the toy networks: exact bits by enumeration, by pgmpy and from the table; then the same
    toys with their source set in other ways, or its relays held."""

    out: Path | None = None
    """Also write the first table to this CSV file."""

    def run(self) -> Path | None:
        """Compute and print the table; a disagreement is an error."""
        from infoflow import toys
        from infoflow.toys import variations

        table, varied = toys.table(), variations.table()
        for found in (table, varied):
            print(found.round(4).to_string(index=False))
        if self.out is not None:
            out = self.out.expanduser()
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out, table.to_csv())
        rows = [*table.to_dict("records"), *varied.to_dict("records")]
        wrong = [row["name"] for row in rows if not row["agree"]]
        if wrong:
            raise ValueError(f"these toys' three answers disagree: {wrong}")
        return self.out


def _recorded(
    made: tuple[Any, ...], layers: Sequence[str], max_rows: int, batch_size: int
) -> Recording:
    """A recording of what a factory returned."""
    model, inputs, targets, loss = made
    return record(
        model,
        [parse_site(name) for name in layers],
        *_first_rows(model, inputs, targets, max_rows),
        loss=loss,
        batch_size=batch_size,
        progress=True,
    )


def _first_rows(
    model: torch.nn.Module, inputs: Inputs, targets: Any, most: int
) -> tuple[Inputs, torch.Tensor | None]:
    """The first rows of what a factory returned, checked as a whole."""
    given = collect(model, inputs, targets)
    check_data(model, given)
    if len(given.tensors[0]) > most:
        _say(f"recording the first {most} of {len(given.tensors[0])} rows (--max-rows)")
    return given.first(most)


def _made(factory: str) -> tuple[Any, ...]:
    """What a factory returns: model, inputs, targets, loss; the last two None where left out."""
    made = load_factory(factory)()
    if not isinstance(made, tuple) or not 2 <= len(made) <= 4:
        raise ValueError(
            f"{factory} returned {type(made).__name__}; expected a tuple "
            "(model, inputs, targets, loss)"
        )
    return (*made, None, None)[:4]


def load_factory(name: str) -> Callable[[], Any]:
    """The function that `module:function` names; the working folder is searched first.

    Raises:
        ValueError: Not of that form, no such module, or no such function in it.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ValueError(f"expected module:function, got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"cannot import {error.name!r} for {name!r}: is it installed?") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"module {module_name!r} has no function {function_name!r}")
    return function


def parse_site(name: str) -> Site:
    """A layer name, with the unit dimension after an @ if given.

    Examples:
        >>> site = parse_site("encoder.relu@1")
        >>> site.path, site.unit_dim
        ('encoder.relu', 1)
    """
    path, _, dim = name.partition("@")
    try:
        return Site(path, unit_dim=int(dim) if dim else None)
    except ValueError as error:
        raise ValueError(f"expected NAME or NAME@DIMENSION, got {name!r}") from error


def _analysed(
    rec: Recording,
    effort: Effort,
    folder: Path,
    config: dict[str, Any],
    title: str,
    about: dict[str, Any],
) -> Path:
    _say(f"{rec!r}; measuring ...")
    found: Comparison = compare(
        rec,
        n_modules=effort.n_modules,
        weighting=effort.weighting,
        budget=effort.budget,
        samples=effort.samples,
        donors=effort.donors,
        contexts=effort.contexts,
        seed=effort.seed,
        progress=True,
    )
    path = save_run(found, folder, config, title=title, about=about)
    from infoflow.reporting import finding

    _say(finding(found))
    _say(f"report: {path.resolve().as_uri()}")
    return path


def _settings(command: str, settings: Any) -> dict[str, Any]:
    return {"command": command, "torch_threads": torch.get_num_threads(), **asdict(settings)}


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status. Mistakes are told in one line, not a traceback."""
    import tyro

    command: Any = tyro.extras.subcommand_cli_from_dict(
        {"demo": Demo, "analyze": Analyze, "sites": Sites, "check": Check, "toys": Toys},
        prog="infoflow",
        description="Find modules in trained networks and measure what they send each other.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        command.run()
    except KeyboardInterrupt:
        print("infoflow: interrupted; run the same command again", file=sys.stderr)
        return 130
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, ImportError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"infoflow: {text}", file=sys.stderr)
        return 1
    return 0
