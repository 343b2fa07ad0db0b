"""Settings: what config.json's environments, ``-o`` and the topology's configuration say under ``autotag.*``."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from autotag.errors import SettingsError

PREFIX = "autotag."
PROJECT = Path(__file__).resolve().parent.parent
"""The project's folder when run from a checkout; on a Storm worker, where the code lies in a jar, ``autotag.home``."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting, checked. Field ``photo_max_bytes`` is the key ``autotag.photo.max.bytes``.

    Relative paths are relative to `home`. Build it at the edge with `from_config` or `from_storm` and pass it in.

    Raises:
        SettingsError: an unknown key (with the nearest known one), a value of the wrong type or out of bounds.
    """

    home: str = str(PROJECT)
    """Absolute folder that relative paths start from."""
    queue: str = "sqlite:build/data/queue.db"
    """URL of the queue of photo events."""
    store: str = "sqlite:build/data/store.db"
    """The store of tags: ``sqlite:PATH``, or ``hbase://HOST:PORT/PREFIX`` (see `store_address`)."""
    model: str = "build/bundles/default"
    """Folder of published bundles, of which the current one is used, or of one bundle, which is used for good."""
    model_location: str = ""
    """Where other hosts find what is published in `model`: ``https://HOST/PATH`` or ``file:///PATH``; empty: there."""
    model_registry: str = "zookeeper:127.0.0.1:2181/autotag"
    """The registry of models: ``zookeeper:HOST:PORT,HOST:PORT/PATH`` (see `model_registry_address`)."""
    training: str = "build/training/default"
    """The training set: a folder, or a URL that fsspec knows, such as ``s3://BUCKET/PATH``."""

    photo_roots: tuple[str, ...] = ()
    """Absolute folders below which ``file`` URIs may point; none by default."""
    photo_private_hosts: bool = False
    """Whether http may reach loopback, link-local and private addresses."""
    photo_connect_timeout_s: float = 3.0
    photo_read_timeout_s: float = 5.0
    photo_deadline_s: float = 15.0
    """From the first byte asked for to the last one read, redirects included."""
    photo_decode_timeout_s: float = 10.0
    """For decoding one photo; see also `decoder_wait_s`."""
    photo_max_bytes: int = 32 * 1024 * 1024
    photo_max_pixels: int = 100_000_000
    """Width times height as the header says, before anything is decoded."""

    photo_fetch_threads: int = 8
    """Photos fetched at once by one bolt."""
    photo_decoders: int = 1
    """Decoding child processes of one bolt."""
    upload_parallelism: int = 1
    """Upload spouts of the topology."""
    tagger_parallelism: int = 2
    """Tagger bolts of the topology; each is a process with the network and all classifiers."""
    writer_parallelism: int = 1
    """Writer bolts of the topology."""
    tagger_network_threads: int = 1
    """Inference threads, and BLAS threads, of one bolt."""
    tagger_batch_photos: int = 16
    """Photos scored at once, at most; fewer when fewer wait."""
    writer_batch_results: int = 64
    """Results written to the store at once, at most."""

    store_hbase_timeout_s: float = 10.0
    """For one answer of HBase's Thrift server."""

    queue_attempts: int = 4
    """Times an event is leased before it becomes a dead letter."""
    queue_backoff_s: float = 2.0
    """Wait before the second attempt; four times as long before each one after that, give or take a fifth."""
    queue_backoff_max_s: float = 300.0
    queue_lease_s: float = 600.0
    """How long a leased event stays away if its spout never comes back; longer than `topology.message.timeout.secs`."""
    queue_keep_done_s: float = 7 * 86400.0
    """How long the keys of finished events are kept to recognise the same event sent twice."""

    cluster_home: str = "build/cluster"
    """Folder of the local cluster's data, logs and sockets."""
    cluster_zookeeper_port: int = 2181
    cluster_nimbus_port: int = 6627
    cluster_worker_ports: tuple[int, ...] = (6700, 6701)
    cluster_thrift_port: int = 9090
    """HBase's Thrift server; the cluster runs HBase when `store` is on this port of this machine."""
    cluster_hbase_ports: tuple[int, ...] = (16000, 16020)
    """HBase's master and region server."""

    def __post_init__(self) -> None:
        if not Path(self.home).is_absolute():
            raise SettingsError(f"autotag.home must be an absolute folder. Given: {self.home!r}")
        for root in self.photo_roots:
            if not Path(root).is_absolute():
                raise SettingsError(f"autotag.photo.roots must be absolute folders. Given: {root!r}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                _check_number(field.name, value)
        self._check_cluster_ports()
        _store_address(self.store)
        _registry_address(self.model_registry)
        if self.model_location and not _LOCATION.fullmatch(self.model_location):
            raise SettingsError(
                "autotag.model.location must be an absolute URL, 'https://HOST/PATH', 'http://HOST/PATH' or "
                f"'file:///PATH'. Given: {self.model_location!r}"
            )

    @classmethod
    def from_config(
        cls, environment: str = "local", path: Path | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Settings:
        """The settings of one of config.json's environments, for the command line, Spark and tests.

        Args:
            environment: a key of ``envs``.
            path: the file; by default the project's own.
            overrides: flat ``autotag.*`` keys that stand over the file's, as ``-o`` gives them.
        """
        path = path or PROJECT / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise SettingsError(f"{path}: is not JSON: {error}") from error
        environments = _object(_object(config, str(path)).get("envs", {}), f"{path}: envs")
        if environment not in environments:
            raise SettingsError(f"{path}: no environment {environment!r}; there are {', '.join(environments)}")
        where = f"{path}: envs.{environment}"
        options = _object(_object(environments[environment], where).get("options", {}), f"{where}.options")
        for key in overrides or {}:
            if not key.startswith(PREFIX):
                raise SettingsError(f"-o {key}: our settings begin with {PREFIX!r}; did you mean {PREFIX + key!r}?")
        return cls._from_keys({**options, **(overrides or {})}, f"{path}, environment {environment!r}")

    @classmethod
    def from_storm(cls, conf: Mapping[str, Any]) -> Settings:
        """The settings in the mapping that Storm hands to ``initialize``; keys of other prefixes are Storm's own.

        Raises:
            SettingsError: also when a tuple could time out while it waits for the photos before it.
        """
        settings = cls._from_keys(conf, "the topology's configuration")
        pending, timeout_s = conf.get("topology.max.spout.pending"), conf.get("topology.message.timeout.secs")
        if pending and timeout_s:
            settings.check_message_timeout(int(pending), float(timeout_s))
        return settings

    @classmethod
    def _from_keys(cls, mapping: Mapping[str, Any], where: str) -> Settings:
        types = get_type_hints(cls)
        fields = {PREFIX + name.replace("_", "."): name for name in types}
        values = {}
        for key, value in mapping.items():
            if PREFIX + key in fields:
                raise SettingsError(f"{where}: unknown setting {key!r}; did you mean {PREFIX + key!r}?")
            if not key.startswith(PREFIX):
                continue
            if key not in fields:
                nearest = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)[0]
                raise SettingsError(f"{where}: unknown setting {key!r}; did you mean {nearest!r}?")
            if value == "" == getattr(cls, fields[key]):
                continue  # said to be left out
            values[fields[key]] = _converted(key, value, types[fields[key]], where)
        return cls(**values)

    @property
    def store_address(self) -> tuple[str, int, str] | None:
        """Host and port of HBase's Thrift server and the prefix of our tables there; None for the embedded store.

        The prefix is letters, digits and ``_``, maybe after a namespace: ``autotag``, ``photos:``, ``photos:autotag``.
        """
        return _store_address(self.store)

    @property
    def model_registry_address(self) -> tuple[str, str]:
        """The ZooKeeper servers, ``HOST:PORT,HOST:PORT``, and the path of our nodes there, ``/autotag``."""
        return _registry_address(self.model_registry)

    def path(self, value: str) -> Path:
        """`value` as a path; relative ones start at `home`."""
        return Path(self.home, Path(value).expanduser())

    @property
    def decoder_wait_s(self) -> float:
        """How long a photo waits for a free decoder, at most: two photos that hang there do no harm to a third."""
        return 3 * self.photo_decode_timeout_s

    def _check_cluster_ports(self) -> None:
        for name in ("cluster_worker_ports", "cluster_hbase_ports"):
            for port in getattr(self, name):
                _check_number(name, port)
        if len(self.cluster_hbase_ports) != 2:
            raise SettingsError(
                "autotag.cluster.hbase.ports must be two, the master's and the region server's. "
                f"Given: {list(self.cluster_hbase_ports)!r}"
            )
        nimbus = self.cluster_nimbus_port
        ports = [self.cluster_zookeeper_port, nimbus, nimbus + 1, *self.cluster_worker_ports]
        ports += [self.cluster_thrift_port, *self.cluster_hbase_ports]
        if len(set(ports)) < len(ports) or not self.cluster_worker_ports:
            raise SettingsError(
                "autotag.cluster.*.port: the ports must be there and differ, the one after Nimbus's too (it is the "
                f"Supervisor's). Given: {ports!r}"
            )

    def check_message_timeout(self, pending: int, timeout_s: float) -> None:
        """Refuse settings under which Storm would time out a tuple that only waits its turn.

        The worst case: one bolt has all photos in flight (the spout may overshoot by one lease),
        `photo_fetch_threads` of them at a time, and each takes its whole deadline, waits as long as allowed for a
        decoder, and then in it.
        """
        photo_s = self.photo_deadline_s + self.decoder_wait_s + self.photo_decode_timeout_s
        worst_s = math.ceil((pending + self.tagger_batch_photos) / self.photo_fetch_threads) * photo_s
        if worst_s > timeout_s:
            raise SettingsError(
                f"topology.message.timeout.secs must be at least {worst_s:.0f}: {pending} photos in flight "
                f"(topology.max.spout.pending) and a lease of autotag.tagger.batch.photos more, "
                f"autotag.photo.fetch.threads ({self.photo_fetch_threads}) at a time, each for "
                f"autotag.photo.deadline.s + 4 x autotag.photo.decode.timeout.s. Given: {timeout_s:.0f}"
            )
        if self.queue_lease_s <= timeout_s:
            raise SettingsError(
                f"autotag.queue.lease.s must be longer than topology.message.timeout.secs ({timeout_s:.0f}), "
                f"or an event would be leased twice at once. Given: {self.queue_lease_s:.0f}"
            )


_HBASE = re.compile(r"hbase://(?P<host>\[[\da-fA-F:.]+\]|[\w.-]+):(?P<port>\d{1,5})/(?P<prefix>\w+|\w+:\w*)", re.ASCII)
_STORES = {
    "sqlite": "'sqlite:PATH'",
    "hbase": "'hbase://HOST:PORT/PREFIX', with the port of HBase's Thrift server and, for the names of our tables, "
    "a prefix of letters, digits and '_', or a namespace as 'NAME:' or 'NAME:PREFIX'",
}


def _store_address(url: str) -> tuple[str, int, str] | None:
    """What `Settings.store_address` says of `url`.

    Raises:
        SettingsError: it has no form that we know.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest:
        return None
    if (found := _HBASE.fullmatch(url)) and 0 < int(found["port"]) < 65536:
        return found["host"].strip("[]"), int(found["port"]), found["prefix"]
    wanted = _STORES.get(scheme, "'sqlite:PATH' or 'hbase://HOST:PORT/PREFIX'")
    raise SettingsError(f"autotag.store must be {wanted}. Given: {url!r}")


_HOST = r"(?:\[[\da-fA-F:.]+\]|[\w.-]+):\d{1,5}"
_ZOOKEEPER = re.compile(rf"zookeeper:(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<path>(?:/\w[\w.-]*)+)", re.ASCII)
_LOCATION = re.compile(r"https?://[^/?#\s]+(?:/[^?#\s]*)?|file:(?://)?/[^?#\s]*")


def _registry_address(url: str) -> tuple[str, str]:
    """What `Settings.model_registry_address` says of `url`.

    Raises:
        SettingsError: it has no form that we know.
    """
    found = _ZOOKEEPER.fullmatch(url)
    if not found or not all(0 < int(host.rpartition(":")[2]) < 65536 for host in found["hosts"].split(",")):
        raise SettingsError(
            "autotag.model.registry must be 'zookeeper:HOST:PORT/PATH', with several HOST:PORT separated by commas. "
            f"Given: {url!r}"
        )
    return found["hosts"], found["path"]


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{where} must be a JSON object. Given: {value!r}")
    return value


def _check_number(name: str, value: float) -> None:
    key = PREFIX + name.replace("_", ".")
    if not math.isfinite(value) or value <= 0:
        raise SettingsError(f"{key} must be more than 0. Given: {value!r}")
    if "port" in name and not 1024 <= value <= 65535:
        raise SettingsError(f"{key} must be a port from 1024 to 65535. Given: {value!r}")


def _converted(key: str, value: Any, wanted: Any, where: str) -> Any:
    """`value` as the field's type; text from ``-o`` is read as what the field wants."""
    if wanted in (tuple[str, ...], tuple[int, ...]):
        items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
        if isinstance(items, (list, tuple)):
            return tuple(_converted(key, item, str if wanted == tuple[str, ...] else int, where) for item in items)
    elif wanted is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    elif wanted is str:
        if isinstance(value, str) and value:
            return value
    elif not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if wanted is float and not math.isnan(number):
            return number
        if number.is_integer():
            return int(number)
    name = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}.get(wanted, "a list")
    raise SettingsError(f"{where}: {key} must be {name}. Given: {value!r}")
