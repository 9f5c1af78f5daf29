"""What a nudge run can be told: `nextbest train nudge-policy --set key=value`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Learner = Literal["auto", "constant", "pooled-linear", "doubly-robust", "boosted-trees"]


class NudgeConfiguration(msgspec.Struct, frozen=True):
    """Flat, with defaults; the same for every data set.

    What counts:
    - `target`: the column that counts, `reward` or `value` (money, say).
    - `reward_unit`, `reward_worth`: what one unit of it is called and worth, in the costs' unit.
    - `reward_minimum`, `reward_maximum`: the least and greatest it could be; both 0 takes what was
      seen (0 and 1 for rewards of that kind). The gate's bound is as honest as they are.
    - `costs`: `action=cost,…`, over those of the actions table; `*=cost` for all but `none`.
    - `actions`: `action,…`, to learn on these only; empty takes all.

    What is learned:
    - `learner`: `auto` takes what predicts the rewards of decisions it has not seen best.
    - `folds`: parts of the log; each is valued by a policy that has not seen it.
    - `maximum_categories`: values of a context column told apart; the rest count as unseen.

    What is served:
    - `policy`: `epsilon-greedy`, `softmax` or `thompson`; `epsilon`: the share drawn at random.
    - `temperature` of softmax, in the values' unit; 0 chooses the one at which the best action
      gets 1 − `epsilon` on average.
    - `exploration_floor`: shared evenly over the eligible actions, on top of it.
    - `bootstrap_models`: for thompson.

    The gate:
    - `gate_margin`: by how much the lower bound must exceed logging policy and best constant.
    - `gate_confidence`: one-sided level of that bound.
    - `gate_effective_sample_size`, `gate_matched_rewards`, `gate_unsupported`: floors, and the
      greatest share of choices that were never logged or whose weights the log contradicts.
    - `resamples`: of the bootstrap in the report. `seed`: of everything drawn.
    """

    seed: Annotated[int, Meta(ge=0)] = 0
    target: Literal["reward", "value"] = "reward"
    reward_unit: Annotated[str, Meta(min_length=1, max_length=64)] = "reward"
    reward_worth: Annotated[float, Meta(gt=0)] = 1.0
    reward_minimum: float = 0.0
    reward_maximum: float = 0.0
    costs: Annotated[str, Meta(max_length=256)] = ""
    actions: Annotated[str, Meta(max_length=256)] = ""
    learner: Learner = "auto"
    folds: Annotated[int, Meta(ge=3, le=20)] = 5
    maximum_categories: Annotated[int, Meta(ge=1, le=1000)] = 50
    policy: Literal["softmax", "epsilon-greedy", "thompson"] = "epsilon-greedy"
    epsilon: Share = 0.1
    temperature: Annotated[float, Meta(ge=0)] = 0.0
    exploration_floor: Share = 0.0
    bootstrap_models: Annotated[int, Meta(ge=2, le=500)] = 50
    gate_margin: float = 0.0
    gate_confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.95
    gate_effective_sample_size: Annotated[float, Meta(ge=0)] = 200.0
    gate_matched_rewards: Annotated[float, Meta(ge=0)] = 30.0
    gate_unsupported: Share = 0.01
    resamples: Annotated[int, Meta(ge=50, le=10_000)] = 1000
