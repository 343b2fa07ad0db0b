"""Packs this Python, the packages that a worker needs, autotag and a bundle into an archive, for bare machines.

    bin/python                       sets Python's paths relative to itself and runs bin/python3.11
    lib/                             the shared libraries that Python needs, without glibc's
    lib/python3.11/                  the standard library, and the packages in site-packages
    app/                             autotag, models, config.json and the bundle, as in a checkout

Equal files give equal bytes: archives can be compared, and stored by their digest.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from autotag.errors import JobError
from autotag.settings import PROJECT, Settings

PACKAGES = ("numpy", "openvino", "pillow", "pillow-heif", "requests", "threadpoolctl", "fsspec", "pyarrow", "orjson")
"""Packages that workers import; those that they require are added."""
IF_HERE = ("s3fs",)
OURS = ("autotag", "models")
FRONTENDS = ("jax", "paddle", "pytorch", "tensorflow")
LEFT_OUT = (
    "*/__pycache__/*",
    "*/tests/*",
    "*/test/*",
    "*/include/*",
    "*.pyi",
    "*.a",
    # Parts of Python for windows, for terminals, or for its own development.
    "*/lib/python3.*/config-3*/*",
    "*/lib/python3.*/ensurepip/*",
    "*/lib/python3.*/idlelib/*",
    "*/lib/python3.*/lib2to3/*",
    "*/lib/python3.*/tkinter/*",
    "*/lib/python3.*/turtledemo/*",
    "*/lib-dynload/_curses*",
    "*/lib-dynload/_test*",
    "*/lib-dynload/_tkinter*",
    "*/lib-dynload/nis.*",
    "*/lib-dynload/readline.*",
    # Support of other devices than CPUs, and of other formats than ONNX.
    "*/openvino/libs/*_gpu_plugin*",
    "*/openvino/libs/*_npu_plugin*",
    "*/openvino/libs/cache.json",
    "*/openvino/libs/*_gguf_frontend*",
    *(f"*/openvino/libs/*_{name}_frontend*" for name in FRONTENDS),
    *(f"*/openvino/frontend/{name}/*" for name in FRONTENDS),
    "*/pyarrow/*_flight*",
)
"""Patterns of paths that the archive does not have."""
BOTOCORE = re.compile(r".*/botocore/data/(?!(?:s3|sts|sso|sso-oidc)/)[^/]+/.*")
"""Descriptions of Amazon's services that S3 does not need: 27 MB."""
GLIBC = re.compile(r"(?:ld-linux|lib(?:c|m|dl|pthread|rt|mvec|resolv|util|anl|BrokenLocale)\.so)")
"""Libraries of glibc. They must fit the system's loader, and every machine has them."""
LEVEL = 6

WRAPPER = """\
#!/bin/sh
# Follows links to itself: Spark may link the unpacked folder into each executor's own.
here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$here")
export PYTHONHOME="$root"
export PYTHONPATH="$root/app${PYTHONPATH:+:$PYTHONPATH}"
export LD_LIBRARY_PATH="$root/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONNOUSERSITE=1
exec "$here/python3.11" "$@"
"""


class Member(NamedTuple):
    """A file of the archive."""

    name: str
    source: Path | bytes
    executable: bool = False


def package(archive: Path, bundle: Path) -> dict[str, Any]:
    """Write the archive, which takes about a minute; return its path, bytes, unpacked_bytes and packages.

    Args:
        bundle: folder of the bundle that is packed.

    Raises:
        JobError: a package that a worker needs is not installed here, or a shared library is not found.
        OSError: the archive cannot be written; an older one stays as it is.
    """
    distributions = _distributions()
    members = {member.name: member for member in _members(distributions, bundle) if _is_wanted(member.name)}
    for library in _libraries(member.source for member in members.values()):
        members[f"lib/{library.name}"] = Member(f"lib/{library.name}", library, executable=True)
    part = archive.with_name(f".{archive.name}.{uuid.uuid4().hex}")
    try:
        unpacked_bytes = _write(part, [members[name] for name in sorted(members)])
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    return {
        "archive": str(archive),
        "bytes": archive.stat().st_size,
        "unpacked_bytes": unpacked_bytes,
        "packages": [f"{name} {found.version}" for name, found in sorted(distributions.items())],
    }


def _distributions() -> dict[str, importlib.metadata.Distribution]:
    """Return the third-party packages that are packed, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [*PACKAGES, *IF_HERE]
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if name in PACKAGES:
                raise JobError(f"{name} is not installed here; run: pip install 'autotag[train]'") from error
            continue  # required on another Python or system only
        wanted = [line for line in found[name].requires or () if "extra ==" not in line]
        waiting += [match[0] for line in wanted if (match := re.match(r"[\w.-]+", line))]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _members(distributions: dict[str, importlib.metadata.Distribution], bundle: Path) -> Iterator[Member]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield Member("bin/python", WRAPPER.replace("python3.11", version).encode(), executable=True)
    yield Member(f"bin/{version}", Path(sys.executable).resolve(), executable=True)
    stdlib = Path(sysconfig.get_path("stdlib"))
    yield from _below(stdlib, f"lib/{version}", without=("site-packages", "dist-packages"))
    for distribution in distributions.values():
        for file in distribution.files or ():
            if ".." not in file.parts and not file.is_absolute():
                yield Member(f"lib/{version}/site-packages/{file}", Path(str(distribution.locate_file(file))))
    for name in OURS:
        yield from _below(PROJECT / name, f"app/{name}")
    if (PROJECT / "config.json").exists():
        yield Member("app/config.json", PROJECT / "config.json")
    yield from _below(bundle, f"app/{Settings.model}/{bundle.resolve().name}")
    about = {"packages": {name: found.version for name, found in sorted(distributions.items())}}
    yield Member("app/packaged.json", json.dumps(about, indent=1).encode() + b"\n")


def _below(folder: Path, name: str, without: tuple[str, ...] = ()) -> Iterator[Member]:
    for top, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in without]
        for file in files:
            path = Path(top, file)
            yield Member(f"{name}/{path.relative_to(folder)}", path, os.access(path, os.X_OK))


def _is_wanted(name: str) -> bool:
    path = f"/{name}"
    return not any(fnmatch(path, pattern) for pattern in LEFT_OUT) and not BOTOCORE.fullmatch(path)


def _libraries(sources: Iterable[Path | bytes]) -> list[Path]:
    """Return the shared libraries of the system that these files need, directly or through others."""
    elves = [one for one in sources if isinstance(one, Path) and _is_elf(one)]
    packed = {one.name for one in elves}
    # One call for all files: ldd also follows the libraries of libraries.
    done = subprocess.run(["ldd", *map(str, elves)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    missing = sorted(set(re.findall(r"^\t(\S+) => not found", done.stdout, re.MULTILINE)) - packed)
    if missing:
        raise JobError(f"shared libraries that Python's packages need are not on this machine: {', '.join(missing)}")
    found = {Path(path) for path in re.findall(r" => (/\S+) \(", done.stdout)}
    return sorted(path for path in found if path.name not in packed and not GLIBC.match(path.name))


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _write(path: Path, members: list[Member]) -> int:
    """Write the archive; return the total bytes of its files."""
    total = 0
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for member in members:
            data = member.source if isinstance(member.source, bytes) else member.source.read_bytes()
            info = tarfile.TarInfo(member.name)  # owner root, time 1970: equal for all who pack it
            info.size = len(data)
            info.mode = 0o755 if member.executable else 0o644
            tar.addfile(info, io.BytesIO(data))
            total += len(data)
    return total
