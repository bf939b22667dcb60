"""`page` and `per_page` of lists (contract 9.1). A page past the end is empty: clients read on until they see one."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from sluice.console.envelope import PageInfo
from sluice.storage.ports import Slice

PageNumber = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Paging(msgspec.Struct, frozen=True):
    page: PageNumber = 1
    per_page: Annotated[int, Meta(ge=1, le=100)] = 20

    @property
    def slice(self) -> Slice:
        return Slice((self.page - 1) * self.per_page, self.per_page)

    def info(self, shown: Sequence[object], total: int) -> PageInfo:
        return PageInfo(self.page, self.per_page, len(shown), total)
