"""The serving core of nudge: values of actions → probabilities over the eligible → a draw.

    value(a)       = reward_worth · reward(x, a) − cost(a)
    softmax        p(a) ∝ exp(value(a) / temperature)
    epsilon-greedy p(a) = (1 − ε)·[a is best] + ε / K
    thompson       p(a) = share of the bootstrap models for which a is best
    floor          p(a) ← (1 − floor)·p(a) + floor / K       (K = number of eligible actions)

The draw is a function of the probabilities, the decision's id and the policy's salt, so that an
auditor can repeat it. Runs in a Lambda, and in the jobs, so that what is evaluated is what serves.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from inference.artifact import Artifact, open_artifact
from inference.errors import ArtifactError
from inference.features import Context, Encoder, Feature
from inference.guardrail_rules import ActionSpec, GuardrailRules
from inference.value_models import (
    BootstrapModel,
    LinearModel,
    Link,
    ValueModel,
    expected,
    open_model,
)

KIND = "nudge-policy"
MAX_ACTIONS = 200
_2_TO_MINUS_53 = 2.0**-53
Share = Annotated[float, Meta(ge=0, le=1)]


class PolicyParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What training chose; stands in the manifest under `serving`. `salt` is the draws'."""

    policy: Literal["softmax", "epsilon-greedy", "thompson"]
    actions: list[ActionSpec]
    features: list[Feature]
    temperature: Annotated[float, Meta(ge=1e-9)] = 1.0
    epsilon: Share = 0.0
    exploration_floor: Share = 0.0
    link: Link = "identity"
    reward_unit: str = "reward"
    reward_worth: float = 1.0
    salt: str = ""
    guardrails: GuardrailRules = GuardrailRules()


class Policy:
    """A nudge policy ready to answer. Pure: no clock, no state."""

    def __init__(self, artifact: Artifact) -> None:
        self.manifest = artifact.manifest
        self.parameters = parameters_of(artifact.manifest.get("serving"))
        self.actions = [spec.action for spec in self.parameters.actions]
        self.encoder = Encoder(self.parameters.features)
        self._link, self._worth_of_reward = self.parameters.link, self.parameters.reward_worth
        self.costs = np.array([spec.cost for spec in self.parameters.actions])
        width = self.encoder.width
        self.model: ValueModel = open_model(artifact.arrays, width=width)
        self._value_model: LinearModel | None = None
        if isinstance(self.model, LinearModel) and self._link == "identity":
            self._value_model = self.model.rescaled(self._worth_of_reward, self.costs)
        self.bootstrap: BootstrapModel | None = None
        if self.parameters.policy == "thompson":
            self.bootstrap = _bootstrap(artifact.arrays, width=width)
        for model in (self.model, self.bootstrap):
            if model is not None and model.actions != len(self.actions):
                raise ArtifactError(
                    f"the arrays value {model.actions} actions, the manifest names "
                    f"{len(self.actions)}"
                )

    @classmethod
    def open(cls, folder: Path) -> Policy:
        """Open the artefact in `folder`; raises `ArtifactError` if it cannot be trusted."""
        return cls(open_artifact(folder, kind=KIND))

    def encode(self, context: Context) -> np.ndarray:
        """One context as a vector, (d,)."""
        return self.encoder.encode(context)

    def rewards(self, x: np.ndarray) -> np.ndarray:
        """Expected rewards, in the reward's unit: (d,) → (K,), or (n, d) → (n, K)."""
        return expected(self.model.scores(x), self._link)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Worth of the expected reward less the cost: (d,) → (K,), or (n, d) → (n, K)."""
        if self._value_model is not None:  # the same numbers in one step instead of three
            return self._value_model.scores(x)
        return self._worth(self.model.scores(x))

    def bootstrap_values(self, x: np.ndarray) -> np.ndarray | None:
        """(d,) → (B, K), or (n, d) → (n, B, K); None unless the policy is Thompson's."""
        return None if self.bootstrap is None else self._worth(self.bootstrap.scores(x))

    def _worth(self, scores: np.ndarray) -> np.ndarray:
        return self._worth_of_reward * expected(scores, self._link) - self.costs

    def distribution(self, x: np.ndarray, *, eligible: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of all actions for contexts: (d,) → (K,), or (n, d) → (n, K).

        `eligible` is a mask, (K,) or (n, K); None means all. Zero where not eligible.
        """
        mask = np.ones(len(self.actions), dtype=bool) if eligible is None else eligible
        return self.probabilities(
            self.values(x), eligible=mask, bootstrap_values=self.bootstrap_values(x)
        )

    def probabilities(
        self,
        values: np.ndarray,
        *,
        eligible: np.ndarray,
        bootstrap_values: np.ndarray | None = None,
    ) -> np.ndarray:
        """(K,) or (n, K) values and mask → probabilities, which sum to one over the eligible.

        Raises `ValueError` where nothing is eligible.
        """
        mask = np.broadcast_to(eligible, values.shape)
        count = mask.sum(axis=-1, keepdims=True)
        if not count.all():
            raise ValueError("probabilities need at least one eligible action")
        preferred = self._preferred(np.where(mask, values, -np.inf), mask, count, bootstrap_values)
        floor = self.parameters.exploration_floor
        return (1.0 - floor) * preferred + floor * mask / count

    def _preferred(
        self,
        masked: np.ndarray,
        mask: np.ndarray,
        count: np.ndarray,
        bootstrap_values: np.ndarray | None,
    ) -> np.ndarray:
        parameters = self.parameters
        if parameters.policy == "softmax":
            scaled = np.exp((masked - masked.max(axis=-1, keepdims=True)) / parameters.temperature)
            return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))
        if parameters.policy == "epsilon-greedy":
            best = _one_hot(masked.argmax(axis=-1), masked.shape[-1])
            return np.asarray((1.0 - parameters.epsilon) * best + parameters.epsilon * mask / count)
        if bootstrap_values is None:
            raise ValueError("Thompson sampling needs the bootstrap's values")
        draws = np.where(mask[..., np.newaxis, :], bootstrap_values, -np.inf).argmax(axis=-1)
        return np.asarray(_one_hot(draws, masked.shape[-1]).mean(axis=-2))

    def weigh(self, x: np.ndarray, eligible: Sequence[int]) -> tuple[list[float], list[float]]:
        """One decision's values and probabilities of the `eligible` indices, in their order.

        The probabilities are those of `distribution`; plain floats, because arrays of three cost
        more than they save.
        """
        all_values = self.values(x).tolist()
        values = [all_values[index] for index in eligible]
        if self.parameters.policy == "softmax":
            return values, self._softmax(values)
        if self.parameters.policy == "epsilon-greedy":
            return values, self._epsilon_greedy(values)
        mask = np.zeros(len(self.actions), dtype=bool)
        mask[list(eligible)] = True
        return values, self.distribution(x, eligible=mask)[list(eligible)].tolist()

    def _softmax(self, values: list[float]) -> list[float]:
        best, scale = max(values), 1.0 / self.parameters.temperature
        weights = [math.exp((value - best) * scale) for value in values]
        floor = self.parameters.exploration_floor
        share, added = (1.0 - floor) / math.fsum(weights), floor / len(values)
        return [share * weight + added for weight in weights]

    def _epsilon_greedy(self, values: list[float]) -> list[float]:
        floor, epsilon = self.parameters.exploration_floor, self.parameters.epsilon
        even = ((1.0 - floor) * epsilon + floor) / len(values)
        found = [even] * len(values)
        found[values.index(max(values))] += (1.0 - floor) * (1.0 - epsilon)
        return found


def parameters_of(serving: Any) -> PolicyParameters:
    """The parameters in a manifest. Raises `ArtifactError` for what cannot serve."""
    try:
        parameters = msgspec.convert(serving, PolicyParameters)
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the manifest's `serving`: {error}") from error
    names = [spec.action for spec in parameters.actions]
    if len(set(names)) != len(names) or not 1 <= len(names) <= MAX_ACTIONS:
        raise ArtifactError(f"a policy needs 1 to {MAX_ACTIONS} different actions, got {names}")
    return parameters


def _bootstrap(arrays: Mapping[str, np.ndarray], *, width: int) -> BootstrapModel:
    if "bootstrap_coefficients" not in arrays:
        raise ArtifactError("Thompson sampling needs the array bootstrap_coefficients")
    return BootstrapModel(arrays["bootstrap_coefficients"], width=width)


def _one_hot(codes: np.ndarray, width: int) -> np.ndarray:
    return np.asarray(np.asarray(codes)[..., np.newaxis] == np.arange(width), dtype=np.float64)


def uniform(salt: str, text: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments: 53 bits of their sha256."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) * _2_TO_MINUS_53


def draw(probabilities: Sequence[float], *, decision_id: str, salt: str) -> int:
    """The position that the decision's uniform number falls on.

    The first whose cumulative probability exceeds it; rounding leaves the last possible one.
    """
    point, cumulative, last = uniform(salt, decision_id), 0.0, 0
    for position, probability in enumerate(probabilities):
        cumulative += probability
        if point < cumulative:
            return position
        if probability > 0.0:
            last = position
    return last
