"""The gate: may this policy live? Floors on what the log can tell, then honest lower bounds.

Every check says in words what it needed and what it found; the report keeps them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.nudge.configuration import NudgeConfiguration
from training.nudge.support import Support


@dataclass(frozen=True)
class Check:
    """One condition: `value` at least (or at most) `threshold`; `sentence` is the reason."""

    name: str
    metric: str
    value: float
    threshold: float
    passed: bool
    sentence: str

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def verdict(
    support: Support,
    comparisons: Mapping[str, Mapping[str, float]],
    configuration: NudgeConfiguration,
) -> dict[str, Any]:
    """Outcome, reasons in words, and every check. `comparisons` are of `valuation.Difference`,
    by what the policy is compared with: `logging policy`, `best constant action (…)` and, where
    one could be valued fairly, `champion`."""
    checks = [*_floors(support, configuration)]
    for name, figures in comparisons.items():
        judge = _not_worse if name == "champion" else _better
        checks.append(judge(name, figures, configuration))
    reasons = [f"{check.name}: {check.sentence}" for check in checks if not check.passed]
    return {
        "outcome": "refused" if reasons else "passed",
        "reasons": reasons,
        "checks": [check.as_json() for check in checks],
    }


def _floors(support: Support, configuration: NudgeConfiguration) -> list[Check]:
    size, matched = support.effective_sample_size, support.matched_rewards
    size_floor = configuration.gate_effective_sample_size
    matched_floor = configuration.gate_matched_rewards
    return [
        Check(
            "effective sample size",
            "effective_sample_size",
            size,
            size_floor,
            size >= size_floor,
            f"the log is worth {size:,.1f} decisions of this policy (largest weight "
            f"{support.largest_weight:,.1f}), at least {size_floor:,.0f} are needed to judge it",
        ),
        Check(
            "matched rewards",
            "matched_rewards",
            matched,
            matched_floor,
            matched >= matched_floor,
            f"{matched:,.1f} rewarded decisions agree with this policy, at least "
            f"{matched_floor:,.0f} are needed to judge it",
        ),
        Check(
            "support",
            "unsupported",
            support.unsupported,
            configuration.gate_unsupported,
            support.unsupported <= configuration.gate_unsupported,
            f"{support.unsupported:.1%} of this policy's choices were never logged, at most "
            f"{configuration.gate_unsupported:.1%} may be",
        ),
        _propensities(support, configuration),
    ]


def _propensities(support: Support, configuration: NudgeConfiguration) -> Check:
    """Every estimate divides by the log's propensities: they must fit what it did."""
    worst = f" ({support.violations[0]})" if support.contradicted else ""
    return Check(
        "propensities",
        "contradicted",
        support.contradicted,
        configuration.gate_unsupported,
        support.contradicted <= configuration.gate_unsupported,
        f"importance weights are off by {support.contradicted:.3f} beyond chance, at most "
        f"{configuration.gate_unsupported:.3f} is allowed{worst}",
    )


def _better(name: str, figures: Mapping[str, float], configuration: NudgeConfiguration) -> Check:
    bound, margin = figures["lower_bound"], configuration.gate_margin
    return Check(
        f"better than the {name}",
        "lower_bound",
        bound,
        margin,
        bound > margin,
        f"it is estimated to earn {figures['difference']:+.5f} per decision against it, but at "
        f"{configuration.gate_confidence:.0%} confidence only more than {bound:+.5f}; more than "
        f"{margin:+.5f} is needed",
    )


def _not_worse(name: str, figures: Mapping[str, float], configuration: NudgeConfiguration) -> Check:
    highest = figures["betting_high"]
    return Check(
        f"not worse than the {name}",
        "betting_high",
        highest,
        0.0,
        highest >= 0,
        f"on decisions that neither has seen it earns {figures['difference']:+.5f} per decision "
        f"against it, and at most {highest:+.5f}",
    )
