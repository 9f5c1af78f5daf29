"""Nudge policies on real logs, beside the peers in the same run.

    python -m tests.benchmarks.nudge --json FILE [--hillstrom PATH] [--arm NAME] [--cost .045]
        [--open-bandit FOLDER]

Uplift: one arm against none, reward `visit`, 5-fold `StratifiedKFold(shuffle=True,
random_state=42)` on action × visit × conversion, pooled out-of-fold scores; Qini as in
`training.nudge.uplift`; value of "treat iff uplift > cost" by doubly robust estimate with the
method's own rewards as baseline. All methods get the same columns, ours. CPU seconds of the five
fits, any choice of a learner included.
Estimators: mean relative error on classification bandits with known truth (see
`tests/unit/training/nudge/classification_bandit.py` for what stands in for letter recognition).
Peers (scikit-uplift, causalml, Vowpal Wabbit) are skipped with a line where not installed: the
extra `benchmarks`. Without paths the data beside the project is read, if it is there.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from pipelines.data import read_sources
from tests.benchmarks.nudge_open_bandit import campaigns, relative_errors
from tests.benchmarks.rows import Row, peak_mb, write_rows
from tests.unit.training.nudge.classification_bandit import (
    cross_fitted_baseline,
    digits,
    letters_like,
)
from training.nudge.configuration import NudgeConfiguration
from training.nudge.models import DoublyRobustUplift, Learner, PooledLinear
from training.nudge.off_policy import ESTIMATORS, Log, dr
from training.nudge.prepare import Prepared, prepare
from training.nudge.selection import choose, examples_of
from training.nudge.tables import NudgeDataset
from training.nudge.trees import BoostedTrees
from training.nudge.uplift import auuc_score, qini_score, uplift_at

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CHOSEN = "dr"
# A method: taught on some rows, predicts (n, 2) rewards of the contexts of others.
Method = Callable[[Prepared, np.ndarray], np.ndarray]


def trial(path: Path, *, arm: str, target: str = "reward") -> tuple[Prepared, np.ndarray]:
    """One arm and none of a file, `none` first, and the strata of its rows."""
    dataset = read_sources(path, now=datetime.now(UTC))[0]
    if not isinstance(dataset, NudgeDataset):
        raise SystemExit(f"{path} holds no nudges")
    settings = NudgeConfiguration(actions=f"none,{arm}", target=target)
    prepared = prepare(dataset, settings)
    if prepared.names[0] != "none":
        raise SystemExit("the arm must come after none in the data set's actions")
    kept = dataset.nudges[dataset.nudges["action"].isin(["none", arm])]
    bought = (kept["value"] > 0).astype(int) if "value" in kept else 0 * kept["reward"]
    strata = kept["action"] + kept["reward"].astype(str) + bought.astype(str)
    return prepared, strata.to_numpy()


def ours(make: Callable[[], Learner]) -> Method:
    return lambda taught, contexts: make().fit(examples_of(taught)).rewards(contexts)


def chosen(learner: Any) -> Method:
    """Our learner as a run would choose it, on the taught rows alone."""
    settings = NudgeConfiguration(learner=learner)

    def method(taught: Prepared, contexts: np.ndarray) -> np.ndarray:
        candidate = choose(taught, settings, report=lambda found: None).overall
        return candidate.make().fit(examples_of(taught)).rewards(contexts)

    return method


def scikit_uplift(kind: str) -> Method | None:
    try:
        from sklift import models
    except ImportError:
        return None

    def method(taught: Prepared, contexts: np.ndarray) -> np.ndarray:
        one = LogisticRegression(max_iter=500)
        model = {
            "solo": lambda: models.SoloModel(one, method="treatment_interaction"),
            "two": lambda: models.TwoModels(one, LogisticRegression(max_iter=500)),
        }[kind]()
        model.fit(taught.contexts, taught.rewards.astype(int), taught.actions)
        scores = np.asarray(model.predict(contexts))
        treated, control = (
            (model.trmnt_preds_, model.ctrl_preds_)
            if hasattr(model, "trmnt_preds_")
            else (scores, 0)
        )
        return np.stack([np.zeros(len(contexts)) + control, treated], axis=1)

    return method


def causalml_forest() -> Method | None:
    try:
        from causalml.inference.tree import UpliftRandomForestClassifier
    except ImportError:
        return None

    def method(taught: Prepared, contexts: np.ndarray) -> np.ndarray:
        forest = UpliftRandomForestClassifier(
            control_name="none", n_estimators=50, max_depth=6, min_samples_leaf=200, random_state=0
        )
        names = np.array(["none", "treated"])[taught.actions]
        forest.fit(taught.contexts, treatment=names, y=taught.rewards.astype(int))
        uplift = np.asarray(forest.predict(contexts)).ravel()
        return np.stack([np.zeros(len(uplift)), uplift], axis=1)

    return method


def vowpal_wabbit() -> Method | None:
    """`--loss_function logistic` with context × action interactions, ten passes over memory."""
    try:
        from vowpalwabbit import pyvw
    except ImportError:
        return None

    def line(x: np.ndarray, action: int, label: str = "") -> str:
        numbers = " ".join(f"{i}:{value:.5g}" for i, value in enumerate(x) if value)
        return f"{label} |x {numbers} |a {action}"

    def method(taught: Prepared, contexts: np.ndarray) -> np.ndarray:
        model = pyvw.Workspace("--loss_function logistic --link logistic -q xa --quiet")
        rows = zip(taught.contexts, taught.actions, taught.rewards, strict=True)
        lines = [line(x, a, "1" if r else "-1") for x, a, r in rows]
        generator = np.random.default_rng(0)
        for _ in range(3):
            for row in generator.permutation(len(lines)):
                model.learn(lines[row])
        found = [[model.predict(line(x, a)) for a in (0, 1)] for x in contexts]
        model.finish()
        return np.array(found)

    return method


METHODS: dict[str, Method | None] = {
    "nextbest": chosen("auto"),
    "nextbest, choosing among linear": chosen("pooled-linear"),
    "nextbest, pooled linear": ours(lambda: PooledLinear(own=1000.0)),
    "nextbest, doubly robust": ours(lambda: DoublyRobustUplift(penalty=300.0)),
    "nextbest, boosted trees": ours(BoostedTrees),
    "scikit-uplift, one model with interactions": scikit_uplift("solo"),
    "scikit-uplift, two models": scikit_uplift("two"),
    "causalml uplift forest": causalml_forest(),
    "Vowpal Wabbit, logistic with interactions": vowpal_wabbit(),
    "chance": lambda taught, contexts: np.random.default_rng(0).random((len(contexts), 2)),
}


def measure(method: Method, prepared: Prepared, strata: np.ndarray, cost: float) -> dict[str, Any]:
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    predicted = np.zeros((len(prepared), 2))
    began = time.process_time()
    for taught, unseen in folds.split(prepared.contexts, strata):
        predicted[unseen] = method(prepared.take(taught), prepared.contexts[unseen])
    seconds = time.process_time() - began
    uplift = predicted[:, 1] - predicted[:, 0]
    rewards = prepared.rewards.astype(int)
    costs = np.array([0.0, cost])
    log = Log(prepared.actions, prepared.rewards - costs[prepared.actions], prepared.propensities)
    treat = np.eye(2)[(uplift > cost).astype(int)]
    gains = predicted - costs
    terms = dr(log, treat, gains).numerators
    constants = [dr(log, np.eye(2)[np.full(len(log), a)], gains).numerators for a in (0, 1)]
    difference = terms - max(constants, key=np.mean)
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    return {
        "qini": qini_score(rewards, uplift, prepared.actions),
        "auuc": auuc_score(rewards, uplift, prepared.actions),
        "uplift_at_30_percent": uplift_at(rewards, uplift, prepared.actions),
        "value": float(terms.mean()),
        "over_best_constant": float(difference.mean()),
        "low": float(difference.mean() - half),
        "high": float(difference.mean() + half),
        "cpu_seconds": seconds,
    }


def estimators(repeats: int) -> dict[str, dict[str, float]]:
    """Mean relative errors, by bandit and estimator."""
    found = {}
    for make in (letters_like, digits):
        bandit, generator = make(), np.random.default_rng(1)
        errors: dict[str, list[float]] = {name: [] for name in ("naive", *ESTIMATORS)}
        for _ in range(repeats):
            log = bandit.draw(generator)
            baseline = cross_fitted_baseline(
                log,
                bandit.contexts,
                lambda: PooledLinear(own=1.0),
                actions=bandit.target.shape[1],
            )
            values = {n: m(log, bandit.target, baseline).value for n, m in ESTIMATORS.items()}
            for name, value in {"naive": float(log.gains.mean()), **values}.items():
                errors[name].append(abs(value / bandit.truth - 1))
        found[make.__name__] = {name: float(np.mean(each)) for name, each in errors.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--hillstrom", type=Path, default=DATA / "hillstrom/hillstrom.csv.xz")
    parser.add_argument("--open-bandit", type=Path, default=DATA / "open-bandit")
    parser.add_argument("--arm", default="womens-email")
    parser.add_argument("--cost", type=float, default=0.045)
    parser.add_argument("--repeats", type=int, default=20, help="logs drawn per classification")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    with threadpool_limits(1):
        if options.hillstrom.exists():
            rows += _uplift(options)
        else:
            print(f"{options.hillstrom} is not there: no figures on real data (--hillstrom PATH)")
        rows += _estimators(options.repeats)
        rows += _open_bandit(options.open_bandit)
    if options.json:
        write_rows(options.json, rows)


def _uplift(options: argparse.Namespace) -> Iterator[Row]:
    prepared, strata = trial(options.hillstrom, arm=options.arm)
    print(f"{options.arm} against none, {len(prepared):,} customers, cost {options.cost}")
    print(f"{'':45s}   Qini   AUUC  up@30   value  over best constant [95 %]  CPU s")
    subject = f"{options.hillstrom.name.split('.')[0]}, {options.arm} against none"
    for name, method in METHODS.items():
        if method is None:
            print(f"{name:45s} not installed: pip install -e '.[benchmarks]'")
            continue
        f = measure(method, prepared, strata, options.cost)
        span = f"{f['over_best_constant']:+.4f} [{f['low']:+.4f}, {f['high']:+.4f}]"
        print(
            f"{name:45s} {f['qini']:6.4f} {f['auuc']:6.4f} {f['uplift_at_30_percent']:6.4f} "
            f"{f['value']:7.4f}  {span}  {f['cpu_seconds']:5.2f}",
            flush=True,
        )
        seconds = round(f.pop("cpu_seconds"), 2)
        yield Row("nudge/uplift", subject, name, f, seconds, peak_mb())


def _error_rows(subject: str, errors: dict[str, float], seconds: float) -> Iterator[Row]:
    """A row an estimator; the one that the gate's report leads with is ours."""
    for name, error in errors.items():
        model = "nextbest" if name == CHOSEN else name
        yield Row("nudge/off-policy", subject, model, {"relative_error": error}, seconds, peak_mb())


def _estimators(repeats: int) -> Iterator[Row]:
    began = time.process_time()
    found = estimators(repeats)
    seconds = round((time.process_time() - began) / len(found), 2)
    print(f"\nmean relative error of a policy's value, {repeats} logs each")
    for name, errors in found.items():
        print(f"{name:14s}" + "".join(f"  {n} {e:.4f}" for n, e in errors.items()))
        yield from _error_rows(name, errors, seconds)


def _open_bandit(folder: Path) -> Iterator[Row]:
    names = list(campaigns(folder))
    print("\nOpen Bandit, random log -> Thompson sampler: relative error (truth: 12 to 16 %)")
    for name in names:
        began = time.process_time()
        errors = relative_errors(folder, name)
        print(f"{name:14s}" + "".join(f"  {n} {e:.4f}" for n, e in errors.items()))
        seconds = round(time.process_time() - began, 2)
        yield from _error_rows(f"open bandit, {name}", errors, seconds)
    if not names:
        print(f"{folder} holds no pair of logs (--open-bandit FOLDER)")


if __name__ == "__main__":
    main()
