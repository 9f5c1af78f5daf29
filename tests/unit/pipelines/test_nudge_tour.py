"""What the demo says of a policy: its chances in the simulator's order, its truth, its table."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from inference.artifact import Artifact
from inference.policy import KIND, Policy
from pipelines.demo import nudges
from pipelines.demo.nudge_tour import _require_same, probabilities, render_truth, truth_of
from pipelines.errors import RunError

AUDIENCE = nudges.simulate_audience(customers=500)


def policy(**values: float) -> Policy:
    """A greedy policy that values each action the same for everyone; actions in reverse order."""
    actions = [dict(action) for action in reversed(nudges.ACTIONS)]
    serving = {"policy": "epsilon-greedy", "actions": actions, "features": []}
    gains = [values.get(str(action["action"]), 0.0) + action["cost"] for action in actions]
    arrays = {"coefficients": np.array(gains, dtype=np.float64)[:, np.newaxis]}
    return Policy(Artifact({"kind": KIND, "serving": serving}, arrays, {}))


def test_chances_are_in_the_simulator_s_order_and_only_of_the_eligible() -> None:
    values = {"voucher-mail": 3.0, "app-push": 2.0, "none": 1.0}
    found = probabilities(policy(**values), AUDIENCE)
    expected = np.zeros_like(found)
    mail, push = nudges.NAMES.index("voucher-mail"), nudges.NAMES.index("app-push")
    for row, can in enumerate(AUDIENCE.eligible):
        expected[row, mail if can[mail] else push if can[push] else 0] = 1.0
    assert np.array_equal(found, expected)


def test_the_truth_of_a_constant_policy_is_the_constant_s() -> None:
    best = nudges.best_constant(AUDIENCE)
    truth = truth_of(policy(**{best: 5.0, "none": 1.0}), AUDIENCE)
    assert truth.live == pytest.approx(truth.best_constant)
    assert truth.uniform < truth.best_constant < truth.oracle
    assert 0 < truth.gap_closed < 1


def test_the_table_holds_truth_beside_estimates() -> None:
    truth = truth_of(policy(**{"app-push": 5.0, "none": 1.0}), AUDIENCE)
    console = Console(file=io.StringIO(), width=120)
    console.print(render_truth(truth, {"challenger": {"value": 0.2, "low": 0.1, "high": 0.3}}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{truth.live:.4f}" in shown
    assert "[0.1000, 0.3000]" in shown


def test_a_lambda_that_answers_otherwise_fails_the_tour() -> None:
    expected = {"none": 0.25, "app-push": 0.75, "voucher-mail": 0.0}
    _require_same({"propensities": {"none": 0.25, "app-push": 0.75}}, expected, {})
    for wrong in ({"propensities": {"none": 1.0}}, {"error": {"status": 400}}):
        with pytest.raises(RunError, match="expected"):
            _require_same(wrong, expected, {})
