"""From fitted reward models to the policy that serves: parameters, arrays, artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference import artifact
from inference.artifact import Artifact
from inference.features import Feature
from inference.guardrail_rules import GuardrailRules
from inference.policy import KIND, Policy, PolicyParameters
from training.nudge.configuration import NudgeConfiguration
from training.nudge.models import Learner
from training.nudge.prepare import Prepared
from training.nudge.selection import Candidate, bootstrap_models, examples_of

_BISECTIONS = 60
_GREEDIEST = 1e-9


def build(
    prepared: Prepared,
    candidate: Candidate,
    configuration: NudgeConfiguration,
    *,
    salt: str,
    provenance: dict[str, Any],
) -> Artifact:
    """Fit on all of `prepared` and make the artefact's content; nothing is written.

    Raises `ArtifactError` if what was built could not be served.
    """
    examples = examples_of(prepared)
    model = candidate.make().fit(examples)
    arrays = model.arrays()
    if configuration.policy == "thompson":
        generator = np.random.default_rng(configuration.seed)
        drawn = bootstrap_models(
            candidate, examples, count=configuration.bootstrap_models, generator=generator
        )
        coefficients = [m.arrays()["coefficients"] for m in drawn]
        arrays["bootstrap_coefficients"] = np.stack(coefficients)
    parameters = _parameters(prepared, model, configuration, salt=salt)
    manifest = {
        "kind": KIND,
        "serving": msgspec.to_builtins(parameters),
        "configuration": msgspec.to_builtins(configuration),
        "learner": candidate.name,
        "data": window(prepared),
        "libraries": {"numpy": np.__version__},
        **provenance,
    }
    built = Artifact(manifest=manifest, arrays=arrays, tables={})
    Policy(built)
    return built


def write(folder: Path, built: Artifact) -> None:
    artifact.write(folder, manifest=built.manifest, arrays=built.arrays, tables=built.tables)


def window(prepared: Prepared) -> dict[str, Any]:
    """What a policy has seen; times are epoch seconds."""
    return {
        "start": int(prepared.times.min()),
        "end": int(prepared.times.max()),
        "decisions": len(prepared),
        "fingerprint": prepared.meta["fingerprint"],
    }


def _parameters(
    prepared: Prepared, model: Learner, configuration: NudgeConfiguration, *, salt: str
) -> PolicyParameters:
    return PolicyParameters(
        policy=configuration.policy,
        actions=prepared.specs,
        features=msgspec.convert(prepared.meta["features"], list[Feature]),
        temperature=configuration.temperature or _temperature(prepared, model, configuration),
        epsilon=configuration.epsilon if configuration.policy == "epsilon-greedy" else 0.0,
        exploration_floor=configuration.exploration_floor,
        link=model.link,
        reward_unit=configuration.reward_unit,
        reward_worth=configuration.reward_worth,
        salt=salt,
        guardrails=msgspec.convert(prepared.meta["guardrails"], GuardrailRules),
    )


def _temperature(prepared: Prepared, model: Learner, configuration: NudgeConfiguration) -> float:
    """The temperature at which the best action gets 1 − epsilon on average over the log."""
    if configuration.policy != "softmax":
        return 1.0
    values = configuration.reward_worth * model.rewards(prepared.contexts) - prepared.costs
    if prepared.eligible is not None:
        values = np.where(prepared.eligible, values, -np.inf)
    gaps = values - values.max(axis=1, keepdims=True)
    low, high = _GREEDIEST, max(float(-gaps[np.isfinite(gaps)].min()), _GREEDIEST) * 1e3
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(low * high))
        share = float((1 / np.exp(gaps / middle).sum(axis=1)).mean())
        low, high = (middle, high) if share > 1 - configuration.epsilon else (low, middle)
    return low
