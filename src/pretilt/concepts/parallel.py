"""Work on blocks, side by side: NumPy and SciPy let go of the interpreter while they compute, so threads are enough."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], n_threads: int | None = None
) -> Iterator[Result]:
    """`function` of every item, in the order of the items; the same on any number of threads.

    `n_threads` items are worked on at a time (None: as many as this process has cores) and at most one more result
    waits, so that memory does not grow with their number. An error of `function` is raised in its item's turn.
    """
    n = n_threads or _n_cores()
    with ThreadPoolExecutor(n) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _n_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: what a container or `taskset` leaves to this process
    return len(affinity(0)) if affinity else os.cpu_count() or 1
