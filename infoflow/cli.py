"""The command line: infoflow demo | sites | check | analyze | flow | search | compare | report |
toys | bench.

Exit status: 0 done; 1 refused or failed, with one line that says why; 2 the command line or its
settings file was not understood; 3 done, and what was found is wrong (`check`, `toys`: two ways to
the same number differ); 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from infoflow.commands.answer import Answer, plain, say
from infoflow.commands.reading import Misunderstood, read

DONE, FAILED, MISUNDERSTOOD, WRONG, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status. Mistakes are told in one line, not a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        command = read(given)
        as_json = command.json
        answer = command.run()
    except KeyboardInterrupt as stop:
        kept = str(stop) or "nothing was kept: run the same command again"
        return _failed(f"interrupted; {kept}", INTERRUPTED, as_json)
    except Misunderstood as error:
        return _failed(str(error), MISUNDERSTOOD, as_json)
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, ImportError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return _failed(str(text), FAILED, as_json)
    _show(answer, as_json)
    return DONE if answer.ok else WRONG


def _show(answer: Answer, as_json: bool) -> None:
    text = json.dumps({"ok": answer.ok, **plain(answer.facts)}) if as_json else answer.text
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(text: str, status: int, as_json: bool) -> int:
    say(f"infoflow: {text}")
    if as_json:
        print(json.dumps({"ok": False, "error": text, "status": status}))
    return status
