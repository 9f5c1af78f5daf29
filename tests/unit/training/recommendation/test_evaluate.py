"""The gate passes or refuses, and every refusal has its reason."""

from __future__ import annotations

import pytest

from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.evaluate import gate


def models(**ndcg: float) -> dict[str, dict[str, float]]:
    defaults = {"challenger": 0.2, "popularity": 0.1, "recent_popularity": 0.1}
    return {name: {"ndcg@10": v, "coverage@10": 0.5} for name, v in {**defaults, **ndcg}.items()}


@pytest.mark.parametrize(
    ("figures", "settings", "refused_for"),
    [
        ({}, {}, []),
        ({"challenger": 0.1}, {}, []),
        ({"popularity": 0.3}, {}, ["better than popularity: ndcg@10 is 0.2000, needed 0.3000"]),
        ({"recent_popularity": 0.3}, {"gate_margin": -0.1}, []),
        ({}, {"gate_margin": 0.2}, ["better than popularity: ndcg@10 is 0.2000, needed 0.3000"]),
        ({}, {"gate_coverage": 0.6}, ["coverage: coverage is 0.5000, needed 0.6000"]),
        ({"champion": 0.204}, {}, []),
        (
            {"champion": 0.25},
            {},
            ["not worse than the champion: ndcg@10 is 0.2000, needed 0.2450"],
        ),
        ({"champion": 0.25}, {"champion_tolerance": 0.1}, []),
    ],
)
def test_the_verdict_and_its_reasons(
    figures: dict[str, float], settings: dict[str, float], refused_for: list[str]
) -> None:
    verdict = gate(models(**figures), RecommenderConfiguration(**settings))
    assert verdict["reasons"] == refused_for
    assert verdict["outcome"] == ("refused" if refused_for else "passed")
    assert sum(not check["passed"] for check in verdict["checks"]) == len(refused_for)


def test_everything_wrong_is_said_at_once() -> None:
    figures = models(challenger=0.0, champion=0.5)
    verdict = gate(figures, RecommenderConfiguration(gate_coverage=0.9))
    assert len(verdict["reasons"]) == len(verdict["checks"]) == 3
