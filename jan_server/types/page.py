"""What the query of a list may ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class PageQuery(Struct, kw_only=True, frozen=True):
    """Part of a list: `limit` items (1 to 100, or -1 for all) after or before an id."""

    limit: (
        Annotated[
            int,
            Meta(
                ge=-1,
                le=100,
                description="1 to 100, or -1 for all.",
                extra_json_schema={"not": {"const": 0}},
            ),
        ]
        | UnsetType
    ) = UNSET
    order: Literal["asc", "desc"] | UnsetType = UNSET
    after: Annotated[str, Meta(description="Continue after this id.")] | UnsetType = UNSET
    before: Annotated[str, Meta(description="End before this id.")] | UnsetType = UNSET

    def asks_for_a_part(self) -> bool:
        """Whether the client pages at all, and so expects a list object."""
        return any(getattr(self, name) is not UNSET for name in self.__struct_fields__)
