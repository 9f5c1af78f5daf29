"""What training chose for the serving core; stands in a recommender's manifest under `serving`."""

from __future__ import annotations

import msgspec

REPEAT_WEIGHT_OF_BUY_AGAIN = 1.0


class ServingParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights and decays of the formula in `inference.recommender`.

    `decay` weighs the history for the matrix's `recent` values, `lasting_decay` for its `lasting`
    ones, which count `lasting_weight` times. Both sets of weights are divided by their sum to the
    `history_power`: at 1 a long history scores no higher than a short one, at 0 every event adds.
    `new_trend_weight` stands in for `trend_weight` where the request excludes what was seen: what
    sells tells more about something new than about the same again. The factors, where the artefact
    has them, re-rank the best `rerank_candidates` with weight `factor_weight`; `factor_alpha` is
    the confidence of one interaction in their least squares (implicit ALS, Hu et al. 2008).
    """

    neighbours_weight: float = 1.0
    lasting_weight: float = 1.0
    repeat_weight: float = 0.0
    trend_weight: float = 0.0
    new_trend_weight: float | None = None
    factor_weight: float = 0.0
    decay: float = 0.8
    lasting_decay: float = 1.0
    history_length: int = 50
    history_power: float = 1.0
    repeat_half_life_days: float = 90.0
    repeat_decay: float = 0.98
    event_weights: dict[str, float] = {}
    default_event_weight: float = 1.0
    purchase_event: str = "purchase"
    exclude_seen: bool = False
    factor_alpha: float = 40.0
    rerank_candidates: int = 500
