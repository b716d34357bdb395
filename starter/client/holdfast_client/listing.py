"""Lists: as far as one reads, or a page at a time."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from holdfast_client.answers.record import Record

Item = TypeVar("Item")


class Page(Record, Generic[Item]):
    """Part of a list, newest first."""

    data: list[Item]
    has_more: bool


class Listing(Generic[Item]):
    """A list, newest first: ``for escrow in hf.list_escrows()`` fetches its pages as they are needed."""

    def __init__(self, fetch: Callable[[int | None, str | None], Page[Item]], after: str) -> None:
        self._fetch, self._after = fetch, after

    def __iter__(self) -> Iterator[Item]:
        """All of it. What is new meanwhile is not in it, and nothing comes twice."""
        starting_after = None
        while True:
            page = self._fetch(100, starting_after)
            yield from page.data
            if not page.has_more:
                return
            starting_after = getattr(page.data[-1], self._after)

    def page(self, limit: int | None = None, starting_after: str | None = None) -> Page[Item]:
        """One page of 1 to 100, the newest unless ``starting_after`` is the id of the last one of the page before."""
        return self._fetch(limit, starting_after)
