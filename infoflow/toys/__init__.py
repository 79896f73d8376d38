"""Toy networks whose answers are known exactly, each told three times.

`load(name)` gives one; `table()` holds all of them against the oracle and the numbers on paper.
`load_modules(name)` has planted modules, `train_toy(name)` learns a small task in seconds.
"""

from infoflow.toys.catalogue import MODULE_TOYS, TOYS, load, load_modules
from infoflow.toys.system import ModuleToy, Numbers, System, Toy
from infoflow.toys.three_ways import Check, check, table
from infoflow.toys.trained import TRAINED, TrainedToy, train_toy

__all__ = [
    "MODULE_TOYS",
    "TOYS",
    "TRAINED",
    "Check",
    "ModuleToy",
    "Numbers",
    "System",
    "Toy",
    "TrainedToy",
    "check",
    "load",
    "load_modules",
    "table",
    "train_toy",
]
