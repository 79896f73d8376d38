"""Toy networks whose answers are known exactly, each told three times.

`load(name)` gives one; `table()` holds all of them against the oracle and the numbers on paper.
"""

from infoflow.toys.catalogue import MODULE_TOYS, TOYS, load, load_modules
from infoflow.toys.check import Check, Numbers, check, table
from infoflow.toys.random_networks import random_network
from infoflow.toys.system import ModuleToy, System, Toy

__all__ = [
    "MODULE_TOYS",
    "TOYS",
    "Check",
    "ModuleToy",
    "Numbers",
    "System",
    "Toy",
    "check",
    "load",
    "load_modules",
    "random_network",
    "table",
]
