"""Calls that wait for something, several at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(call: Callable[[T], R], items: Iterable[T], at_once: int) -> Iterator[R]:
    """What `call` returns for each item, in the order of the items.

    Args:
        call: runs in a thread.
        items: its arguments.
        at_once: calls that run, or have run and whose results wait to be taken.
    """
    if at_once == 1:
        yield from map(call, items)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="ahead")
    try:
        for item in items:
            if len(waiting) == at_once:
                yield waiting.popleft().result()
            waiting.append(pool.submit(call, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
