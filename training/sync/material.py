"""What a sync works on: the archived rows that may be used, and the imported data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
import pandas as pd

from inference.suppression import Suppression
from training.datasets import Dataset, read_dataset
from training.errors import DataQualityError
from training.nudge.tables import NudgeDataset, read_nudge_dataset
from training.suppression import read_suppression, without_suppressed
from training.sync.tables import Archived, read_archive, read_kept
from training.sync.validity import sound
from training.table_files import find_table

ROWS = "rows"
REPORT = "sync.json"
_TIMES = {"decisions": "at"}
Folder = Callable[[str], Path]


class Plan(msgspec.Struct, frozen=True):
    """What `plan.json` says: which sync this is, as of when, which one it goes on from (empty:
    none), and when each data set was imported (absent: there is none)."""

    id: str
    now: datetime
    last: str = ""
    imported_at: dict[str, datetime] = {}


@dataclass(frozen=True)
class Material:
    """`archived` are all rows but those of the erased; `tables` those of them that can be used,
    `set_aside` the others as `table`, `id`, `reason`. `erasures` counts requests and rows."""

    plan: Plan
    archived: Archived
    tables: dict[str, pd.DataFrame]
    set_aside: pd.DataFrame
    erasures: dict[str, int]
    shop: Dataset | None
    log: NudgeDataset | None


def read_material(channel: Folder) -> Material:
    """Everything in the channels. Raises `DataQualityError`, `SuppressionError`."""
    plan = msgspec.json.decode((channel("plan") / "plan.json").read_bytes(), type=Plan)
    _require_whole(plan, channel)
    found = read_archive(channel("archive"), known=read_kept(channel("last") / ROWS))
    known = read_suppression(channel("suppression"))
    requests = without_suppressed(found.tables["erasures"], known)
    suppression, pending = _with_requests(known, requests)
    archived = _without(found, suppression, requests)
    left_out = sum(len(found.tables[name]) - len(rows) for name, rows in archived.tables.items())
    tables, set_aside = sound(archived.tables, now=plan.now)
    return Material(
        plan=plan,
        archived=archived,
        tables=tables,
        set_aside=set_aside,
        erasures={"pending": pending, "rows_left_out": left_out},
        shop=_imported_shop(channel("interactions"), suppression),
        log=_imported_log(channel("nudges"), suppression),
    )


def _require_whole(plan: Plan, channel: Folder) -> None:
    """What the plan goes on from has to be there: without it a data set would lack it, silently."""
    for kind in plan.imported_at:
        if not any(channel(kind).iterdir()):
            raise DataQualityError(
                f"the imported data set of {kind} that the newest one rests on is gone; import it "
                "again: nextbest data import PATH"
            )
    if plan.last and not (channel("last") / REPORT).exists():
        raise DataQualityError(
            f"the rows that sync {plan.last} kept are gone; remove the tenant's syncs/latest.json "
            "to have the next sync read the whole archive again"
        )


def _with_requests(suppression: Suppression, requests: pd.DataFrame) -> tuple[Suppression, int]:
    """The list with those who asked to be erased and have not been, and how many they are."""
    asked = requests["customer_id"].astype(str)
    for customer, at in zip(asked, requests["timestamp"], strict=True):
        suppression = suppression.with_erased([customer], at=at.to_pydatetime())
    return suppression, asked.nunique()


def _without(found: Archived, suppression: Suppression, requests: pd.DataFrame) -> Archived:
    """Without rows of the erased. Requests stay until `nextbest customers erase` carries them
    out."""
    kept = {
        name: without_suppressed(frame, suppression, time=_TIMES.get(name, "timestamp"))
        if "customer_id" in frame.columns
        else frame
        for name, frame in found.tables.items()
    }
    return replace(found, tables={**kept, "erasures": requests})


def _imported_shop(folder: Path, suppression: Suppression) -> Dataset | None:
    if find_table(folder, "interactions") is None:
        return None
    found = read_dataset(folder)
    customers = found.customers
    if customers is not None:
        customers = without_suppressed(customers, suppression, time=None)
    kept = without_suppressed(found.interactions, suppression)
    return replace(found, interactions=kept, customers=customers)


def _imported_log(folder: Path, suppression: Suppression) -> NudgeDataset | None:
    if find_table(folder, "nudges") is None:
        return None
    found = read_nudge_dataset(folder)
    return replace(found, nudges=without_suppressed(found.nudges, suppression))
