"""PhotoStore: everything that is known about photos, and the one view of it that readers get."""

from __future__ import annotations

from autotag.stores.reading import StoreReader
from autotag.stores.writing import StoreWriter


class PhotoStore(StoreReader, StoreWriter):
    """The store of tags over any `Tables`; safe for many processes, and for the threads of each.

    Reads are in reading.py, writes in writing.py, cleaning and erasing in cleanup.py; `runs` has the bulk runs and the
    models. Every method raises StoreError when the store cannot be reached. The call may then have been carried out in
    part; repeat it: any order, repetition or delay of the same writes ends in the same view.
    """
