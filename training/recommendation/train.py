"""Train: prepared data → the artefact that serves. A SageMaker training job.

Tunes on the validation window, then fits twice: on all but the test window (`output.tar.gz`,
what `Evaluate` measures) and on everything (`model.tar.gz`, what goes live: a shop wants a model
that has seen the last weeks). Both have the same parameters. Same data, configuration and seed →
the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference import artifact
from inference.neighbours import neighbour_arrays
from inference.recommender import KIND
from training.configuration import parse
from training.job import Job
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.models import RecentPopularity
from training.recommendation.prepare import TEST, Prepared, load
from training.recommendation.tuning import Parameters, Parts, Trial, serving_parameters, tune

HOLDOUT = "holdout"


def run(job: Job) -> None:
    configuration = parse(RecommenderConfiguration, job.settings, where="recommender")
    prepared = load(job.channel("prepared"))
    parameters = _tuned(job, prepared, configuration)
    provenance = {"tenant": job.tenant, "run": job.run, "created_at": job.started_at}
    holdout = prepared.take(prepared.split != TEST)
    for data, folder in ((holdout, job.extra_output / HOLDOUT), (prepared, job.model)):
        write_model(folder, data, parameters, configuration, provenance=provenance)
        job.log("wrote a model", interactions=len(data.items), folder=folder.name)


def _tuned(job: Job, prepared: Prepared, configuration: RecommenderConfiguration) -> Parameters:
    """Tuned parameters; a checkpoint of them spares a restarted job the search."""
    checkpoint = job.checkpoints / "parameters.json"
    if checkpoint.exists():
        job.log("resumed from a checkpoint")
        return msgspec.json.decode(checkpoint.read_bytes(), type=Parameters)
    seen = [0]

    def report(trial: Trial) -> None:
        seen[0] += 1
        job.metric("validation_ndcg", trial.ndcg)

    best = tune(prepared, configuration, report=report)
    job.log(
        "tuned", trials=seen[0], ndcg=round(best.ndcg, 5), **msgspec.to_builtins(best.parameters)
    )
    job.metric("best_validation_ndcg", best.ndcg)
    checkpoint.write_bytes(msgspec.json.encode(best.parameters))
    return best.parameters


def write_model(
    folder: Path,
    data: Prepared,
    parameters: Parameters,
    configuration: RecommenderConfiguration,
    *,
    provenance: dict[str, str],
) -> None:
    """Fit on all of `data` and write the artefact into `folder`."""
    matrix = Parts(data, configuration.neighbours).matrix(parameters)
    matrix.sort_indices()
    trend = RecentPopularity(parameters.trend_half_life_days).fit(data).prior_.astype(np.float32)
    attributes, codes = _attributes(data.meta["attributes"])
    tables: dict[str, Any] = {"product_ids": data.meta["product_ids"], "attributes": attributes}
    if data.meta["titles"]:
        tables["titles"] = data.meta["titles"]
    artifact.write(
        folder,
        manifest={
            "kind": KIND,
            "serving": msgspec.to_builtins(serving_parameters(parameters, configuration)),
            "configuration": msgspec.to_builtins(configuration),
            "parameters": msgspec.to_builtins(parameters),
            "data": _window(data),
            "libraries": {"numpy": np.__version__},
            **provenance,
        },
        arrays={
            **neighbour_arrays(
                matrix.indptr, matrix.indices, matrix.data, width=configuration.neighbours
            ),
            "trend": trend,
            "trend_order": np.argsort(-trend, kind="stable").astype(np.int32),
            **codes,
        },
        tables=tables,
    )


def _window(data: Prepared) -> dict[str, Any]:
    """What the model has seen; times are epoch seconds, None where order is all there is."""
    timed = data.meta["timed"]
    return {
        "start": int(data.times.min()) if timed else None,
        "end": int(data.times.max()) if timed else None,
        "interactions": len(data.items),
        "fingerprint": data.meta["fingerprint"],
    }


def _attributes(meta: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    specs, arrays = {}, {}
    for number, (name, spec) in enumerate(sorted(meta.items())):
        key = f"attribute_{number}"
        if spec["type"] == "number":
            codes = [np.nan if value is None else value for value in spec["codes"]]
            arrays[key] = np.array(codes, dtype=np.float64)
            specs[name] = {"type": "number", "array": key}
        else:
            arrays[key] = np.array(spec["codes"], dtype=np.int32)
            specs[name] = {"type": "category", "array": key, "values": spec["values"]}
    return specs, arrays
