"""The serving core of next-best-product: a sparse item-to-item matrix, numpy only.

    score(j) = neighbours · Σ_h weight_h · M[h, j] / Σ_h weight_h      (history, oldest first)
             + repeat     · Σ_{h = j} recency_h / max_j Σ_{h = j} recency_h
             + trend      · T[j]

with `weight_h = event_weight · decay ** steps_back` over the last `history_length` events and
`recency_h` the event weight halved every `repeat_half_life_days` (or, without times, decayed by
place). Linear in the history, so an answer is explained exactly. Runs in a Lambda, and in
`Evaluate`, so that what is evaluated is what serves.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference.artifact import Artifact, open_artifact
from inference.contracts import (
    Filters,
    HistoryEvent,
    ProductAnswer,
    ProductRequest,
    Reason,
    Recommendation,
)
from inference.errors import BadRequestError

KIND = "recommender"
SHOWN_REASONS = 5
_LARGEST = 1e300  # a longer integer is no price, and no float either
SECONDS_PER_DAY = 86_400.0


class ServingParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What training chose; stands in the manifest under `serving`."""

    neighbours_weight: float = 1.0
    repeat_weight: float = 0.0
    trend_weight: float = 0.0
    decay: float = 0.8
    history_length: int = 50
    repeat_half_life_days: float = 90.0
    repeat_decay: float = 0.98
    event_weights: dict[str, float] = {}
    default_event_weight: float = 1.0
    purchase_event: str = "purchase"
    exclude_seen: bool = False


_NOTHING = (np.empty(0, dtype=np.int64), np.empty(0))


@dataclass(frozen=True)
class _History:
    """Known events, oldest first: item codes, event weights, ages in days (nan without)."""

    items: np.ndarray
    weights: np.ndarray
    ages: np.ndarray
    purchased: np.ndarray
    unknown: list[str]


class Recommender:
    """A model ready to answer. `recommend` is pure: no clock, no state."""

    def __init__(self, artifact: Artifact) -> None:
        arrays, tables = artifact.arrays, artifact.tables
        self.manifest = artifact.manifest
        self.parameters = msgspec.convert(artifact.manifest["serving"], ServingParameters)
        self.product_ids: list[str] = tables["product_ids"]
        self.titles: list[str | None] | None = tables.get("titles")
        self.indptr = np.asarray(arrays["indptr"])
        self.indices = arrays["indices"]
        self.values = arrays["values"]
        self.trend = np.asarray(arrays["trend"], dtype=np.float64)
        self.trend_order = np.asarray(arrays["trend_order"])
        self.attributes: dict[str, Any] = tables["attributes"]
        self._codes = {name: arrays[spec["array"]] for name, spec in self.attributes.items()}
        self._code_of = {product: code for code, product in enumerate(self.product_ids)}

    @classmethod
    def open(cls, folder: Path) -> Recommender:
        """Open the artefact in `folder`; raises `ArtifactError` if it cannot be trusted."""
        return cls(open_artifact(folder, kind=KIND))

    def recommend(self, request: ProductRequest, *, now: datetime) -> Recommendation:
        """The best `request.limit` products with reasons. Raises `BadRequestError` for a filter
        on an attribute the model does not know."""
        history = self._history(request, request.now or now)
        allowed = self._allowed(request, history)
        entries = self._entries(request, history)
        repeats = self._repeat(history) if entries.kind == "history" else _NOTHING
        items, scores = self._score(entries, repeats, request.limit, allowed)
        top = _top(items, scores, request.limit)
        repeat_of = dict(zip(repeats[0].tolist(), repeats[1].tolist(), strict=True))
        products = [self._explain(item, entries, repeat_of) for item in items[top].tolist()]
        products.sort(key=lambda product: -product.score)
        personal = len(history.items) > 0 or request.context_product in self._code_of
        return Recommendation(
            products=products,
            unknown_products=history.unknown,
            fallback=None if personal else "trend",
            empty_reason=None if products else _why_empty(request),
        )

    def _history(self, request: ProductRequest, now: datetime) -> _History:
        events = [e if isinstance(e, HistoryEvent) else HistoryEvent(e) for e in request.history]
        known = [event for event in events if event.product_id in self._code_of]
        named = [event.product_id for event in events]
        if request.context_product is not None:
            named.append(request.context_product)
        parameters = self.parameters
        return _History(
            items=np.array([self._code_of[e.product_id] for e in known], dtype=np.int64),
            weights=np.array(
                [
                    parameters.event_weights.get(e.event, parameters.default_event_weight)
                    for e in known
                ]
            ),
            ages=np.array([_age_days(e.timestamp, now) for e in known]),
            purchased=np.array([e.event == parameters.purchase_event for e in known], dtype=bool),
            unknown=list(dict.fromkeys(name for name in named if name not in self._code_of)),
        )

    def _allowed(self, request: ProductRequest, history: _History) -> np.ndarray | None:
        """Mask over the catalogue, or None where everything is allowed."""
        banned = [self._code_of[p] for p in request.exclude_products if p in self._code_of]
        if request.context_product in self._code_of:
            banned.append(self._code_of[request.context_product])
        if self.parameters.exclude_seen:
            banned += history.items.tolist()
        elif request.exclude_purchased:
            banned += history.items[history.purchased].tolist()
        if not (banned or request.include or request.exclude):
            return None
        allowed = np.ones(len(self.product_ids), dtype=bool)
        for attribute, wanted in request.include.items():
            allowed &= self._matches(attribute, wanted, where="$.include")
        for attribute, unwanted in request.exclude.items():
            allowed &= ~self._matches(attribute, unwanted, where="$.exclude")
        allowed[banned] = False
        return allowed

    def _matches(self, attribute: str, wanted: Any, *, where: str) -> np.ndarray:
        spec = self.attributes.get(attribute)
        if spec is None:
            near = difflib.get_close_matches(attribute, self.attributes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {sorted(self.attributes)}"
            raise BadRequestError(
                f"unknown attribute {attribute!r}; {hint}", path=f"{where}.{attribute}"
            )
        values = wanted if isinstance(wanted, list) else [wanted]
        if spec["type"] == "number":
            numbers = [float(v) for v in values if isinstance(v, int | float) and abs(v) < _LARGEST]
            return np.isin(self._codes[attribute], numbers)
        wanted_texts = {_as_text(value) for value in values}
        codes = [code for code, value in enumerate(spec["values"]) if value in wanted_texts]
        return np.isin(self._codes[attribute], codes)

    def _entries(self, request: ProductRequest, history: _History) -> _Entries:
        """The matrix rows of the recent history (or of the context product), weighted."""
        parameters = self.parameters
        context = self._code_of.get(request.context_product or "")
        if context is not None:
            rows, weights = np.array([context]), np.ones(1)
        else:
            rows = history.items[-parameters.history_length :]
            steps_back = np.arange(len(rows) - 1, -1, -1)
            weights = history.weights[-parameters.history_length :] * parameters.decay**steps_back
        total = weights.sum()
        scaled = parameters.neighbours_weight * weights / total if total > 0 else weights
        starts, ends = self.indptr[rows], self.indptr[rows + 1]
        lengths = ends - starts
        flat = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
        position = (flat + np.arange(int(lengths.sum()))).astype(np.int64)
        return _Entries(
            items=self.indices[position],
            values=self.values[position] * np.repeat(scaled, lengths),
            sources=np.repeat(rows, lengths),
            kind="history" if context is None else "context",
        )

    def _repeat(self, history: _History) -> tuple[np.ndarray, np.ndarray]:
        """Items of the history and the repeat part of their scores."""
        parameters = self.parameters
        if parameters.repeat_weight == 0 or len(history.items) == 0:
            return np.empty(0, dtype=np.int64), np.empty(0)
        steps_back = np.arange(len(history.items) - 1, -1, -1)
        by_place = parameters.repeat_decay**steps_back
        by_age = 0.5 ** (history.ages / parameters.repeat_half_life_days)
        recency = history.weights * np.where(np.isnan(history.ages), by_place, by_age)
        items, place = np.unique(history.items, return_inverse=True)
        sums = np.bincount(place, weights=recency)
        peak = sums.max()
        return items, parameters.repeat_weight * sums / peak if peak > 0 else sums

    def _score(
        self,
        entries: _Entries,
        repeats: tuple[np.ndarray, np.ndarray],
        limit: int,
        allowed: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates and their scores: whatever the history reaches, and the head of the trend."""
        count = len(self.product_ids)
        dense = np.bincount(entries.items, weights=entries.values, minlength=count).astype(float)
        dense[repeats[0]] += repeats[1]
        reached = np.flatnonzero(dense)
        order = self.trend_order if allowed is None else self.trend_order[allowed[self.trend_order]]
        items = np.union1d(reached, order[:limit])
        if allowed is not None:
            items = items[allowed[items]]
        return items, dense[items] + self.parameters.trend_weight * self.trend[items]

    def _explain(self, item: int, entries: _Entries, repeat_of: dict[int, float]) -> ProductAnswer:
        at = np.flatnonzero(entries.items == item)
        parts: dict[tuple[str, int], float] = {}
        for source, value in zip(
            entries.sources[at].tolist(), entries.values[at].tolist(), strict=True
        ):
            key = (entries.kind, source)
            parts[key] = parts.get(key, 0.0) + value
        if item in repeat_of:
            parts[("repeat", item)] = repeat_of[item]
        trend = self.parameters.trend_weight * float(self.trend[item])
        reasons = [self._reason(*key, value) for key, value in parts.items() if value]
        if trend or not reasons:
            reasons.append(Reason(kind="trend", contribution=trend))
        reasons = _shorten(sorted(reasons, key=lambda reason: -abs(reason.contribution)))
        return ProductAnswer(
            product_id=self.product_ids[item],
            score=sum(reason.contribution for reason in reasons),
            reasons=reasons,
            title=self.titles[item] if self.titles else None,
        )

    def _reason(self, kind: str, source: int, value: float) -> Reason:
        title = self.titles[source] if self.titles else None
        return Reason(
            kind=kind, contribution=value, product_id=self.product_ids[source], title=title
        )


@dataclass(frozen=True)
class _Entries:
    """Weighted matrix entries: target item, value, the history item it comes from."""

    items: np.ndarray
    values: np.ndarray
    sources: np.ndarray
    kind: str


def _top(items: np.ndarray, scores: np.ndarray, limit: int) -> np.ndarray:
    """Positions of the best, best first; ties go to the lower item code."""
    if len(scores) > 4 * limit:
        threshold = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        candidates = np.flatnonzero(scores >= threshold)
    else:
        candidates = np.arange(len(scores))
    order = np.lexsort((items[candidates], -scores[candidates]))
    return candidates[order[:limit]]


def _shorten(reasons: list[Reason]) -> list[Reason]:
    """The largest few, and the rest as one: they still sum to the score."""
    if len(reasons) <= SHOWN_REASONS + 1:
        return reasons
    rest = sum(reason.contribution for reason in reasons[SHOWN_REASONS:])
    return [*reasons[:SHOWN_REASONS], Reason(kind="other", contribution=rest)]


def _age_days(timestamp: datetime | None, now: datetime) -> float:
    if timestamp is None:
        return float("nan")
    aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
    reference = now if now.tzinfo else now.replace(tzinfo=UTC)
    return max(0.0, (reference - aware).total_seconds() / SECONDS_PER_DAY)


def _as_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _why_empty(request: ProductRequest) -> str:
    filters: Mapping[str, Filters] = {"include": request.include, "exclude": request.exclude}
    used = [f"{name} {value}" for name, value in filters.items() if value]
    used += ["exclude_products"] if request.exclude_products else []
    used += ["exclude_purchased"] if request.exclude_purchased else []
    return f"no product is left after: {', '.join(used) or 'the context product'}"
