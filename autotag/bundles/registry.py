"""ModelRegistry: the published models, the current one, and the model that each worker uses. Only this file uses kazoo.

Nodes below the path in `Settings.model_registry`, each with a JSON object:

    published/<NNNNNN-version12>    name, version, sequence, classes, location, published_by, published_us; immutable
    current                         model (a name below published), by, since_us, before; empty before the first one
    workers/<topology>/<task>       host, pid, model, since_us, refused; ephemeral: removed when its worker ends
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
"""Time-out for a command's connection."""
ANSWER_S = 5.0
"""Time-out for one answer."""
WORKER_SESSION_S = 10.0
"""Session time-out of a worker: ZooKeeper removes its node after this silence."""
RETRY_S = 2.0
"""Longest pause between two attempts to connect."""


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A published model. Times are microseconds since 1970."""

    name: str
    version: str
    sequence: int
    classes: int
    """Number of its classes."""
    location: str
    """URL of the bundle's folder."""
    published_by: str
    published_us: int

    @property
    def model(self) -> ModelVersion:
        """The model's version, as in results and in the store."""
        return ModelVersion(self.name, self.version, self.sequence)

    @property
    def folder(self) -> str:
        """The name of the bundle's folder, and of the node."""
        return self.model.folder


@dataclass(frozen=True, kw_only=True)
class Current:
    """The current model, by the name of its folder; None if none was ever published."""

    model: str | None = None
    by: str = ""
    since_us: int = 0
    before: str | None = None
    """The model that was current before."""
    revision: int = 0
    """Number of the changes so far."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A current model that a worker refuses to use, by the name of its folder, and the reason."""

    model: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A bolt's process and the model that it uses, by the name of its folder."""

    topology: str
    task: int
    host: str
    pid: int
    model: str
    since_us: int
    refused: Refusal | None = None


class ModelRegistry:
    """The registry in `Settings.model_registry`; `connect` comes first. Safe for many threads; a context manager.

    Args:
        session_s: the session time-out, in seconds. A command takes a short one, so that errors come soon.

    Raises:
        RegistryError: from every method: there is no answer, or a node that autotag did not write.
    """

    def __init__(self, settings: Settings, session_s: float = CONNECT_S) -> None:
        self.address = settings.model_registry
        self._hosts, self._root = settings.model_registry_address
        logger = logging.getLogger(f"{__name__}.connection")
        logger.setLevel(logging.ERROR)  # kazoo warns at each attempt; the callers report it once
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
        """Raise OSError at once if no host accepts connections: kazoo would wait for one."""
        hosts, _ = collect_hosts(self._hosts)
        for last, (host, port) in enumerate(hosts, 1 - len(hosts)):
            try:
                with socket.create_connection((host, port), max(until - time.monotonic(), 0.1)):
                    return
            except OSError:
                if not last:
                    raise

    def keep_connected(self, changed: Callable[[object], None]) -> None:
        """Connect in the background, for a worker, and reconnect whenever the connection is lost.

        Args:
            changed: called with kazoo's state after each connection.
        """
        self._client.add_listener(lambda state: changed(state) if state == KazooState.CONNECTED else None)
        if self._client.start_async().is_set():
            changed(KazooState.CONNECTED)

    @property
    def connected(self) -> bool:
        """True if a connection to a server is open."""
        return bool(self._client.connected)

    def close(self) -> None:
        """End the session, which removes what it has announced."""
        self._client.stop()
        self._client.close()

    def current(self, changed: Callable[[object], None] | None = None) -> Current:
        """Return the current model.

        Args:
            changed: called once with kazoo's event, when the model changes or the connection is lost. kazoo merges
                identical watchers, so a caller that polls always passes the same function.
        """
        with self._answering("current"):
            if changed:
                self._prepare()  # only nodes that exist can be watched
            try:
                data, stat = self._client.get_async(f"{self._root}/current", changed).get(timeout=ANSWER_S)
            except NoNodeError:
                return Current()
            return Current(**_object(data), revision=stat.version) if data else Current(revision=stat.version)

    def published(self) -> list[PublishedModel]:
        """Return all models that were ever published, the newest last."""
        with self._answering("published"):
            models = [self._published(name) for name in self._children("published")]
        return sorted(models, key=lambda model: model.sequence)

    def published_model(self, name: str) -> PublishedModel:
        """Return the published model with this folder name; raise RegistryError if there is none."""
        with self._answering(f"published/{name}"):
            return self._published(name)

    def change(self, seen: Current, model: str, by: str, new: Iterable[PublishedModel] = ()) -> bool:
        """Make a model current and add the `new` models, in one transaction.

        Returns:
            False, with nothing changed, if another process was faster: `seen` is not current any more.
        """
        value = {"model": model, "by": by, "since_us": time.time_ns() // 1000, "before": seen.model}
        with self._answering("current"):
            self._prepare()
            transaction = self._client.transaction()
            for published in new:
                transaction.create(f"{self._root}/published/{published.folder}", _json(dataclasses.asdict(published)))
            transaction.set_data(f"{self._root}/current", _json(value), seen.revision)
            results = transaction.commit_async().get(timeout=ANSWER_S)
            failed = [result for result in results if isinstance(result, Exception)]
            if any(isinstance(result, (BadVersionError, NodeExistsError)) for result in failed):
                return False
            if failed:
                raise failed[0]
            return True

    def announce(self, worker: Worker) -> None:
        """Record the model that a worker uses, until the worker's session ends or it is called again."""
        node = f"{self._root}/workers/{worker.topology}/{worker.task}"
        value = _json({name: value for name, value in dataclasses.asdict(worker).items() if name not in _IN_PATH})
        with self._answering("workers"):
            stat = self._client.exists_async(node).get(timeout=ANSWER_S)
            if stat and self._client.client_id and stat.owner_session_id == self._client.client_id[0]:
                self._client.set_async(node, value).get(timeout=ANSWER_S)
                return
            if stat:  # of an earlier process of the same task, whose session has not yet ended
                self._client.delete_async(node).get(timeout=ANSWER_S)
            self._client.create_async(node, value, ephemeral=True, makepath=True).get(timeout=ANSWER_S)

    def workers(self) -> list[Worker]:
        """Return the workers that run now; a killed one stays for `WORKER_SESSION_S`."""
        workers = []
        with self._answering("workers"):
            for topology in self._children("workers"):
                for task in self._children(f"workers/{topology}"):
                    if value := self._read(f"workers/{topology}/{task}"):
                        refused = Refusal(**value.pop("refused")) if value["refused"] else value.pop("refused")
                        workers.append(Worker(topology=topology, task=int(task), refused=refused, **value))
        return sorted(workers, key=lambda worker: (worker.topology, worker.task))

    def _prepare(self) -> None:
        for name in ("published", "workers"):
            self._client.ensure_path_async(f"{self._root}/{name}").get(timeout=ANSWER_S)
        if not self._client.exists_async(f"{self._root}/current").get(timeout=ANSWER_S):
            try:
                self._client.create_async(f"{self._root}/current").get(timeout=ANSWER_S)
            except NodeExistsError:
                return  # another process was faster

    def _children(self, name: str) -> list[str]:
        try:
            return sorted(self._client.get_children_async(f"{self._root}/{name}").get(timeout=ANSWER_S))
        except NoNodeError:
            return []

    def _read(self, name: str) -> dict[str, Any]:
        """Return a node's object; empty if there is no node."""
        try:
            data, _ = self._client.get_async(f"{self._root}/{name}").get(timeout=ANSWER_S)
        except NoNodeError:
            return {}
        return _object(data)

    def _published(self, name: str) -> PublishedModel:
        model = PublishedModel(**self._read(f"published/{name}"))
        if model.folder != name:
            raise ValueError(f"it describes the model {model.folder}")
        return model

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        where = f"{self.address}/{what}"
        if not self.connected:  # kazoo would queue the request until a server accepts
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
