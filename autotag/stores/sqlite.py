"""The embedded store: one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from autotag import results
from autotag.errors import StoreError
from autotag.events import now_us
from autotag.results import Deleted, Rejected, Result, Tagged
from autotag.sqlite import Database
from autotag.stores import FoundPhoto, Page, StoredPhoto, StoreStatus
from models.bundle import Tag

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE photos (
    photo_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    uri TEXT NOT NULL,
    content_us INTEGER NOT NULL,
    kind TEXT NOT NULL,                       -- Tagged, Rejected, Deleted
    reason TEXT,                              -- Rejected: why
    rank TEXT NOT NULL,                       -- Result.rank as JSON
    result TEXT NOT NULL,                     -- results.to_dict as JSON
    stored_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX photos_kind ON photos (kind, reason);
CREATE TABLE names (                          -- what tags are called, by each of their models
    tag_id TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (name, tag_id)
) WITHOUT ROWID;
CREATE TABLE tags (                           -- of photos of kind Tagged, for searching; photos.result has the truth
    photo_id TEXT NOT NULL,
    tag_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    content_us INTEGER NOT NULL,
    PRIMARY KEY (photo_id, tag_id)
) WITHOUT ROWID;
CREATE INDEX tags_by_id ON tags (tag_id, content_us, photo_id);
CREATE INDEX tags_by_owner ON tags (owner, tag_id, content_us, photo_id);
"""


class SqliteStore:
    """A PhotoStore in one file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, SCHEMA_VERSION, StoreError)

    def write(self, results: Sequence[Result]) -> None:
        with self._database.transaction(durable=True) as db:
            for result in results:
                self._write(db, result)

    def _write(self, db: sqlite3.Connection, result: Result) -> None:
        found = db.execute("SELECT rank, result FROM photos WHERE photo_id = ?", (result.photo_id,)).fetchone()
        text = json.dumps(results.to_dict(result), ensure_ascii=False, sort_keys=True)
        # The text breaks a tie, so that two writers' equal ranks end the same in either order.
        if found and (tuple(json.loads(found["rank"])), found["result"]) >= (result.rank, text):
            return
        db.execute(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                result.photo_id,
                result.owner,
                result.uri,
                result.content_us,
                type(result).__name__,
                result.reason if isinstance(result, Rejected) else None,
                json.dumps(result.rank),
                text,
                now_us(),
            ),
        )
        db.execute("DELETE FROM tags WHERE photo_id = ?", (result.photo_id,))
        if isinstance(result, Tagged):
            db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", [(tag.id, tag.name) for tag in result.tags])
            db.executemany(
                "INSERT INTO tags VALUES (?, ?, ?, ?)",
                [(result.photo_id, tag.id, result.owner, result.content_us) for tag in result.tags],
            )

    def get(self, photo_id: str) -> StoredPhoto | None:
        rows = self._database.rows(
            "SELECT result, stored_us FROM photos WHERE photo_id = ? AND kind <> ?", (photo_id, Deleted.__name__)
        )
        for row in rows:
            result = results.from_dict(json.loads(row["result"]))
            if isinstance(result, (Tagged, Rejected)):
                return StoredPhoto(result, row["stored_us"])
        return None

    def search(self, tag: str, owner: str | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        after = None if cursor is None else _read_cursor(cursor)
        found = self._database.rows("SELECT tag_id FROM names WHERE tag_id = ? OR name = ?", (tag, tag))
        if not found:
            return Page((), None)
        # A name is one tag's, unless two models called two tags so: the first of them then.
        tag_id = min(row["tag_id"] for row in found)
        conditions = ["tags.tag_id = ?"]
        values: list[str | int] = [tag_id]
        if owner is not None:
            conditions.append("tags.owner = ?")
            values.append(owner)
        if after is not None:
            conditions.append("(tags.content_us, tags.photo_id) < (?, ?)")
            values.extend(after)
        rows = self._database.rows(
            "SELECT photos.result FROM tags JOIN photos USING (photo_id)"  # noqa: S608 - fixed conditions
            f" WHERE {' AND '.join(conditions)}"
            " ORDER BY tags.content_us DESC, tags.photo_id DESC LIMIT ?",
            (*values, limit + 1),
        )
        photos = tuple(_found(row["result"], tag_id) for row in rows[:limit])
        more = len(rows) > limit and bool(photos)
        return Page(photos, json.dumps([photos[-1].content_us, photos[-1].photo_id]) if more else None)

    def status(self) -> StoreStatus:
        rows = self._database.rows(
            "SELECT kind, reason, count(*) AS photos FROM photos WHERE kind <> ? GROUP BY kind, reason",
            (Deleted.__name__,),
        )
        return StoreStatus(
            tagged=sum(row["photos"] for row in rows if row["reason"] is None),
            rejected={row["reason"]: row["photos"] for row in rows if row["reason"] is not None},
        )

    def close(self) -> None:
        self._database.close()


def _found(text: str, tag_id: str) -> FoundPhoto:
    photo = json.loads(text)
    tag = next(tag for tag in photo["tags"] if tag["id"] == tag_id)
    return FoundPhoto(photo["photo_id"], photo["owner"], photo["uri"], photo["content_us"], Tag(**tag))


def _read_cursor(cursor: str) -> tuple[int, str]:
    try:
        content_us, photo_id = json.loads(cursor)
        return int(content_us), str(photo_id)
    except (ValueError, TypeError) as error:
        raise StoreError(f"the cursor was not given by a search. Given: {cursor!r}") from error
