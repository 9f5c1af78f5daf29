"""Names, inputs and causes of runs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.commands.runs import render_metrics
from pipelines.configuration import RunConfiguration, StageConfiguration, with_tuning
from pipelines.errors import RunError, ScheduleError, StageError, TenantError
from pipelines.runs import (
    RunRequest,
    _stamped,
    execution_input,
    machine_of,
    readable_cause,
    run_name,
    with_tuning_of,
)
from pipelines.schedules import cron, rate
from pipelines.stage import Stage, check_tenant
from training.errors import ConfigurationError

STAGE = Stage("local", "us-east-1", "000000000000", StageConfiguration())
NOW = datetime(2026, 11, 24, 0, 19, 4, tzinfo=UTC)


def request(**settings):
    return RunRequest("recommender", "acme", settings)


def test_a_run_is_named_by_kind_and_time():
    name = run_name("recommender", NOW)
    assert name.startswith("recommender-20261124t001904-")
    assert machine_of(name) == "train-recommender"


@pytest.mark.parametrize("name", ["", "x", "recommender-2026", "nudge-20261124t001904-aaaaaa"])
def test_what_is_no_run_is_refused(name):
    with pytest.raises(RunError, match="no run's name"):
        machine_of(name)


def test_each_kind_learns_from_its_own_newest_data_set():
    policy = RunRequest("nudge-policy", "acme", {"costs": "mail=0.1"})
    given = execution_input(STAGE, policy, dataset="d", now=NOW, name="n")
    assert given["hyperparameters"]["step"] == "nudge.train"
    assert given["environment"]["NEXTBEST_COSTS"] == "mail=0.1"
    assert len(given["hyperparameters"]) <= 100
    assert max(len(v) for v in given["hyperparameters"].values()) <= 256
    keys = [STAGE.dataset_pointer("acme", kind) for kind in ("recommender", "nudge-policy")]
    assert keys == [
        "tenants/acme/datasets/latest.json",
        "tenants/acme/datasets/latest-nudges.json",
    ]


def test_the_input_fits_sagemaker():
    given = execution_input(STAGE, request(k="20"), dataset="d", now=NOW, name="n")
    assert given["hyperparameters"]["k"] == "20"
    assert given["hyperparameters"]["step"] == "recommendation.train"
    assert given["environment"]["NEXTBEST_RUN"] == "n"
    for strings in (given["hyperparameters"], given["environment"]):
        assert len(strings) <= 100
        assert all(isinstance(v, str) and len(v) <= 256 for v in strings.values())


def test_spot_needs_a_longest_wait_and_nothing_else_may_have_one():
    spot = RunRequest("recommender", "acme", {}, RunConfiguration(use_spot=True))
    given = execution_input(STAGE, spot, dataset="d", now=NOW, name="n")
    assert given["resources"]["stopping"]["MaxWaitTimeInSeconds"] == 7200
    plain = execution_input(STAGE, request(), dataset="d", now=NOW, name="n")
    assert list(plain["resources"]["stopping"]) == ["MaxRuntimeInSeconds"]


def test_a_wrong_setting_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean 'holdout_days'"):
        execution_input(STAGE, request(holdout_day="3"), dataset="d", now=NOW, name="n")


def test_the_cause_of_a_failed_job_is_its_own_sentence():
    job = {"ExitMessage": "DataQualityError: bad", "FailureReason": "AlgorithmError"}
    assert readable_cause(json.dumps(job)) == "DataQualityError: bad"
    nested = {"Error": "x", "Cause": json.dumps({"errorMessage": "golden request 0"})}
    assert readable_cause(json.dumps(nested)) == "golden request 0"
    assert readable_cause("plain") == "plain"
    assert readable_cause(None) is None


@pytest.mark.parametrize(
    ("every", "expected"),
    [("7d", "rate(7 days)"), ("1h", "rate(1 hour)"), ("30m", "rate(30 minutes)")],
)
def test_spans_become_rates(every, expected):
    assert rate(every) == expected


@pytest.mark.parametrize("every", ["", "7", "0d", "d", "7 days", "-1d"])
def test_what_is_no_span_is_refused(every):
    with pytest.raises(ScheduleError, match="not a span"):
        rate(every)


def test_cron_has_six_fields():
    assert cron("0 3 ? * MON *") == "cron(0 3 ? * MON *)"
    with pytest.raises(ScheduleError, match="six"):
        cron("0 3 * * *")


@pytest.mark.parametrize(
    "fields",
    [
        "0 3 ? * MON *",
        "*/15 * * * ? *",
        "0 8,20 1,15 * ? 2026-2030",
        "0/5 8-17 ? * mon-FRI *",
        "0 0 L * ? *",
        "0 0 ? JAN,JUL 2#1 *",
        "0 0 15W * ? *",
    ],
)
def test_a_cron_of_the_scheduler_is_accepted(fields):
    assert cron(fields) == f"cron({fields})"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("a b c d e f", "minute 'a'; expected 0 to 59"),
        ("0 24 ? * MON *", "hour '24'; expected 0 to 23"),
        ("0 3 ? XYZ MON *", "month 'XYZ'; expected 1 to 12 or JAN to DEC"),
        ("0 3 ? * MO *", "day-of-week 'MO'"),
        ("0 3 , * ? *", "day-of-month ','"),
        ("0 3 * * * *", "exactly one of day-of-month and day-of-week"),
        ("0 3 ? * ? *", "exactly one of day-of-month and day-of-week"),
    ],
)
def test_a_cron_the_scheduler_would_refuse_is_refused_here(fields, words):
    with pytest.raises(ScheduleError, match=words):
        cron(fields)


def test_a_tuned_run_gives_the_search_seed_once_and_lists_the_children():
    many = RunRequest("recommender", "acme", {}, RunConfiguration(tuning_jobs=3))
    given = execution_input(STAGE, many, dataset="d", now=NOW, name="n")
    assert given["resources"]["tuning"] == {"jobs": 3, "parallel": 2, "seeds": ["1", "2", "3"]}
    assert "search_seed" not in given["hyperparameters"]
    once = execution_input(STAGE, request(search_seed="7"), dataset="d", now=NOW, name="n")
    assert once["resources"]["tuning"]["jobs"] == 0
    assert once["hyperparameters"]["search_seed"] == "7"


def test_only_what_searches_is_tuned():
    many = RunConfiguration(tuning_jobs=3)
    assert with_tuning_of("recommender", many, jobs=None, parallel=None) == many
    assert with_tuning_of("nudge-policy", many, jobs=None, parallel=None).tuning_jobs == 0
    assert with_tuning_of("nudge-policy", many, jobs=0, parallel=None).tuning_jobs == 0
    with pytest.raises(RunError, match="leave --tune out"):
        with_tuning_of("nudge-policy", RunConfiguration(), jobs=4, parallel=None)


@pytest.mark.parametrize(("jobs", "parallel"), [(31, None), (-1, None), (2, 0)])
def test_tuning_beyond_the_services_limits_is_refused(jobs, parallel):
    with pytest.raises(ConfigurationError, match=r"\[runs\]: tuning_"):
        with_tuning(RunConfiguration(), jobs=jobs, parallel=parallel)


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "a--b", "1a", "a" * 21, "a/b", "record"]
)
def test_a_tenant_that_cannot_name_resources_is_refused(name):
    with pytest.raises(TenantError):
        check_tenant(name)


def test_a_kind_of_model_that_there_is_none_of_is_named():
    with pytest.raises(StageError, match=r"'recomender'.*recommender, nudge-policy"):
        STAGE.dataset_pointer("acme", "recomender")


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (
            {"customers": 1234, "models": {"challenger": {"recall@10": 0.5, "ndcg@10": 0.25}}},
            [["on 1,234 held-out customers", "challenger"], ["recall@10", "0.5000"]],
        ),
        (
            {
                "pictures": 24,
                "models": {
                    "challenger": {"accuracy": 0.9, "map@all": 0.8},
                    "majority": {"accuracy": 0.1},
                },
            },
            [
                ["on 24 held-out pictures", "challenger", "majority"],
                ["accuracy", "0.9000", "0.1000"],
                ["map@all", "0.8000", ""],
            ],
        ),
        (
            {"decisions": 3000, "models": {"challenger": {"value": 0.3, "low": 0.2}}},
            [["on 3,000 decisions", "challenger"], ["value", "0.3000"]],
        ),
    ],
)
def test_every_figure_is_shown_and_on_how_many(metrics, shown):
    """Regression: accuracy was left out beside a figure with an @ in its name."""
    table = render_metrics(metrics)
    found = [[column.header, *column.cells] for column in table.columns]
    assert found[: len(shown)] == shown


def test_a_stamp_stands_in_every_form_that_jobs_read():
    given = execution_input(STAGE, request(), dataset="d", now=NOW, name="n")
    again = _stamped(given, "m", now=NOW + timedelta(days=1))
    assert again["run"] == again["hyperparameters"]["run"] == "m"
    assert again["environment"]["NEXTBEST_RUN"] == "m"
    assert again["environment"]["NEXTBEST_STARTED_AT"] == again["started_at"]
    assert again["started_at"] == "2026-11-25T00:19:04Z"
    assert again["tenant"] == "acme"
    assert again["dataset"] == "d"
