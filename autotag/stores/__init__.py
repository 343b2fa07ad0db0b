"""The store of tags. `open_store` returns the store that the settings name: embedded (SQLite), or HBase."""

from __future__ import annotations

from autotag.settings import Settings
from autotag.stores.photo_store import PhotoStore
from autotag.stores.tables import Tables

__all__ = ["PhotoStore", "open_store", "open_tables"]


def open_store(settings: Settings) -> PhotoStore:
    """Return the store that `autotag.store` names; it connects when first used."""
    return PhotoStore(open_tables(settings))


def open_tables(settings: Settings) -> Tables:
    """Return the database that `autotag.store` names; it connects when first used."""
    if settings.store_address is None:
        from autotag.stores.sqlite_tables import SqliteTables

        return SqliteTables(settings.path(settings.store.removeprefix("sqlite:")))
    from autotag.stores.hbase_tables import HBaseTables

    return HBaseTables(*settings.store_address, settings.store_hbase_timeout_s)
