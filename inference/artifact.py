"""A model on disk: `manifest.json`, `.npy` arrays, JSON lists and files of other libraries (an ONNX
graph, say), packed as `model.tar.gz`.

Written by jobs, opened by Lambdas. Opening verifies every file's sha256 and memory-maps the
arrays; nothing is ever unpickled. Same content → same bytes, packed or not.

A file that this process unpacked was hashed while it was written. As long as the file system says
that it has not been touched since (same inode, size and change time), that hash is the file's, and
opening need not read it again: a large model opens in milliseconds and is verified all the same.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np

from inference.errors import ArtifactError

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 20
Identity = tuple[int, int, int, int]
_unpacked: dict[Path, tuple[Identity, str]] = {}
_FILE_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class Artifact:
    """An opened model: read-only memory-mapped `arrays`, decoded `tables`, paths of all other
    `files` by name, and the manifest."""

    manifest: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    tables: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)


def write(
    folder: Path,
    *,
    manifest: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    tables: Mapping[str, Any],
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write a model into `folder` (made if absent); `manifest` must hold `kind`. `files` are
    written as they are, under their full names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    for name, table in tables.items():
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(table))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    names = [f"{name}.npy" for name in arrays] + [f"{name}.json" for name in tables]
    hashes = {name: _sha256(folder / name) for name in sorted([*names, *files])}
    full = {**manifest, "format_version": FORMAT_VERSION, "files": hashes}
    text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def open_artifact(folder: Path, *, kind: str) -> Artifact:
    """Open and verify the model in `folder`.

    Raises `ArtifactError` for a missing or altered file, an unknown format or another kind.
    """
    manifest = _read_manifest(folder)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{folder}: format version {manifest.get('format_version')!r} is unknown; "
            f"this code reads version {FORMAT_VERSION}"
        )
    if manifest.get("kind") != kind:
        raise ArtifactError(f"{folder}: holds a {manifest.get('kind')!r}, expected a {kind!r}")
    for name, expected in manifest["files"].items():
        _verify(folder, name, expected)
    names = list(manifest["files"])
    return Artifact(
        manifest=manifest,
        arrays={Path(n).stem: _load(folder / n) for n in names if n.endswith(".npy")},
        tables={Path(n).stem: _decode(folder / n) for n in names if n.endswith(".json")},
        files={n: folder / n for n in names if not n.endswith((".npy", ".json"))},
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder}: no {MANIFEST}; is this a model's folder?") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{folder / MANIFEST} is not valid JSON: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactError(f"{folder / MANIFEST} lists no files")
    return manifest


def _verify(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if _FILE_NAME.fullmatch(name) is None or path.is_symlink():
        raise ArtifactError(
            f"{folder / MANIFEST} names {name!r}; expected a plain file of its own folder"
        )
    if not path.is_file():
        raise ArtifactError(f"{path}: named in the manifest but missing")
    found = known_sha256(path) or _sha256(path)
    if found != expected:
        raise ArtifactError(f"{path}: sha256 {found[:12]}…, the manifest says {expected!s:.12}…")


def _load(path: Path) -> np.ndarray:
    try:
        # A plain view: `memmap` runs Python code for every array that is made of one.
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise ArtifactError(f"{path}: not a plain array: {error}") from error
    return array


def _decode(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{path}: not valid JSON: {error}") from error


def known_sha256(path: Path) -> str | None:
    """The hash of a file that this process unpacked, if nobody touched it since."""
    identity, digest = _unpacked.get(path.resolve(), (None, None))
    return digest if identity == _identity(path) else None


def _identity(path: Path) -> Identity:
    """What changes when a file does: its change time cannot be set by a program."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def pack(folder: Path, target: Path) -> None:
    """Pack a folder as `.tar.gz`: same files, same bytes, whenever and whoever packs them."""
    # No name and no time in the header: both would differ from one packing to the next.
    with (
        target.open("wb") as plain,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=plain, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = tarfile.TarInfo(str(path.relative_to(folder)))
            info.size, info.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(info, file)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` into `folder`; `ArtifactError` for a broken or unsafe archive."""
    with _archive_errors(archive), tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            safe = tarfile.data_filter(member, str(folder))
            target = folder / safe.name
            if safe.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif safe.isfile():
                _write_member(tar, member, target)
            else:
                raise ArtifactError(f"{archive}: {member.name} is neither a file nor a folder")


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write one file, hashing it on its way."""
    content, digest, left = tar.extractfile(member), hashlib.sha256(), member.size
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while content is not None and (chunk := content.read(_CHUNK_BYTES)):
            digest.update(chunk)
            left -= file.write(chunk)
    if left:
        raise EOFError(f"{member.name} ends {left} bytes early")
    _unpacked[target.resolve()] = _identity(target), digest.hexdigest()


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise ArtifactError(f"{archive}: cannot be unpacked: {error}") from error
