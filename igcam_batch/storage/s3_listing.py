"""Listing what lies below a prefix in S3, several of its sub-prefixes at a time, in the order of one long listing.

S3 gives a thousand keys an answer, and the next thousand only to who has these. Below another prefix, though, there is
another such chain. So where a directory has sub-directories that are large, each is listed by a thread of its own, some
ahead of the one whose keys are taken; a directory without any, or with many small ones, of which each would cost a
request, is listed plainly.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from queue import Full, Queue
from typing import Any

Page = Mapping[str, Any]
"""What list_objects_v2 answers."""

Ask = Callable[..., Page]
"""`ask(prefix, Delimiter=..., ContinuationToken=...)` -> one page."""

_PAGES_AHEAD = 8  # of each sub-prefix; a page holds 1000 keys
_LARGE = 4  # a page of keys that is of no more sub-prefixes than this comes from large ones
_LOOKS_UP = 0.1  # seconds after which a thread looks whether it is still wanted
_ITEMS_AHEAD = 2000  # keys and prefixes in one directory that are looked at to find the next prefixes


def list_below(ask: Ask, prefix: str, wanted: Callable[[str], bool], at_once: int) -> Iterator[Mapping[str, Any]]:
    """Every key below a prefix, as S3's `Contents` have it.

    The order is by the bytes of the keys, as S3 has it. A server that orders otherwise loses nothing by it.

    Args:
        ask: one request.
        prefix: '' or one that ends with '/'.
        wanted: of a sub-prefix, whether it is of interest; others are not listed, where that saves anything.
        at_once: sub-prefixes that are listed ahead; 1: none are, and all is one long listing.
    """
    yield from _Listing(ask, wanted, at_once).below(prefix, ask(prefix))


@dataclass(frozen=True)
class _Listing:
    """How is asked, for what, and how many at a time. See `list_below`."""

    ask: Ask
    wanted: Callable[[str], bool]
    at_once: int

    def below(self, prefix: str, first: Page) -> Iterator[Mapping[str, Any]]:
        """All below a prefix. Its first page is there already: who stops within it causes no further request."""
        found = first.get("Contents", ())
        yield from found
        if not first.get("IsTruncated"):
            return
        if self.at_once == 1 or not _has_large_parts(first, prefix):
            for page in self.rest(prefix, first):
                yield from page.get("Contents", ())
            return
        given = {each["Key"] for each in found}
        with _Ahead(self) as ahead:
            for each in ahead.items(self.level(prefix)):
                if each["Key"] not in given:
                    yield each

    def rest(self, prefix: str, page: Page, **options: str) -> Iterator[Page]:
        """The pages after one."""
        while page.get("IsTruncated"):
            page = self.ask(prefix, ContinuationToken=page["NextContinuationToken"], **options)
            yield page

    def level(self, prefix: str) -> Iterator[str | Mapping[str, Any]]:
        """Keys in a directory, and its wanted sub-prefixes as text, in the order of their bytes."""
        first = self.ask(prefix, Delimiter="/")
        for page in chain([first], self.rest(prefix, first, Delimiter="/")):
            keys = [(each["Key"], each) for each in page.get("Contents", ())]
            parts = [(each["Prefix"], each["Prefix"]) for each in page.get("CommonPrefixes", ())]
            wanted = [pair for pair in parts if self.wanted(pair[0])]
            for _, item in sorted([*keys, *wanted], key=lambda pair: pair[0].encode(errors="surrogateescape")):
                yield item


def _has_large_parts(page: Page, prefix: str) -> bool:
    """Whether the first thousand keys below a prefix are of few of its sub-prefixes."""
    below = (each["Key"].removeprefix(prefix) for each in page.get("Contents", ()))
    return 0 < len({name.partition("/")[0] for name in below if "/" in name}) <= _LARGE


class _Ahead:
    """A directory, whose next few sub-prefixes are being listed while the keys of one are taken."""

    def __init__(self, listing: _Listing) -> None:
        self._listing = listing
        self._stop = threading.Event()

    def __enter__(self) -> "_Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def items(self, level: Iterator[str | Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The keys of a level, and in the place of each sub-prefix all that lies below it."""
        waiting: deque[_Part | Mapping[str, Any]] = deque()
        parts, more = 0, True
        while more or waiting:
            while more and parts < self._listing.at_once and len(waiting) < _ITEMS_AHEAD:
                item = next(level, None)
                if item is None:
                    more = False
                elif isinstance(item, str):
                    waiting.append(_Part(self._listing, item, self._stop))
                    parts += 1
                else:
                    waiting.append(item)
            if not waiting:
                return
            head = waiting.popleft()
            if isinstance(head, _Part):
                parts -= 1
                yield from head.keys()
            else:
                yield head


class _Part:
    """A sub-prefix that is being listed: all of it, or its first page, where its own sub-prefixes are large too."""

    def __init__(self, listing: _Listing, prefix: str, stop: threading.Event) -> None:
        self._listing, self._prefix, self._stop = listing, prefix, stop
        self._pages: Queue[Page | Exception | None] = Queue(_PAGES_AHEAD)
        threading.Thread(target=self._run, name=f"listing of {prefix}", daemon=True).start()

    def _run(self) -> None:
        try:
            first = self._listing.ask(self._prefix)
            self._put(first)
            if not _has_large_parts(first, self._prefix):
                for page in self._listing.rest(self._prefix, first):
                    if not self._put(page):
                        return
            self._put(None)
        except Exception as error:  # whatever it is, it is the one's who takes the keys
            self._put(error)

    def _put(self, page: Page | Exception | None) -> bool:
        """Wait until there is room; False where nobody takes any more."""
        while not self._stop.is_set():
            try:
                self._pages.put(page, timeout=_LOOKS_UP)
            except Full:
                continue
            return True
        return False

    def keys(self) -> Iterator[Mapping[str, Any]]:
        """All below the prefix."""
        page = self._next()
        assert page is not None  # there is a first one
        if page.get("IsTruncated") and _has_large_parts(page, self._prefix):
            yield from self._listing.below(self._prefix, page)
            return
        while page is not None:
            yield from page.get("Contents", ())
            page = self._next()

    def _next(self) -> Page | None:
        page = self._pages.get()
        if isinstance(page, Exception):
            raise page
        return page
