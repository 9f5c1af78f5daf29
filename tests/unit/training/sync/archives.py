"""An archive in a folder, and syncs of it one after the other, each reading only what is new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from botocore.exceptions import ClientError

from inference.archive import Archive
from training.datasets import build_dataset, write_dataset
from training.nudge.tables import build_nudge_dataset, write_nudge_dataset
from training.sync.configuration import SyncRules
from training.sync.step import sync

START = datetime(2026, 3, 1, tzinfo=UTC)
RULES = SyncRules(attribution_hours=10, reward_wait_hours=20)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def interaction(number, hour=0.0, *, customer="c0", product="p0", event="view", **more):
    row = {"event_id": f"e{number}", "timestamp": at(hour), "customer_id": customer}
    return ("interactions", {**row, "product_id": product, "event": event, **more})


def nudge(number, hour=0.0, *, customer="c0", action="mail", propensity=0.5, **more):
    eligible = [{"action": name, "propensity": 0.5} for name in ("mail", "none")]
    row = {"decision_id": f"d{number}", "at": at(hour), "decision": "nudge"}
    row |= {"customer_id": customer, "action": action, "propensity": propensity}
    return ("decisions", {**row, "eligible": eligible, "context": '{"age": 3}', **more})


def recommendation(number, hour=0.0, *, customer="c0", products=("p0", "p1")):
    slots = [
        {"product_id": p, "score": 1.0 - n / 10, "propensity": 1.0, "explored": False}
        for n, p in enumerate(products)
    ]
    row = {"decision_id": f"s{number}", "at": at(hour), "decision": "next-best-product"}
    return ("decisions", {**row, "customer_id": customer, "slots": slots})


def reward(number, hour=0.0, *, amount=1.0, **named):
    row = {"event_id": f"r{number}", "timestamp": at(hour), "reward": amount}
    return ("rewards", {**row, **named})


class _Disk:
    """As much of S3 as an archive needs, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_object(self, *, Bucket, Key, Body, Metadata):
        path = self.folder / Key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Body)

    def get_object(self, *, Bucket, Key):
        raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")  # nobody was erased


class Shop:
    """A tenant's folders. `import_` is what `nextbest data import` would have left."""

    def __init__(self, folder: Path, *, rules: SyncRules = RULES) -> None:
        self.folder, self.rules, self.count = folder, rules, 0
        for name in ("plan", "archive", "last", "interactions", "nudges", "suppression"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.imported_at: dict[str, str] = {}

    def import_interactions(self, frame: pd.DataFrame, *, when: float = 0.0, **tables) -> None:
        dataset = build_dataset({"interactions": frame, **tables}, now=at(10_000))
        write_dataset(dataset, self.folder / "interactions")
        self.imported_at["interactions"] = at(when).isoformat()

    def import_nudges(self, frame: pd.DataFrame, **tables) -> None:
        dataset = build_nudge_dataset({"nudges": frame, **tables}, now=at(10_000))
        write_nudge_dataset(dataset, self.folder / "nudges")
        self.imported_at["nudges"] = at(0).isoformat()

    def archive(self, rows: Iterable[tuple[str, dict]]) -> None:
        """One batch."""
        by_table: dict[str, list[dict]] = {}
        for table, row in rows:
            by_table.setdefault(table, []).append(row)
        disk = _Disk(self.folder / "archive")
        Archive("b", s3=disk).write("shop", by_table, source="test")

    def sync(self, hour: float = 1000.0) -> dict:
        """Sync what was archived since; the archive folder is empty afterwards."""
        self.count += 1
        plan = {"id": str(self.count), "now": at(hour).isoformat(), "imported_at": self.imported_at}
        plan["last"] = str(self.count - 1) if self.count > 1 else ""
        (self.folder / "plan" / "plan.json").write_text(json.dumps(plan))
        output = self.folder / f"out-{self.count}"
        account = sync(self._channel, _made(output), rules=self.rules)
        shutil.rmtree(self.folder / "last")
        shutil.copytree(output / "sync", self.folder / "last")
        shutil.rmtree(self.folder / "archive")
        (self.folder / "archive").mkdir()
        return account

    def _channel(self, name: str) -> Path:
        return self.folder / name

    def made(self, name: str) -> dict[str, bytes]:
        """The files of the newest data set of a kind; nothing where none was made."""
        folder = self.folder / f"out-{self.count}" / name
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}

    def table(self, kind: str, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"out-{self.count}" / kind / f"{name}.parquet")


def _made(folder: Path) -> Callable[[str], Path]:
    def output(name: str) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name

    return output


def imported_interactions(*, customers: int = 21, products: int = 5) -> pd.DataFrame:
    """A little more than enough: two interactions a customer."""
    return pd.DataFrame(
        {
            "customer_id": [f"c{n % customers}" for n in range(2 * customers)],
            "product_id": [f"p{n % products}" for n in range(2 * customers)],
            "event": "purchase",
            "timestamp": [at(-100 + n / 10) for n in range(2 * customers)],
        }
    )


def imported_nudges(*, count: int = 220) -> pd.DataFrame:
    """A little more than enough, of two actions."""
    return pd.DataFrame(
        {
            "decision_id": [f"i{n}" for n in range(count)],
            "customer_id": [f"c{n % 20}" for n in range(count)],
            "timestamp": [at(-100 + n / 10) for n in range(count)],
            "action": ["mail" if n % 2 else "none" for n in range(count)],
            "propensity": 0.5,
            "reward": [float(n % 4 == 1) for n in range(count)],
            "context_age": [float(n % 7) for n in range(count)],
        }
    )
