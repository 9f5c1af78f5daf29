"""The step `sync` on folders: a SageMaker processing job, and the work of `nextbest data sync`.

Reads `plan` (plan.json), `archive` (the objects not read before), `last` (the last sync),
`interactions` and `nudges` (the imported data sets), `suppression`; any of them but the plan may
hold nothing. Writes `sync` (all archived rows, compact; `sync.json`, the account; what was set
aside or not joined), `interactions` and `nudges` (canonical data sets; nothing where there is not
enough).
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from training.configuration import parse
from training.datasets import write_dataset
from training.errors import NotEnoughDataError
from training.job import Job
from training.nudge.tables import write_nudge_dataset
from training.sync.account import account_of
from training.sync.configuration import SyncRules
from training.sync.interactions import Shop, shop_of
from training.sync.material import REPORT, ROWS, Folder, Material, read_material
from training.sync.nudges import Log, log_of
from training.sync.slots import slots_of
from training.sync.tables import write_kept

NOTHING = "no event of customers or products is archived"
# Who asked to be erased has to leave an import, too.
_OF_SHOP = ("interactions", "products", "customers", "erasures")


def run(job: Job) -> None:
    rules = parse(SyncRules, job.settings, where="[events]")
    account = sync(job.channel, job.output, rules=rules)
    job.log("synced", **{name: account[name] for name in ("events", "set_aside", "drift")})


def sync(channel: Folder, output: Folder, *, rules: SyncRules) -> dict[str, Any]:
    """Read the channels, write the outputs; the account, which is `sync.json` too.

    Raises `DataQualityError` where an import or its guardrails cannot be read, `SuppressionError`.
    """
    material = read_material(channel)
    now = material.plan.now
    shop, why = _shop(material)
    log = log_of(material.log, material.tables, rules=rules, now=now)
    interactions = shop.dataset.interactions if shop else material.tables["interactions"]
    slots, counts = slots_of(material.tables["decisions"], interactions, rules=rules, now=now)
    account = account_of(material, shop, log, why_no_shop=why, slots=counts, rules=rules)
    _write(output, material, shop, log, slots)
    # Last: what is there when it is, is whole.
    (output("sync") / REPORT).write_text(json.dumps(account, indent=1), encoding="utf-8")
    return account


def _shop(material: Material) -> tuple[Shop | None, str]:
    """The shop, or why there is none to make."""
    tables = material.tables
    is_shown = tables["decisions"]["slots"].notna().any()
    if not is_shown and not any(len(tables[name]) for name in _OF_SHOP):
        return None, NOTHING
    aside = material.set_aside
    bad = aside[aside["table"] == "interactions"].rename(columns={"id": "event_id"})
    since = material.plan.imported_at.get("interactions")
    try:
        found = shop_of(
            material.shop, material.tables, set_aside=bad, since=since, now=material.plan.now
        )
    except NotEnoughDataError as error:
        return None, str(error)
    return found, ""


def _write(
    output: Folder, material: Material, shop: Shop | None, log: Log, slots: pd.DataFrame
) -> None:
    folder = output("sync")
    write_kept(material.archived.tables, folder / ROWS)
    material.set_aside.to_parquet(folder / "set_aside.parquet", index=False)
    log.joined.unjoined.to_parquet(folder / "unjoined.parquet", index=False)
    if shop is not None:
        write_dataset(shop.dataset, output("interactions"))
        slots.to_parquet(output("interactions") / "slots.parquet", index=False)
    if log.dataset is not None:
        write_nudge_dataset(log.dataset, output("nudges"))
