"""A tenant's objects in S3 without those who were erased. Used by `erasures` and by imports.

Which rows go is said by the tenant's list alone, so that the work can stop anywhere and be done
again by whoever comes next. Objects keep their keys: runs, pointers and syncs name them.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from botocore.exceptions import ClientError

from inference.objects import CHANGED, GONE, code_of
from inference.suppression import Suppression
from pipelines import suppressions
from pipelines.stage import Stage
from training import datasets
from training.nudge import tables
from training.suppression import strip_file

Progress = Callable[[str, int, int], None]  # what, how many of how many
_DATASETS = "datasets"
_THREADS = 8  # an archive is many small objects
_PRECISION = timedelta(seconds=1)  # S3 leaves out what is less


@dataclass(frozen=True)
class Found:
    """An object as it was listed."""

    key: str
    tag: str
    written_at: datetime

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


@dataclass(frozen=True)
class _Checked:
    """An object that was fetched and stripped, or why it was not: it cannot be read, or is gone."""

    found: Found
    removed: int = 0
    left: int = 0
    is_read: bool = False
    unreadable: str = ""

    @property
    def is_dirty(self) -> bool:
        return self.removed > 0

    @property
    def is_clean(self) -> bool:
        return self.is_read and not self.removed


@dataclass
class Pass:
    """What was done, by area (`datasets`, `events`, …): objects rewritten, objects deleted, rows
    removed. `unreadable` objects, with why, may hold anybody; `raced` were written meanwhile."""

    rewritten: Counter[str] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    raced: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.rewritten or self.deleted or self.raced)

    def add(self, other: Pass) -> None:
        """Count what another pass did too; what that could not read is what cannot be read."""
        self.rewritten += other.rewritten
        self.deleted += other.deleted
        self.rows += other.rows
        self.unreadable = other.unreadable


def listed(s3: Any, bucket: str, prefix: str) -> Iterator[Found]:
    """The objects under a prefix, in order of their keys."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            yield Found(item["Key"], item["ETag"], item["LastModified"])


def erase_late(stage: Stage, tenant: str, known: Suppression) -> None:
    """Remove those who were erased since `known` was read, for whoever has written since: the
    erasure may have gone through before the data was there."""
    current = suppressions.read(stage, tenant)
    if current != known:
        Rewriter(stage, tenant, current).run(lambda what, number, count: None)


class Rewriter:
    """Goes through a tenant's tables. An object is looked at once for a list, unless it changes."""

    def __init__(self, stage: Stage, tenant: str, suppression: Suppression) -> None:
        self._s3, self._bucket = stage.client("s3"), stage.bucket
        self._prefix = f"{stage.tenant_prefix(tenant)}/"
        self._suppression = suppression
        self._clean: dict[str, str] = {}  # tags by key

    def run(self, progress: Progress) -> Pass:
        """Remove the erased from every table, in place, a folder at a time."""
        folders: dict[str, list[Found]] = {}
        for found in listed(self._s3, self._bucket, self._prefix):
            if found.key.endswith(".parquet"):
                folders.setdefault(found.key.rpartition("/")[0], []).append(found)
        done = Pass()
        for number, (folder, objects) in enumerate(sorted(folders.items())):
            path = folder.removeprefix(self._prefix)
            progress(path, number, len(folders))
            self._rewrite(folder, path.partition("/")[0], objects, done)
        return done

    def _rewrite(self, folder: str, area: str, objects: list[Found], done: Pass) -> None:
        new = [found for found in objects if self._clean.get(found.key) != found.tag]
        if area == _DATASETS and new:
            new = objects  # its profile is of all of its tables
        with tempfile.TemporaryDirectory(prefix="nextbest-erase-") as name:
            work = Path(name)
            with ThreadPoolExecutor(_THREADS) as pool:
                checked = list(pool.map(lambda found: self._check(found, work), new))
            for one in checked:
                _note(one, done)
            self._clean |= {one.found.key: one.found.tag for one in checked if one.is_clean}
            dirty = [one for one in checked if one.is_dirty]
            if area == _DATASETS and dirty:
                # Before the tables: where this stops, they are to do and it is done again.
                self._put_profile(folder, work)
            for one in dirty:
                self._replace(one, area, work, done)

    def _check(self, found: Found, work: Path) -> _Checked:
        """Fetch a table into `work` and strip it there."""
        path, target = work / found.name, work / f"{found.name}.stripped"
        try:
            self._s3.download_file(self._bucket, found.key, str(path))
            written_at = found.written_at + _PRECISION
            stripped = strip_file(path, target, self._suppression, written_at=written_at)
        except ClientError as error:
            _raise_unless_changed(error)
            return _Checked(found)
        except pa.ArrowException as error:
            return _Checked(found, unreadable=str(error).splitlines()[0])
        if stripped.removed:
            path.unlink()
        if target.exists():
            target.rename(path)
        return _Checked(found, stripped.removed, stripped.left, is_read=True)

    def _replace(self, one: _Checked, area: str, work: Path, done: Pass) -> None:
        """Put what is left where it was, unless that has changed; where nothing is, nothing."""
        where = {"Bucket": self._bucket, "Key": one.found.key}
        try:
            if one.left:
                metadata = self._s3.head_object(**where)["Metadata"]
                with (work / one.found.name).open("rb") as body:
                    condition = {"IfMatch": one.found.tag}
                    self._s3.put_object(**where, Body=body, Metadata=metadata, **condition)
            else:
                self._s3.delete_object(**where)
        except ClientError as error:
            _raise_unless_changed(error)
            done.raced += 1
            return
        (done.rewritten if one.left else done.deleted)[area] += 1
        done.rows[area] += one.removed

    def _put_profile(self, folder: str, work: Path) -> None:
        """Make a data set's profile say what is in it now."""
        where = {"Bucket": self._bucket, "Key": f"{folder}/profile.json"}
        try:
            known = json.loads(self._s3.get_object(**where)["Body"].read())
        except ClientError as error:
            _raise_unless_changed(error)
            return
        body = json.dumps({**known, **_profile(work, known)}, indent=1).encode()
        self._s3.put_object(**where, Body=body)


def _note(one: _Checked, done: Pass) -> None:
    if one.unreadable:
        done.unreadable[one.found.key] = one.unreadable
    elif not one.is_read:
        done.raced += 1


def _raise_unless_changed(error: ClientError) -> None:
    """What was deleted or written since it was listed is for the next pass."""
    if code_of(error) not in (*GONE, *CHANGED):
        raise error


def _profile(folder: Path, known: dict[str, Any]) -> dict[str, Any]:
    """The figures of a data set's tables as they are in a folder."""
    interactions, nudges, rejected = (
        _table(folder / f"{name}.parquet") for name in ("interactions", "nudges", "rejected")
    )
    aside = pd.DataFrame() if rejected is None else rejected
    notes = tuple(known.get("notes", ()))
    if interactions is not None:
        ordered_by = known.get("ordered_by", "timestamp")
        return datasets.profile_of(interactions, aside, ordered_by=ordered_by, notes=notes)
    if nudges is not None:
        return tables.profile_of(nudges, aside, notes=notes)
    return {"rows": 0, "customers": 0}


def _table(path: Path) -> pd.DataFrame | None:
    return pd.read_parquet(path) if path.exists() else None
