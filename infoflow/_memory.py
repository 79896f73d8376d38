"""What does not fit into memory is run in smaller parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from infoflow._warnings import warn

_R = TypeVar("_R")
# What torch's allocators say besides `torch.OutOfMemoryError`.
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAIL")


def is_full(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of its GPU, ran out."""
    said = isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)
    return said or isinstance(error, (MemoryError, torch.OutOfMemoryError))


@dataclass(eq=False)
class Room:
    """How many rows fit into memory at once; found out by failing, and then kept to.

    Attributes:
        most: Rows; None: no bound was met.
    """

    most: int | None = None

    def parts(self, run: Callable[[slice], _R], rows: slice) -> Iterator[tuple[slice, _R]]:
        """`run(part)` for parts that cover `rows` in order: one if it fits, else halves of what
        did not, and so on; said once.

        Raises:
            MemoryError, RuntimeError: One row alone does not fit.
        """
        waiting = [rows]
        while waiting:
            part = waiting.pop()
            count = part.stop - part.start
            if self.most is not None and count > self.most:
                starts = range(part.start, part.stop, self.most)
                waiting += [slice(at, min(at + self.most, part.stop)) for at in starts][::-1]
                continue
            try:
                found = run(part)
            except Exception as error:
                if count < 2 or not is_full(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            else:
                yield part, found
                continue
            # only here: the error held on to all that the failed run had made
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if self.most is None:
                warn(
                    f"memory ran out with {count} rows at once ({reason}): going on with fewer; "
                    "record(batch_size=) with a smaller number does so from the start"
                )
            self.most = count // 2
            waiting.append(part)
