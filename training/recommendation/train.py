"""Train: prepared data → the artefact that serves. A SageMaker training job.

Tunes on the validation window, then fits twice: on all but the test window (`output.tar.gz`,
what `Evaluate` measures) and on everything (`model.tar.gz`, what goes live: a shop wants a model
that has seen the last weeks). Where something is known of the products, a third one, fitted without
the history of the newest, shows `Evaluate` how products fare on their first day. All have the same
parameters. Same data, configuration and seed →
the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference import artifact
from inference.factors import factor_arrays
from inference.neighbours import neighbour_arrays
from inference.recommender import KIND
from training.configuration import parse
from training.job import Job
from training.recommendation.catalogue import attribute_arrays
from training.recommendation.compilation import compile_matrix
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.factors import ItemFactors
from training.recommendation.newcomers import (
    Newcomers,
    add_columns,
    add_factors,
    can_tell,
    newcomers_for,
    newest,
    without,
)
from training.recommendation.parameters import SPECTRAL, Parameters, serving_parameters
from training.recommendation.parts import Parts
from training.recommendation.prepare import TEST, Prepared, load
from training.recommendation.tuning import Trial, tune

HOLDOUT, NEWCOMERS = "holdout", "newcomers"
TRIALS = "trials.json"
_TRIALS_A_CHECKPOINT = 10


def run(job: Job) -> None:
    configuration = parse(RecommenderConfiguration, job.settings, where="recommender")
    prepared = load(job.channel("prepared"))
    parameters = _tuned(job, prepared, configuration)
    provenance = {"tenant": job.tenant, "run": job.run, "created_at": job.started_at}
    holdout = prepared.take(prepared.split != TEST)
    written = [(holdout, job.extra_output / HOLDOUT), (prepared, job.model)]
    if can_tell(prepared):
        hidden = newest(prepared, seed=configuration.seed)
        written.append((without(holdout, hidden, split=TEST), job.extra_output / NEWCOMERS))
    for data, folder in written:
        job.log("fitting a model", interactions=len(data.items), folder=folder.name)
        write_model(folder, data, parameters, configuration, provenance=provenance)
        job.log("wrote a model", interactions=len(data.items), folder=folder.name)


def _tuned(job: Job, prepared: Prepared, configuration: RecommenderConfiguration) -> Parameters:
    """Tuned parameters. What a killed job had tried is known to the one that replaces it: the
    search takes the same way, and does not measure it again."""
    checkpoint = job.checkpoints / TRIALS
    known = _read_trials(checkpoint)
    if known:
        job.log("resumed from a checkpoint", trials=len(known))
    trials: list[Trial] = []

    def report(trial: Trial) -> None:
        trials.append(trial)
        job.metric("validation_ndcg", trial.ndcg)
        if len(trials) > len(known) and len(trials) % _TRIALS_A_CHECKPOINT == 0:
            _write_trials(checkpoint, trials)

    def began(searched: Prepared) -> None:
        job.log("tuning", customers=searched.meta["customers"], interactions=len(searched.items))

    best = tune(prepared, configuration, report=report, known=known, began=began)
    chosen = msgspec.to_builtins(best.parameters)
    figures = {"ndcg": round(best.ndcg, 5), "newcomer_recall": round(best.newcomer_recall, 5)}
    job.log("tuned", trials=len(trials), **figures, **chosen)
    job.metric("best_validation_ndcg", best.ndcg)
    for path in (job.extra_output / TRIALS, checkpoint):
        _write_trials(path, trials)
    return best.parameters


def _read_trials(path: Path) -> list[Trial]:
    return msgspec.json.decode(path.read_bytes(), type=list[Trial]) if path.exists() else []


def _write_trials(path: Path, trials: list[Trial]) -> None:
    """In one step: a job may be killed while it writes."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(trials))
    partial.replace(path)


def write_model(
    folder: Path,
    data: Prepared,
    parameters: Parameters,
    configuration: RecommenderConfiguration,
    *,
    provenance: dict[str, str],
) -> None:
    """Fit on all of `data` and write the artefact into `folder`."""
    parts = Parts(
        data,
        neighbours=configuration.neighbours,
        seed=configuration.seed,
        rank=parameters.spectral.rank if parameters.weight(SPECTRAL) else 0,
    )
    newcomers = newcomers_for(data, parameters)
    model = _factors(data, parameters, configuration)
    trend = parts.prior(parameters.trend_half_life_days).astype(np.float32)
    serving = serving_parameters(
        parameters,
        purchase_event=configuration.purchase_event,
        factor_alpha=model.alpha if model else 0.0,
    )
    attributes, codes = attribute_arrays(data.meta["attributes"])
    tables: dict[str, Any] = {"product_ids": data.meta["product_ids"], "attributes": attributes}
    if data.meta["titles"]:
        tables["titles"] = data.meta["titles"]
    artifact.write(
        folder,
        manifest={
            "kind": KIND,
            "serving": msgspec.to_builtins(serving),
            "configuration": msgspec.to_builtins(configuration),
            "parameters": msgspec.to_builtins(parameters),
            "data": _window(data),
            "libraries": {"numpy": np.__version__},
            **provenance,
        },
        arrays={
            **_neighbours(parts, parameters, newcomers, configuration.neighbours),
            **(_factor_arrays(model, parameters, newcomers) if model else {}),
            "trend": trend,
            "trend_order": np.argsort(-trend, kind="stable").astype(np.int32),
            **codes,
        },
        tables=tables,
    )


def _neighbours(
    parts: Parts, parameters: Parameters, newcomers: Newcomers | None, width: int
) -> dict[str, np.ndarray]:
    matrix = compile_matrix(parts, parameters, width)
    if newcomers is not None:
        scale = parameters.newcomers.scale
        matrix = add_columns(matrix, newcomers, scale=scale, neighbours=width)
    recent = matrix.data.real.astype(np.float32)
    lasting = matrix.data.imag.astype(np.float32) if parameters.lasting else None
    return neighbour_arrays(matrix.indptr, matrix.indices, recent, lasting, width=width)


def _factors(
    data: Prepared, parameters: Parameters, configuration: RecommenderConfiguration
) -> ItemFactors | None:
    if not parameters.factor_weight:
        return None
    return ItemFactors(configuration.factors, random_state=configuration.seed).fit(data)


def _factor_arrays(
    model: ItemFactors, parameters: Parameters, newcomers: Newcomers | None
) -> dict[str, np.ndarray]:
    factors = model.item_factors_
    if newcomers is not None:
        factors = add_factors(factors, newcomers, scale=parameters.newcomers.scale)
    return factor_arrays(factors, model.gram_)


def _window(data: Prepared) -> dict[str, Any]:
    """What the model has seen; times are epoch seconds, None where order is all there is."""
    timed = data.meta["timed"]
    return {
        "start": int(data.times.min()) if timed else None,
        "end": int(data.times.max()) if timed else None,
        "interactions": len(data.items),
        "fingerprint": data.meta["fingerprint"],
        "fitted_on": data.fingerprint,
    }
