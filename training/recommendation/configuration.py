"""What a recommender run can be told: `nextbest train recommender --set key=value`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class RecommenderConfiguration(msgspec.Struct, frozen=True):
    """Flat, with defaults; the same for every data set.

    - `seed`: of every sample drawn.
    - `search_seed`: where the search for parameters begins; searches side by side differ in it.
    - `budget_seconds`: CPU seconds for the search and the fits after it, nominal: they are
      estimated from sizes, so that the same data gives the same model on every machine.
    - `holdout_days`: length of the test window; 0 lets the job choose (a tenth of the span, 1 to
      28 days). Data without times holds out each customer's last interaction, or, where the order
      says nothing, a tenth of the interactions.
    - `k`: length of the list that the search, the metrics and the gate look at.
    - `neighbours`: how many neighbours of each product the model keeps.
    - `factors`: size of the factors that may re-rank the candidates; 0 is without.
    - `tuning_customers`, `evaluation_customers`: at most so many, drawn with the seed.
    - `gate_customers`: on so many customers at least the gate must have looked.
    - `gate_margin`: by more than how much NDCG@k must exceed the better baseline, absolute.
    - `champion_tolerance`: by how much NDCG@k may fall short of the champion, absolute.
    - `gate_coverage`: least share of the catalogue that appears in somebody's top k.
    - `newcomer_cost`: the share of NDCG@k of the products with history that may be given up so
      that those without are found; 0 leaves newcomers to their own content.
    - `purchase_event`: the event that counts as bought, and is predicted where it occurs.
    """

    seed: Annotated[int, Meta(ge=0)] = 0
    search_seed: Annotated[int, Meta(ge=0)] = 0
    budget_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    holdout_days: Annotated[float, Meta(ge=0, le=365)] = 0.0
    k: Annotated[int, Meta(ge=1, le=100)] = 10
    neighbours: Annotated[int, Meta(ge=1, le=1000)] = 200
    factors: Annotated[int, Meta(ge=0, le=512)] = 128
    tuning_customers: Annotated[int, Meta(ge=10)] = 20_000
    evaluation_customers: Annotated[int, Meta(ge=10)] = 5000
    gate_customers: Annotated[int, Meta(ge=1)] = 50
    gate_margin: Annotated[float, Meta(ge=-1, le=1)] = 0.0
    champion_tolerance: Annotated[float, Meta(ge=0, le=1)] = 0.005
    gate_coverage: Annotated[float, Meta(ge=0, le=1)] = 0.0
    newcomer_cost: Annotated[float, Meta(ge=0, le=1)] = 0.05
    purchase_event: Annotated[str, Meta(min_length=1, max_length=64)] = "purchase"
