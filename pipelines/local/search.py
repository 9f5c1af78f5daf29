"""Which hyperparameters a tuning job of the local stage tries. Used by `pipelines.local.tuning`.

Strategies: Grid, Random, and Bayesian, which here draws at random.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator

from pipelines.local.registry import ServiceError

Values = dict[str, str]
_STRATEGIES = ("Grid", "Random", "Bayesian")
_DRAWS = 100


def draw(configuration: dict) -> list[Values]:
    """The hyperparameters of every child, in order. Raises `ServiceError` for a bad request."""
    ranges, limits = configuration.get("ParameterRanges", {}), configuration["ResourceLimits"]
    strategy = configuration["Strategy"]
    if strategy not in _STRATEGIES:
        known = ", ".join(_STRATEGIES)
        raise ServiceError("ValidationException", f"strategy {strategy}: expected one of {known}")
    if strategy == "Grid":
        return _grid(ranges, limits.get("MaxNumberOfTrainingJobs"))
    seed = configuration.get("RandomSeed", json.dumps(configuration, sort_keys=True, default=str))
    return list(_random(ranges, limits["MaxNumberOfTrainingJobs"], random.Random(seed)))


def _grid(ranges: dict, count: int | None) -> list[Values]:
    if ranges.get("IntegerParameterRanges") or ranges.get("ContinuousParameterRanges"):
        raise ServiceError("ValidationException", "Grid search takes categorical parameters only")
    axes = [
        [(r["Name"], value) for value in r["Values"]] for r in ranges["CategoricalParameterRanges"]
    ]
    found = [dict(point) for point in itertools.product(*axes)]
    if count not in (None, len(found)):
        raise ServiceError(
            "ValidationException",
            f"MaxNumberOfTrainingJobs is {count}; the grid has {len(found)} points",
        )
    return found


def _random(ranges: dict, count: int, source: random.Random) -> Iterator[Values]:
    """Points drawn at random, none twice as long as there are new ones to be found."""
    seen: list[Values] = []
    for _ in range(count):
        candidates = (_point(ranges, source) for _ in range(_DRAWS))
        point = next((c for c in candidates if c not in seen), None)
        if point is None:
            return
        seen.append(point)
        yield point


def _point(ranges: dict, source: random.Random) -> Values:
    point = {
        r["Name"]: str(source.choice(r["Values"]))
        for r in ranges.get("CategoricalParameterRanges", [])
    }
    for r in ranges.get("IntegerParameterRanges", []):
        low, high = int(r["MinValue"]), int(r["MaxValue"])
        drawn = round(_between(r, low - 0.5, high + 0.5, source))
        point[r["Name"]] = str(min(max(drawn, low), high))
    for r in ranges.get("ContinuousParameterRanges", []):
        point[r["Name"]] = repr(_between(r, float(r["MinValue"]), float(r["MaxValue"]), source))
    return point


def _between(given: dict, low: float, high: float, source: random.Random) -> float:
    scale = given.get("ScalingType", "Auto")
    if scale == "Logarithmic" and low > 0:
        return math.exp(source.uniform(math.log(low), math.log(high)))
    if scale == "ReverseLogarithmic" and 0 <= low < high < 1:
        return 1 - math.exp(source.uniform(math.log(1 - high), math.log(1 - low)))
    return source.uniform(low, high)
