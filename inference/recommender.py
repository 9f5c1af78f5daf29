"""The serving core of next-best-product, similar, rank and trending, numpy only.

    score(j) = neighbours_weight · Σ_h ( a_h · R[h, j] + b_h · L[h, j] )     (distinct history)
             + repeat_weight     · Σ_{h = j} recency_h / max_j Σ_{h = j} recency_h
             + trend_weight      · T[j]

with `a_h` the sum of `event_weight · decay ** steps_back` over the last `history_length` events,
normalised to sum to one; `b_h` the same with `lasting_decay`, times `lasting_weight`; `recency_h`
the event weight halved every `repeat_half_life_days` (or, without times, decayed by place). R and L
are the matrix's `recent` and `lasting` values (`inference.neighbours`). Where the artefact has
factors, the best `rerank_candidates` gain

    factor_weight · f_j · (mean of their best 50 scores) / (mean of their best 50 f)

with `f` as in `inference.factors`. All of it is a sum over the history, so an answer is explained
exactly. Runs in a Lambda, and in `Evaluate`, so that what is evaluated is what serves.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from inference.artifact import Artifact, open_artifact
from inference.contracts import ProductAnswer, ProductRequest, Recommendation
from inference.errors import ArtifactError
from inference.factors import Factors
from inference.filters import Attributes
from inference.live_products import ProductState
from inference.neighbours import Neighbours
from inference.parameters import ServingParameters
from inference.question import Catalogue, Question, read_question, why_empty
from inference.ranking import Ranking, find_taste
from inference.reasons import (
    OTHER,
    REPEAT,
    SHOWN_REASONS,
    TREND,
    Amounts,
    Explainer,
    Parts,
    contributions,
    in_rows,
)
from inference.scores import Scores, Trend
from inference.slots import Pick, fill

__all__ = ["KIND", "SHOWN_REASONS", "Recommender", "ServingParameters"]

KIND = "recommender"


class Recommender:
    """A model ready to answer. `recommend` is pure: no clock, no state, no randomness."""

    def __init__(self, artifact: Artifact) -> None:
        arrays, tables = artifact.arrays, artifact.tables
        self.manifest = artifact.manifest
        self.parameters = msgspec.convert(artifact.manifest["serving"], ServingParameters)
        self.product_ids: list[str] = tables["product_ids"]
        self.titles: list[str | None] = tables.get("titles") or [None] * len(self.product_ids)
        self.neighbours = Neighbours.of(arrays)
        self.factors = Factors.of(arrays)
        self.trend = np.asarray(arrays["trend"], dtype=np.float64)
        self._trends: dict[float, Trend] = {}
        self.trend_order = np.asarray(arrays["trend_order"])
        self.catalogue = Catalogue(
            self.product_ids,
            self.titles,
            Attributes(tables["attributes"], arrays),
            {product: code for code, product in enumerate(self.product_ids)},
            has_lasting=self.neighbours.lasting is not None,
        )
        if len(self.neighbours.targets) != len(self.product_ids):
            raise ArtifactError(
                f"{len(self.neighbours.targets)} rows of neighbours for "
                f"{len(self.product_ids)} products"
            )

    @classmethod
    def open(cls, folder: Path) -> Recommender:
        """Open the artefact in `folder`; raises `ArtifactError` if it cannot be trusted."""
        return cls(open_artifact(folder, kind=KIND))

    def changed_by(self, states: Sequence[ProductState]) -> Self:
        """The same model with what was said of its products since it was trained."""
        catalogue, found = self.catalogue, copy.copy(self)
        attributes = catalogue.attributes.changed_by(states, catalogue.code_of)
        found.catalogue = msgspec.structs.replace(catalogue, attributes=attributes)
        return found

    def recommend(
        self, request: ProductRequest, *, now: datetime, decision_id: str = ""
    ) -> Recommendation:
        """Products with reasons, best first; draws follow from `decision_id` alone.

        Raises `BadRequestError` for a filter on an attribute that the model does not know.
        """
        question = read_question(
            request, self.catalogue, parameters=self.parameters, now=request.now or now
        )
        ranking = self._rank(question)
        picks = fill(
            ranking,
            request,
            question=question,
            attributes=self.catalogue.attributes,
            trend=self._trend(1.0),
            decision_id=decision_id,
        )
        return Recommendation(
            products=self._answers(picks, question, ranking),
            unknown_products=question.unknown,
            fallback=None if question.personal or not question.fills else "trend",
            empty_reason=None if picks else why_empty(request),
        )

    def _rank(self, question: Question) -> Ranking:
        """The order of the products for a question."""
        sources = question.sources
        targets, values = self.neighbours.gather(sources)
        personal = np.bincount(
            targets.ravel(), weights=values.ravel(), minlength=len(self.product_ids)
        ).astype(np.float64, copy=False)
        repeated, amounts = question.repeats
        if len(repeated):
            personal[repeated] += amounts
        scores = Scores(
            targets=targets,
            values=values,
            strengths=sources.recent + sources.lasting,
            personal=personal,
            repeats=repeated,
            trend=self._trend(question.trend_weight),
            only=question.only,
            fills=question.fills,
        )
        taste = None
        if sources.kind == "history":
            taste = find_taste(
                self.factors,
                scores,
                sources.items,
                parameters=self.parameters,
                banned=question.banned,
            )
        if question.banned:
            personal[question.banned] = -np.inf
        return Ranking(scores, taste, self.neighbours)

    def _trend(self, weight: float) -> Trend:
        """The prior's part of the scores, weighed once a model."""
        if weight not in self._trends:
            values = weight * self.trend if weight and len(self.trend) else None
            self._trends[weight] = Trend(values, self.trend_order)
        return self._trends[weight]

    def _answers(
        self, picks: list[Pick], question: Question, ranking: Ranking
    ) -> list[ProductAnswer]:
        """The picked products with the reasons that their scores are the sums of."""
        items = [pick.item for pick in picks]
        parts = self._parts(np.array(items, dtype=np.int64), question, ranking)
        sources = question.sources
        explainer = Explainer(self.product_ids, self.titles, sources.items.tolist(), sources.kind)
        explained = zip(picks, parts.totals, explainer.reasons(items, parts), strict=True)
        return [
            ProductAnswer(
                self.product_ids[pick.item],
                score,
                reasons,
                pick.propensity,
                self.titles[pick.item],
                pick.promoted,
                pick.explored,
                pick.fallback,
            )
            for pick, score, reasons in explained
        ]

    def _parts(self, items: np.ndarray, question: Question, ranking: Ranking) -> Parts:
        """What each source, the repeat part and the trend add to each item's score."""
        past = len(question.sources.items)
        amounts = contributions(ranking.scores, items)
        own = self._own_amounts(items, question, ranking.scores.trend)
        if own:
            place, columns, values = map(np.concatenate, zip(amounts, *own, strict=True))
            amounts = place, columns, values
        if ranking.taste is None:
            return Parts.of(amounts, len(items), past=past)
        rows = in_rows(amounts, len(items), past + OTHER)
        rows[:, :past] += ranking.taste.contributions(items)
        return Parts.of_rows(rows)

    def _own_amounts(self, items: np.ndarray, question: Question, trend: Trend) -> list[Amounts]:
        """What `items` have of themselves, repeat part and trend, in the columns behind the
        sources'."""
        found: list[Amounts] = []
        past, (repeated, amounts) = len(question.sources.items), question.repeats
        if len(repeated):
            place, which = (items[:, None] == repeated).nonzero()
            found.append((place, np.full(len(place), past + REPEAT), amounts.take(which)))
        if trend.values is not None:
            places = np.arange(len(items))
            found.append((places, np.full(len(items), past + TREND), trend.values.take(items)))
        return found
