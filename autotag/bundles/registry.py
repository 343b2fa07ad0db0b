"""ModelRegistry: which models are known, which is current, and which worker has which. The only file that knows kazoo.

Nodes below the path in `Settings.registry`, each with a JSON object:

    known/<NNNNNN-version12>     name, version, sequence, classes, location, published_by, published_us; never changed
    current                      model (the name of a known one), by, since_us, before; empty where nobody has published
    workers/<topology>/<task>    host, pid, model, since_us, refused; ephemeral: gone with its worker
"""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from kazoo.client import KazooClient, KazooState  # type: ignore[import-untyped]  # it ships none
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError  # type: ignore[import-untyped]
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped]
from kazoo.hosts import collect_hosts  # type: ignore[import-untyped]

from autotag.errors import RegistryError
from autotag.settings import Settings
from autotag.view.results import ModelVersion

CONNECT_S = 2.0
"""How long a command looks for a server that answers."""
ANSWER_S = 5.0
"""For one answer."""
WORKER_SESSION_S = 10.0
"""After which ZooKeeper takes a worker that is not heard for gone."""
RETRY_S = 2.0
"""Between two attempts to connect, at most."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A published model. Times are microseconds since 1970."""

    name: str
    version: str
    sequence: int
    classes: int
    """How many it has."""
    location: str
    """URL of the bundle's folder."""
    published_by: str
    published_us: int

    @property
    def model(self) -> ModelVersion:
        """The model's version, as results and the store name it."""
        return ModelVersion(self.name, self.version, self.sequence)

    @property
    def folder(self) -> str:
        """The name of the bundle's folder, and of the node."""
        return self.model.folder


@dataclass(frozen=True, kw_only=True)
class Current:
    """Return the current model, by the name of its folder; None if none was ever published."""

    model: str | None = None
    by: str = ""
    since_us: int = 0
    before: str | None = None
    """The one that was current before."""
    revision: int = 0
    """Counts the changes."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A current model that a worker does not use, by the name of its folder, and why."""

    model: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A bolt's process and the model that it has, by the name of its folder."""

    topology: str
    task: int
    host: str
    pid: int
    model: str
    since_us: int
    refused: Refusal | None = None


class ModelRegistry:
    """The registry that `Settings.registry` names; `connect` comes first. Safe for many threads; a context manager.

    Args:
        session_s: for how long it may be silent and is still there. One that must answer soon has a short one.

    Raises:
        RegistryError: from every method: no answer, or one that is no JSON of ours.
    """

    def __init__(self, settings: Settings, session_s: float = CONNECT_S) -> None:
        self.address = settings.model_registry
        self._hosts, self._root = settings.model_registry_address
        logger = logging.getLogger(f"{__name__}.connection")
        logger.setLevel(logging.ERROR)  # kazoo warns at each attempt; whoever uses this class says it once
        retry = {"max_tries": -1, "max_delay": RETRY_S}
        self._client = KazooClient(self._hosts, timeout=session_s, connection_retry=retry, logger=logger)

    def connect(self) -> ModelRegistry:
        """Connect within `CONNECT_S`, for a command. Returns this object."""
        until = time.monotonic() + CONNECT_S
        try:
            self._reach(until)
            self._client.start(max(until - time.monotonic(), 0.1))
        except (OSError, KazooTimeoutError) as error:
            self._client.close()
            raise RegistryError(
                f"{self.address}: no ZooKeeper answers: {error}; start it (the local cluster's: autotag cluster up), "
                "or name another with autotag.model.registry"
            ) from error
        return self

    def _reach(self, until: float) -> None:
        """Raise OSError at once where nobody listens: kazoo would wait for somebody to come."""
        hosts, _ = collect_hosts(self._hosts)
        for last, (host, port) in enumerate(hosts, 1 - len(hosts)):
            try:
                with socket.create_connection((host, port), max(until - time.monotonic(), 0.1)):
                    return
            except OSError:
                if not last:
                    raise

    def keep_connected(self, changed: Callable[[object], None]) -> None:
        """Connect in the background, for a worker, again and again; `changed` is called whenever that has succeeded.

        It is given what ZooKeeper's client tells of it.
        """
        self._client.add_listener(lambda state: changed(state) if state == KazooState.CONNECTED else None)
        if self._client.start_async().is_set():
            changed(KazooState.CONNECTED)

    @property
    def connected(self) -> bool:
        """True if a connection to a server is open."""
        return bool(self._client.connected)

    def close(self) -> None:
        """End the session: what it has announced is gone."""
        self._client.stop()
        self._client.close()

    def current(self, changed: Callable[[object], None] | None = None) -> Current:
        """Return the current model. `changed` is called once: when it changes, or the connection is lost.

        It is given what has happened. Equal ones that wait are called as one: who asks often gives the same each time.
        """
        with self._answering("current"):
            if changed:
                self._prepare()  # only what is there can be watched
            try:
                data, stat = self._client.get_async(f"{self._root}/current", changed).get(timeout=ANSWER_S)
            except NoNodeError:
                return Current()
            return Current(**_object(data), revision=stat.version) if data else Current(revision=stat.version)

    def known(self) -> list[KnownModel]:
        """All models that were ever published, the newest last."""
        with self._answering("known"):
            return sorted((self._known(name) for name in self._children("known")), key=lambda known: known.sequence)

    def known_model(self, name: str) -> KnownModel:
        """The known model whose folder is called so."""
        with self._answering(f"known/{name}"):
            return self._known(name)

    def change(self, seen: Current, model: str, by: str, new: Iterable[KnownModel] = ()) -> bool:
        """Make a model current, and `new` ones known, at one moment.

        Returns False, and nothing was changed, where another was faster: what was `seen` is not current any more.
        """
        value = {"model": model, "by": by, "since_us": time.time_ns() // 1000, "before": seen.model}
        with self._answering("current"):
            self._prepare()
            transaction = self._client.transaction()
            for known in new:
                transaction.create(f"{self._root}/known/{known.folder}", _json(dataclasses.asdict(known)))
            transaction.set_data(f"{self._root}/current", _json(value), seen.revision)
            results = transaction.commit_async().get(timeout=ANSWER_S)
            failed = [result for result in results if isinstance(result, Exception)]
            if any(isinstance(result, (BadVersionError, NodeExistsError)) for result in failed):
                return False
            if failed:
                raise failed[0]
            return True

    def announce(self, worker: Worker) -> None:
        """Say which model a worker has; it stays until the worker's session ends, or it says something else."""
        node = f"{self._root}/workers/{worker.topology}/{worker.task}"
        value = _json({name: value for name, value in dataclasses.asdict(worker).items() if name not in _IN_PATH})
        with self._answering("workers"):
            stat = self._client.exists_async(node).get(timeout=ANSWER_S)
            if stat and self._client.client_id and stat.owner_session_id == self._client.client_id[0]:
                self._client.set_async(node, value).get(timeout=ANSWER_S)
                return
            if stat:  # of a process that ran the same task before and is not given up yet
                self._client.delete_async(node).get(timeout=ANSWER_S)
            self._client.create_async(node, value, ephemeral=True, makepath=True).get(timeout=ANSWER_S)

    def workers(self) -> list[Worker]:
        """The workers that are there now; one that was killed stays for `WORKER_SESSION_S`."""
        found = []
        with self._answering("workers"):
            for topology in self._children("workers"):
                for task in self._children(f"workers/{topology}"):
                    if value := self._read(f"workers/{topology}/{task}"):
                        refused = Refusal(**value.pop("refused")) if value["refused"] else value.pop("refused")
                        found.append(Worker(topology=topology, task=int(task), refused=refused, **value))
        return sorted(found, key=lambda worker: (worker.topology, worker.task))

    def _prepare(self) -> None:
        for name in ("known", "workers"):
            self._client.ensure_path_async(f"{self._root}/{name}").get(timeout=ANSWER_S)
        if not self._client.exists_async(f"{self._root}/current").get(timeout=ANSWER_S):
            try:
                self._client.create_async(f"{self._root}/current").get(timeout=ANSWER_S)
            except NodeExistsError:
                return  # another was faster

    def _children(self, name: str) -> list[str]:
        try:
            return sorted(self._client.get_children_async(f"{self._root}/{name}").get(timeout=ANSWER_S))
        except NoNodeError:
            return []

    def _read(self, name: str) -> dict[str, Any]:
        """A node's object; empty where there is none."""
        try:
            data, _ = self._client.get_async(f"{self._root}/{name}").get(timeout=ANSWER_S)
        except NoNodeError:
            return {}
        return _object(data)

    def _known(self, name: str) -> KnownModel:
        known = KnownModel(**self._read(f"known/{name}"))
        if known.folder != name:
            raise ValueError(f"it is of the model {known.folder}")
        return known

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        where = f"{self.address}/{what}"
        if not self.connected:  # kazoo would keep the question until somebody comes
            raise RegistryError(f"{where}: no ZooKeeper answers")
        try:
            yield
        except (KazooException, KazooTimeoutError) as error:
            why = f"{type(error).__name__} {error}".strip()
            raise RegistryError(f"{where}: ZooKeeper is away or refuses ({why}); ask again") from error
        except (ValueError, TypeError, KeyError) as error:
            raise RegistryError(f"{where}: holds what autotag did not write: {error!r}") from error

    def __enter__(self) -> ModelRegistry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_IN_PATH = ("topology", "task")


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"no JSON object: {value!r:.100}")
    return value
