"""What is imported, without those who were erased before. Used by `nextbest data import`."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from inference.suppression import Suppression
from training import datasets
from training.datasets import Dataset
from training.errors import NotEnoughDataError
from training.image.tables import ImageDataset
from training.nudge import tables
from training.nudge.tables import NudgeDataset
from training.suppression import without_suppressed

SUPPRESSED = "suppressed"
AnyDataset = Dataset | NudgeDataset | ImageDataset


def without_erased(dataset: AnyDataset, suppression: Suppression) -> AnyDataset:
    """A data set without the erased; its profile says under `suppressed` how many interactions or
    nudges that were. Pictures are nobody's.

    Raises `NotEnoughDataError` where nobody else is in it.
    """
    if isinstance(dataset, Dataset):
        return _interactions(dataset, suppression)
    if isinstance(dataset, NudgeDataset):
        return _nudges(dataset, suppression)
    return dataset


def _interactions(dataset: Dataset, suppression: Suppression) -> Dataset:
    kept = _some(dataset.interactions, suppression)
    rejected = _without_times(dataset.rejected, suppression)
    customers = dataset.customers
    if customers is not None:
        customers = _without_times(customers, suppression)
    if kept is dataset.interactions and rejected is dataset.rejected:
        return replace(dataset, customers=customers)
    known = dataset.profile
    profile = datasets.profile_of(
        kept, rejected, ordered_by=known["ordered_by"], notes=tuple(known["notes"])
    )
    profile[SUPPRESSED] = len(dataset.interactions) - len(kept)
    return replace(
        dataset, interactions=kept, customers=customers, rejected=rejected, profile=profile
    )


def _nudges(dataset: NudgeDataset, suppression: Suppression) -> NudgeDataset:
    kept = _some(dataset.nudges, suppression)
    rejected = _without_times(dataset.rejected, suppression)
    if kept is dataset.nudges and rejected is dataset.rejected:
        return dataset
    profile = tables.profile_of(kept, rejected, notes=tuple(dataset.profile["notes"]))
    profile[SUPPRESSED] = len(dataset.nudges) - len(kept)
    return replace(dataset, nudges=kept, rejected=rejected, profile=profile)


def _some(table: pd.DataFrame, suppression: Suppression) -> pd.DataFrame:
    kept = without_suppressed(table, suppression)
    if not len(kept):
        raise NotEnoughDataError(
            f"all {len(table):,} rows are of customers who were erased; nothing can be imported"
        )
    return kept


def _without_times(table: pd.DataFrame, suppression: Suppression) -> pd.DataFrame:
    """Rows whose times need not be times: of the erased all go."""
    if "customer_id" not in table.columns:
        return table
    return without_suppressed(table, suppression, time=None)
