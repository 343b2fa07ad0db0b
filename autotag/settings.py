"""The settings: keys ``autotag.*`` of config.json's environments, of ``-o`` and of a topology's configuration.

Top down: the fields with their bounds and meanings, the checks of a whole, then the parsing of single values.
"""

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
from models.names import ENGLISH, vocabulary

PREFIX = "autotag."
PROJECT = Path(__file__).resolve().parent.parent
"""The project's folder. A Storm worker runs code in a jar and uses ``autotag.home`` instead."""


def setting(default: Any, meaning: str, *, unit: str = "", bounds: tuple[int, int] | None = None) -> Any:
    """Return a field of `Settings`; docs/settings.md is written from what it says.

    Args:
        default: the value where nothing is set.
        meaning: what the setting does, in sentences.
        unit: the unit of a number.
        bounds: the lowest and the highest number; without them, every number above 0 is accepted.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, "unit": unit, "bounds": bounds})


PORTS = (1024, 65535)


def key_of(name: str) -> str:
    """Return the key of a field: ``autotag.photo.max.bytes`` for ``photo_max_bytes``."""
    return PREFIX + name.replace("_", ".")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, checked. Field ``photo_max_bytes`` is the key ``autotag.photo.max.bytes``.

    Relative paths start at `home`. Build it at the edge with `from_config` or `from_storm` and pass it in.

    Raises:
        SettingsError: an unknown key (with the nearest one that exists), a value of the wrong type or out of bounds.
    """

    home: str = setting(str(PROJECT), "The absolute folder that relative paths start from.")
    queue: str = setting("sqlite:build/data/queue.db", "The queue of photo events: `sqlite:PATH`.")
    store: str = setting(
        "sqlite:build/data/store.db",
        "The store of tags: `sqlite:PATH`, or `hbase://HOST:PORT/PREFIX` with the port of HBase's Thrift server. The "
        "prefix begins the tables' names: letters, digits and `_`, maybe after a namespace (`photos:`, `photos:x_`).",
    )
    model: str = setting(
        "build/bundles/default",
        "A folder of bundles, of which the current one is used; or the folder of one bundle, which is used for good.",
    )
    model_location: str = setting(
        "",
        "The URL at which other hosts find what is published in `autotag.model`: `https://HOST/PATH` or "
        "`file:///PATH`. Empty: they find it at the same path.",
    )
    model_registry: str = setting(
        "zookeeper:127.0.0.1:2181/autotag",
        "The model registry in ZooKeeper: `zookeeper:HOST:PORT/PATH`, several `HOST:PORT` separated by commas.",
    )
    training: str = setting(
        "build/training/default", "The training set: a folder, or a URL that fsspec reads, such as `s3://BUCKET/PATH`."
    )

    language: str = setting(
        "en", "The code of the language in which commands print tags, such as `de`, where `--lang` does not say."
    )

    photo_roots: tuple[str, ...] = setting(
        (), "Absolute folders below which `file` URIs may point. Without any, `file` URIs are refused."
    )
    photo_private_hosts: bool = setting(
        False, "True allows photos on loopback, link-local and private addresses. False refuses them."
    )
    photo_connect_timeout_s: float = setting(3.0, "Time to connect to a photo's server.", unit="s")
    photo_read_timeout_s: float = setting(5.0, "Longest wait for the next bytes of a photo.", unit="s")
    photo_deadline_s: float = setting(
        15.0, "Time to fetch one photo, from the first request to the last byte, redirects included.", unit="s"
    )
    photo_decode_timeout_s: float = setting(
        10.0, "Time to decode one photo. A photo waits three times as long for a free decoder, at most.", unit="s"
    )
    photo_max_bytes: int = setting(32 * 1024 * 1024, "Largest photo that is fetched.", unit="bytes")
    photo_max_pixels: int = setting(
        100_000_000,
        "Largest photo that is decoded: width times height, as its header says before anything is decoded.",
        unit="pixels",
    )
    photo_fetch_threads: int = setting(8, "Photos that one bolt fetches at once.", unit="threads")
    photo_decoders: int = setting(1, "Decoding child processes of one bolt.", unit="processes")

    upload_parallelism: int = setting(1, "Upload spouts of the topology.", unit="processes")
    tagger_parallelism: int = setting(
        2,
        "Tagger bolts of the topology; each is a process with the network and all classifiers.",
        unit="processes",
    )
    writer_parallelism: int = setting(1, "Writer bolts of the topology.", unit="processes")

    tagger_network_threads: int = setting(1, "Threads of the network, and of BLAS, in one bolt.", unit="threads")
    tagger_batch_photos: int = setting(
        16, "Photos that one bolt scores at once, at most; fewer where fewer wait.", unit="photos"
    )
    writer_batch_results: int = setting(64, "Results written to the store at once, at most.", unit="results")

    store_hbase_timeout_s: float = setting(10.0, "Time for one answer of HBase's Thrift server.", unit="s")

    queue_attempts: int = setting(4, "Attempts at a photo before its event becomes a dead letter.", unit="attempts")
    queue_backoff_s: float = setting(
        2.0,
        "Wait before the second attempt. Before each later one it is four times as long, give or take a fifth.",
        unit="s",
    )
    queue_backoff_max_s: float = setting(300.0, "Longest wait before an attempt.", unit="s")
    queue_lease_s: float = setting(
        600.0,
        "Time after which an event is leased again if its spout never comes back. It must be longer than "
        "`topology.message.timeout.secs`.",
        unit="s",
    )
    queue_keep_done_s: float = setting(
        7 * 86400.0, "Time for which the key of a finished event is kept, to recognise the same event.", unit="s"
    )

    cluster_home: str = setting("build/cluster", "The folder of the local cluster's data, logs and sockets.")
    cluster_zookeeper_port: int = setting(2181, "ZooKeeper's port.", bounds=PORTS)
    cluster_nimbus_port: int = setting(6627, "Nimbus's port; the one after it is the Supervisor's.", bounds=PORTS)
    cluster_worker_ports: tuple[int, ...] = setting(
        (6700, 6701), "A port for each worker process, at least one.", bounds=PORTS
    )
    cluster_thrift_port: int = setting(
        9090,
        "The port of HBase's Thrift server. The cluster runs HBase if `autotag.store` has this port of this host.",
        bounds=PORTS,
    )
    cluster_hbase_ports: tuple[int, ...] = setting(
        (16000, 16020), "The ports of HBase's master and region server.", bounds=PORTS
    )

    def __post_init__(self) -> None:
        if not Path(self.home).is_absolute():
            raise SettingsError(f"autotag.home must be an absolute folder. Given: {self.home!r}")
        for root in self.photo_roots:
            if not Path(root).is_absolute():
                raise SettingsError(f"autotag.photo.roots must be absolute folders. Given: {root!r}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    _check_number(key_of(field.name), number, field.metadata["bounds"])
        if self.language != ENGLISH and self.language not in vocabulary().languages:
            there = ", ".join(vocabulary().languages)
            raise SettingsError(f"autotag.language is no language of tags; there are {there}. Given: {self.language!r}")
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
        """Return the settings of one of config.json's environments, for the command line, Spark and tests.

        Args:
            environment: a key of ``envs``.
            path: the file; by default the project's own.
            overrides: flat ``autotag.*`` keys that replace the file's, as ``-o`` gives them.
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
        """Return the settings in Storm's mapping for ``initialize``; keys of other prefixes are Storm's own.

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
        fields = {key_of(name): name for name in types}
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
                continue  # An empty text leaves the setting out.
            values[fields[key]] = _converted(key, value, types[fields[key]], where)
        return cls(**values)

    @property
    def store_address(self) -> tuple[str, int, str] | None:
        """Host and port of HBase's Thrift server and the prefix of our tables there; None for the embedded store."""
        return _store_address(self.store)

    @property
    def model_registry_address(self) -> tuple[str, str]:
        """The ZooKeeper servers, ``HOST:PORT,HOST:PORT``, and the path of our nodes there, ``/autotag``."""
        return _registry_address(self.model_registry)

    def path(self, value: str) -> Path:
        """Return `value` as a path; a relative one starts at `home`."""
        return Path(self.home, Path(value).expanduser())

    @property
    def decoder_wait_s(self) -> float:
        """Longest wait of a photo for a free decoder: long enough that two photos that hang do not fail a third."""
        return 3 * self.photo_decode_timeout_s

    def _check_cluster_ports(self) -> None:
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
        """Refuse settings under which Storm would time out a tuple that only waits for those before it.

        The worst case: one bolt has all photos in flight (the spout may overshoot by one lease). It works on
        `photo_fetch_threads` of them at a time. Each takes its whole deadline, the longest wait for a decoder, and
        the longest time in it.
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
    """Parse `autotag.store`; see `Settings.store_address`.

    Raises:
        SettingsError: the URL has none of the accepted forms.
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
    """Parse `autotag.model.registry`; see `Settings.model_registry_address`.

    Raises:
        SettingsError: the URL does not have the accepted form.
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


def _check_number(key: str, value: float, bounds: tuple[int, int] | None) -> None:
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise SettingsError(f"{key} must be from {bounds[0]} to {bounds[1]}. Given: {value!r}")
    if not math.isfinite(value) or value <= 0:
        raise SettingsError(f"{key} must be more than 0. Given: {value!r}")


def _converted(key: str, value: Any, wanted: Any, where: str) -> Any:
    """Convert `value` to the type `wanted`; ``-o`` gives text for every type."""
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
