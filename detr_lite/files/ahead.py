"""Work that threads do ahead of the one who waits for it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int = 2,
    most: int = 8,
) -> Iterator[Result]:
    """Yield function(item) for each item, in order.

    Threads work out up to `most` results before they are asked for, so
    reading files, decoding images and writing go on while a model computes.
    An exception reaches whoever asks for the result.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
