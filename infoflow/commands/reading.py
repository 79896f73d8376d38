"""From arguments and a TOML file to a command, with near misses for what is not known."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from infoflow.commands.answer import Command
from infoflow.commands.measures import Analyze, Check, Compare, Flow, Search, Sites
from infoflow.commands.own import Bench, Demo, Report, Toys
from infoflow.units import unknown_name

COMMANDS: Mapping[str, type[Command]] = {
    "demo": Demo,
    "sites": Sites,
    "check": Check,
    "analyze": Analyze,
    "flow": Flow,
    "search": Search,
    "compare": Compare,
    "report": Report,
    "toys": Toys,
    "bench": Bench,
}


class Misunderstood(ValueError):
    """A command line or a settings file that cannot be read."""


def read(arguments: Sequence[str]) -> Command:
    """The command that those arguments ask for.

    `--config FILE` takes what flags are called (`n_modules = 3`) from a TOML file: at the top for
    any command that has such a flag, in a table `[search]` for that one. Flags given beside it win.

    Raises:
        Misunderstood: A command, flag or setting that does not exist, or a file that is no TOML.
        SystemExit: Help was asked for (0), or tyro refused a value (2).
    """
    import tyro

    flat = (tyro.conf.OmitArgPrefixes,)
    if not arguments or arguments[0].startswith("-"):
        return tyro.extras.subcommand_cli_from_dict(
            dict(COMMANDS),
            prog="infoflow",
            description="Find modules in trained networks and measure what they send each other. "
            "Flags may stand in a TOML file: --config FILE. Exit status: 0 done, 1 refused or "
            "failed, 2 not understood, 3 done and found wrong, 130 interrupted.",
            args=[*arguments] or ["--help"],
            config=flat,
        )
    name, *rest = arguments
    if name not in COMMANDS:
        raise Misunderstood(unknown_name("command", name, list(COMMANDS)))
    kind = COMMANDS[name]
    file, rest = _config(rest)
    known = _flags(kind)
    for asked in (argument for argument in rest if argument.startswith("--")):
        flag = asked[2:].split("=")[0].removeprefix("no-").replace("-", "_")
        if flag not in {*known, "help"}:
            text = unknown_name("flag", asked, ["--" + k.replace("_", "-") for k in known])
            raise Misunderstood(f"{text} (infoflow {name} --help)")
    given = _settings(file, name) if file else {}
    described = (kind.__doc__ or "").strip()
    prog = f"infoflow {name}"
    default = _filled(kind, given) if given else tyro.MISSING_NONPROP
    return tyro.cli(kind, prog=prog, description=described, args=rest, default=default, config=flat)


def _config(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file that `--config` names, and the other arguments."""
    file, rest = None, []
    left = iter(arguments)
    for argument in left:
        if argument == "--config" or argument.startswith("--config="):
            named = argument.partition("=")[2] or next(left, "")
            if not named:
                raise Misunderstood("expected a file after --config")
            file = Path(named).expanduser()
        else:
            rest.append(argument)
    return file, rest


def _flags(kind: Any) -> dict[str, Any]:
    """Names and types of a command's flags, those of its groups among them."""
    found: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint = hints[item.name]
        found |= _flags(hint) if is_dataclass(hint) else {item.name: hint}
    return found


def _settings(file: Path, command: str) -> dict[str, Any]:
    """What a TOML file says to a command."""
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misunderstood(f"cannot read the settings in {file}: {error}") from error
    mine = _flags(COMMANDS[command])
    every = {flag for kind in COMMANDS.values() for flag in _flags(kind)}
    given: dict[str, Any] = {}
    for key, value in written.items():
        if isinstance(value, dict):
            if key not in COMMANDS:
                raise Misunderstood(f"{file}: {unknown_name('command', key, list(COMMANDS))}")
            own = {k.replace("-", "_"): v for k, v in value.items()}
            for flag in set(own) - set(_flags(COMMANDS[key])):
                text = unknown_name("setting", flag, list(_flags(COMMANDS[key])))
                raise Misunderstood(f"{file}: [{key}]: {text}")
        elif key.replace("-", "_") not in every:
            raise Misunderstood(f"{file}: {unknown_name('setting', key, sorted(mine))}")
    top = {k.replace("-", "_"): v for k, v in written.items() if not isinstance(v, dict)}
    table = {k.replace("-", "_"): v for k, v in written.get(command, {}).items()}
    for flag, value in {**top, **table}.items():
        if flag in mine:
            try:
                given[flag] = _as(mine[flag], value)
            except ValueError as error:
                raise Misunderstood(f"{file}: {flag}: {error}") from None
    return given


def _as(hint: Any, value: Any) -> Any:
    """A TOML value as a flag's type."""
    if get_origin(hint) in (Union, UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        return _as(options[0], value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(unknown_name("choice", value, [str(a) for a in get_args(hint)]))
        return value
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"expected a list of texts, got {value!r}")
        return tuple(items)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"expected {getattr(hint, '__name__', hint)}, got {value!r}")
    return value


def _filled(kind: Any, given: Mapping[str, Any]) -> Any:
    """A command with those settings; what has neither setting nor default is left to the flags."""
    import tyro

    hints, made = get_type_hints(kind), {}
    for item in fields(kind):
        if is_dataclass(hints[item.name]):
            made[item.name] = _filled(hints[item.name], given)
        elif item.name in given or item.default is MISSING:
            made[item.name] = given.get(item.name, tyro.MISSING)
        else:
            made[item.name] = item.default
    return kind(**made)
