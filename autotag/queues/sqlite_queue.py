"""The embedded queue: one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from autotag.errors import QueueError
from autotag.events import PhotoEvent
from autotag.events.times import now_us
from autotag.queues import DeadLetter, ErasedEvents, Lease, QueueStatus
from autotag.queues.retry import RetryPolicy, Verdict
from autotag.settings import Settings
from autotag.storage.sqlite_file import Database

SCHEMA_VERSION = 3
SCHEMA = """
CREATE TABLE events (
    key TEXT PRIMARY KEY,
    event TEXT NOT NULL,                      -- CloudEvents JSON
    state TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'leased', 'done', 'dead')),
    due_us INTEGER NOT NULL,                  -- ready: not before; leased: until; done, dead: since
    queued_us INTEGER NOT NULL,
    holder TEXT,                              -- leased: by whom
    attempts INTEGER NOT NULL DEFAULT 0,
    outages INTEGER NOT NULL DEFAULT 0,       -- failures that used no attempt; they lengthen the back-off
    suspect INTEGER NOT NULL DEFAULT 0,       -- its last lease ended without a verdict
    reason TEXT,                              -- of the last failure
    detail TEXT,
    has_verdict INTEGER NOT NULL DEFAULT 0,   -- on the present lease; the fail follows
    uses_attempt INTEGER NOT NULL DEFAULT 1,  -- the verdict's
    wait_s REAL NOT NULL DEFAULT 0            -- the verdict's: seconds until the next attempt
);
CREATE INDEX events_due ON events (state, suspect, due_us);
CREATE INDEX events_queued ON events (queued_us) WHERE state IN ('ready', 'leased');
"""
_PURGE_EVERY_US = 60_000_000
_MAX_DETAIL = 1000


class SqliteQueue:
    """An EventQueue in one file.

    `enqueue` survives a power failure; a lease, ack or fail that a power failure undoes is only repeated.

    Args:
        path: the file, created when missing.
        settings: attempts, back-offs, the duration of a lease, and how long the keys of finished events are kept.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._settings = settings
        self._retry = RetryPolicy(settings)
        self._database = Database(path, SCHEMA, SCHEMA_VERSION, QueueError)
        self._purged_us = now_us()

    def enqueue(self, events: Sequence[PhotoEvent]) -> list[bool]:
        now = now_us()
        with self._database.transaction(durable=True) as db:
            return [
                db.execute(
                    "INSERT OR IGNORE INTO events (key, event, due_us, queued_us) VALUES (?, ?, ?, ?)",
                    (event.key, json.dumps(event.to_dict(), ensure_ascii=False), now, now),
                ).rowcount
                == 1
                for event in events
            ]

    def lease(self, count: int, holder: str) -> list[Lease]:
        now = now_us()
        # Without the file's one write lock: an idle spout polls a hundred times a second.
        if not self._database.rows(
            "SELECT 1 FROM events WHERE due_us <= ? AND (state = 'leased' AND suspect IN (0, 1)"
            " OR state = 'ready' AND suspect = 0"
            " OR state = 'ready' AND suspect = 1"
            " AND NOT EXISTS (SELECT 1 FROM events WHERE state = 'leased' AND suspect = 1)) LIMIT 1",
            (now,),
        ):
            return []
        with self._database.transaction(durable=False) as db:
            self._end_leases(db, "due_us <= ?", (now,), now)
            self._purge(db, now)
            ready = "SELECT key, event, attempts FROM events WHERE state = 'ready' AND suspect = ? AND due_us <= ?"
            rows = db.execute(f"{ready} ORDER BY due_us LIMIT ?", (0, now, count)).fetchall()
            if not db.execute("SELECT 1 FROM events WHERE state = 'leased' AND suspect = 1 LIMIT 1").fetchone():
                rows += db.execute(f"{ready} ORDER BY due_us LIMIT 1", (1, now)).fetchall()
            until = now + int(self._settings.queue_lease_s * 1e6)
            db.executemany(
                "UPDATE events SET state = 'leased', holder = ?, due_us = ?, attempts = attempts + 1, has_verdict = 0,"
                " uses_attempt = 1, wait_s = 0 WHERE key = ?",
                [(holder, until, row["key"]) for row in rows],
            )
        return [Lease(row["key"], _event(row["event"]), row["attempts"] + 1) for row in rows]

    def ack(self, keys: Sequence[str], holder: str) -> None:
        with self._database.transaction(durable=False) as db:
            db.executemany(
                "UPDATE events SET state = 'done', due_us = ?, holder = NULL WHERE key = ? AND state = 'leased'"
                " AND holder = ?",
                [(now_us(), key, holder) for key in keys],
            )

    def record_verdict(self, key: str, verdict: Verdict) -> None:
        with self._database.transaction(durable=False) as db:
            db.execute(
                "UPDATE events SET has_verdict = 1, reason = ?, detail = ?, uses_attempt = ?, wait_s = ?"
                " WHERE key = ? AND state = 'leased'",
                (verdict.reason, verdict.detail[:_MAX_DETAIL], verdict.uses_attempt, verdict.wait_s, key),
            )

    def fail(self, keys: Sequence[str], holder: str) -> None:
        now = now_us()
        with self._database.transaction(durable=False) as db:
            for key in keys:
                self._end_leases(db, "key = ? AND holder = ?", (key, holder), now)

    def release(self, holder: str) -> int:
        with self._database.transaction(durable=False) as db:
            return self._end_leases(db, "holder = ?", (holder,), now_us())

    def _end_leases(self, db: sqlite3.Connection, where: str, values: Sequence[object], now: int) -> int:
        """End the leases that match: with the recorded verdict, else as lost. Return their number."""
        rows = db.execute(f"SELECT * FROM events WHERE state = 'leased' AND {where}", values).fetchall()  # noqa: S608
        for row in rows:
            verdict = None
            if row["has_verdict"]:
                verdict = Verdict(row["reason"], row["detail"], bool(row["uses_attempt"]), row["wait_s"])
            after = self._retry.after(row["attempts"], row["outages"], verdict)
            db.execute(
                "UPDATE events SET state = ?, due_us = ?, holder = NULL, attempts = ?, outages = ?, suspect = ?,"
                " reason = ?, detail = ? WHERE key = ?",
                (
                    "dead" if after.is_dead else "ready",
                    now + int(after.wait_s * 1e6),
                    after.attempts,
                    after.outages,
                    after.is_suspect,
                    after.reason,
                    after.detail,
                    row["key"],
                ),
            )
        return len(rows)

    def _purge(self, db: sqlite3.Connection, now: int) -> None:
        if now - self._purged_us > _PURGE_EVERY_US:
            self._purged_us = now
            oldest = now - int(self._settings.queue_keep_done_s * 1e6)
            db.execute("DELETE FROM events WHERE state = 'done' AND suspect IN (0, 1) AND due_us < ?", (oldest,))

    def dead_letters(self) -> list[DeadLetter]:
        rows = self._database.rows("SELECT * FROM events WHERE state = 'dead' ORDER BY due_us DESC")
        return [
            DeadLetter(row["key"], _event(row["event"]), row["attempts"], row["reason"], row["detail"], row["due_us"])
            for row in rows
        ]

    def replay(self, keys: Sequence[str] | None = None) -> int:
        sql = "UPDATE events SET state = 'ready', due_us = ?, attempts = 0, outages = 0 WHERE state = 'dead'"
        return self._change_dead_letters(sql, (now_us(),), keys)

    def drop(self, keys: Sequence[str] | None = None) -> int:
        return self._change_dead_letters("DELETE FROM events WHERE state = 'dead'", (), keys)

    def _change_dead_letters(self, sql: str, values: tuple[object, ...], keys: Sequence[str] | None) -> int:
        with self._database.transaction(durable=True) as db:
            if keys is None:
                return db.execute(sql, values).rowcount
            return sum(db.execute(f"{sql} AND key = ?", (*values, key)).rowcount for key in keys)

    def erase(self, photo_id: str | None = None, owner: str | None = None) -> ErasedEvents:
        if (photo_id is None) == (owner is None):
            raise ValueError(f"give a photo or an owner, one of the two. Given: {photo_id!r}, {owner!r}")
        path, value = ("$.subject", photo_id or "") if owner is None else ("$.data.owner", owner)
        # As bytes: a name from the command line may be no text. And without the file's one write lock: every event is
        # read, and finished events are many.
        wanted = (path, value.encode("utf-8", "surrogatepass"))
        found = self._database.rows("SELECT key FROM events WHERE json_extract(event, ?) = CAST(? AS TEXT)", wanted)
        keys = [(row["key"],) for row in found]
        with self._database.transaction(durable=True) as db:
            # The rest is still JSON, as the query above needs.
            db.executemany(
                "UPDATE events SET event = '{}', reason = NULL, detail = NULL WHERE key = ? AND state = 'done'", keys
            )
            removed = db.executemany(
                "DELETE FROM events WHERE key = ? AND (state IN ('ready', 'dead') OR state = 'leased' AND due_us <= ?)",
                [(*key, now_us()) for key in keys],
            ).rowcount
            leased = "SELECT 1 FROM events WHERE key = ? AND state = 'leased'"
            in_flight = sum(db.execute(leased, key).fetchone() is not None for key in keys)
        return ErasedEvents(removed, in_flight)

    def status(self) -> QueueStatus:
        now = now_us()
        row = self._database.rows(
            "SELECT count(*) FILTER (WHERE state = 'ready' AND due_us <= :now) AS ready,"
            " count(*) FILTER (WHERE state = 'ready' AND due_us > :now) AS waiting,"
            " count(*) FILTER (WHERE state = 'leased') AS in_flight,"
            " count(*) FILTER (WHERE state = 'dead') AS dead,"
            " min(queued_us) FILTER (WHERE state IN ('ready', 'leased')) AS oldest_us"
            " FROM events WHERE state <> 'done'",
            {"now": now},
        )[0]
        oldest_s = max(0.0, (now - row["oldest_us"]) / 1e6) if row["oldest_us"] else 0.0
        failed = self._database.rows(
            "SELECT reason, count(*) AS events FROM events WHERE state = 'ready' AND reason IS NOT NULL GROUP BY reason"
        )
        retries = {one["reason"]: one["events"] for one in failed}
        return QueueStatus(row["ready"], row["waiting"], row["in_flight"], row["dead"], oldest_s, retries)

    def close(self) -> None:
        self._database.close()


def _event(text: str) -> PhotoEvent:
    return PhotoEvent.from_dict(json.loads(text), accepted=True)
