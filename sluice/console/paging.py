"""`page` and `per_page` of lists (contract 9.1). A page past the end is empty: clients read on until they see one."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from starlette.responses import Response

from sluice.console.envelope import CountedPageInfo, PageInfo, reply_page
from sluice.storage.ports import Slice

Record = TypeVar("Record")
PageNumber = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Paging(msgspec.Struct, frozen=True):
    page: PageNumber = 1
    per_page: Annotated[int, Meta(ge=1, le=100)] = 20

    @property
    def slice(self) -> Slice:
        return Slice((self.page - 1) * self.per_page, self.per_page)

    def info(self, shown: Sequence[object], total: int) -> PageInfo:
        return PageInfo(self.page, self.per_page, len(shown), total)


def reply_pages(records: Sequence[Record], asked: Paging, shown: Callable[[Record], object]) -> Response:
    """The page that is asked for of all records, with the number of pages."""
    start = asked.slice.offset
    page = [shown(record) for record in records[start : start + asked.per_page]]
    pages = -(-len(records) // asked.per_page)
    return reply_page(page, CountedPageInfo(asked.page, asked.per_page, len(page), len(records), pages))
