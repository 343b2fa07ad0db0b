"""OwnerIndex: the entries of table ``owners`` that writes about a photo need."""

from __future__ import annotations

from collections.abc import Iterable

from autotag.stores import layout
from autotag.stores.tables import Cell, CellKey
from autotag.view.decisions import Action, Decision
from autotag.view.merge import Write
from autotag.view.results import Rejected, Tagged


class OwnerIndex:
    """Computes entries. They follow from the writes alone, so whichever process removes a write knows its entries.

    Args:
        all_owners: True adds an index over the photos of all owners.
    """

    def __init__(self, *, all_owners: bool) -> None:
        self._all_owners = all_owners

    def cells(self, write: Write, decisions: Iterable[Decision] = ()) -> list[Cell]:
        """Return the entries that one result needs, and those of people's additions among `decisions` about its photo.

        Deletions and decisions by themselves need none.
        """
        if not isinstance(write, Tagged | Rejected):
            return []
        photo = layout.photo_row(write.photo_id)
        position = layout.position(write.content_us, photo)
        owner = layout.owner_part(write.owner)
        cells = [Cell(layout.member_row(owner, photo), layout.ENTRY, b"")]
        for prefix in (owner, layout.ALL_OWNERS) if self._all_owners else (owner,):
            if isinstance(write, Tagged):
                column = layout.entry_column(write.run)
                cells += [Cell(layout.entry_row(prefix, tag.id, position), column, b"") for tag in write.tags]
            cells += [
                Cell(layout.entry_row(prefix, tag_id, position), layout.ENTRY, b"")
                for decision in decisions
                if decision.action is Action.ADD
                for tag_id in (decision.tag_id, *decision.implied)
            ]
        return cells

    def entries(self, writes: Iterable[Write]) -> set[CellKey]:
        """Return all entries that these writes about one photo need."""
        writes = list(writes)
        decisions = [write for write in writes if isinstance(write, Decision)]
        return {(cell.row, cell.column) for write in writes for cell in self.cells(write, decisions)}
