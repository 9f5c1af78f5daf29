"""From raw tables to coded arrays: what is refused, set aside, restricted, priced and masked."""

import numpy as np
import pandas as pd
import pytest

from tests.unit.training.nudge.simulator import NOW, nudges_table
from training.errors import ConfigurationError, DataQualityError, NotEnoughDataError
from training.nudge.champion import decode_columns
from training.nudge.configuration import NudgeConfiguration
from training.nudge.prepare import load, prepare, save
from training.nudge.tables import build_nudge_dataset, read_nudge_dataset, write_nudge_dataset

ACTIONS = pd.DataFrame(
    {"action": ["none", "mail", "push"], "cost": ["", "0.05", "0.01"], "channel": ["", "email", ""]}
)


def dataset(nudges=None, actions=None):
    tables = {"nudges": nudges_table() if nudges is None else nudges}
    if actions is not None:
        tables["actions"] = actions
    return build_nudge_dataset(tables, now=NOW)


def prepared(nudges=None, actions=None, **settings):
    return prepare(dataset(nudges, actions), NudgeConfiguration(**settings))


def changed(column, row, value):
    table = nudges_table()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("propensity", 0, "nudges.propensity: the probability .* 1 of 3,000 rows, e.g. row 8: 0"),
        ("propensity", 1.2, "propensity"),
        ("reward", "", "nudges.reward: empty; write 0"),
        ("reward", "lots", "reward: not a number"),
        ("timestamp", "2099-01-01", "in the future"),
        ("action", "", "action: empty id"),
    ],
)
def test_bad_rows_are_refused_with_the_row(column, value, words):
    with pytest.raises(DataQualityError, match=words):
        dataset(changed(column, 7, value))


def test_a_missing_column_is_named():
    with pytest.raises(DataQualityError, match="column 'propensity' is missing"):
        dataset(nudges_table().rename(columns={"propensity": "pscore"}))


def test_an_action_taken_must_have_been_eligible():
    table = nudges_table().assign(eligible="none|mail")
    with pytest.raises(DataQualityError, match="not among those that were eligible"):
        dataset(table)


def test_duplicates_and_unknown_actions_are_set_aside_and_counted():
    table = changed("decision_id", 5, "d4")
    found = dataset(table, ACTIONS[ACTIONS["action"] != "mail"])
    mails = int((table["action"] == "mail").sum())
    reasons = found.profile["rejected"]
    assert reasons["action not in the actions table"] in (mails, mails - 1)
    assert sum(reasons.values()) == len(found.rejected) == 3000 - found.profile["rows"]


def test_too_little_is_said():
    with pytest.raises(NotEnoughDataError, match="at least 200 decisions"):
        dataset(nudges_table(count=100))
    with pytest.raises(NotEnoughDataError, match="0 of 3,000 decisions have a reward"):
        prepared(nudges_table().assign(reward=0.0))


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (pd.DataFrame({"action": ["none", "none", "mail"]}), "the same action twice"),
        (pd.DataFrame({"action": ["none", "mail"], "cost": ["0", "x"]}), "actions.cost: not a num"),
        (pd.DataFrame({"action": ["none", "mail"], "valid_from": ["", "soon"]}), "valid_from"),
        (pd.DataFrame({"action": ["none", "mail"], "conditions": ["", "{}"]}), "conditions"),
        (pd.DataFrame({"action": ["none"]}), "2 to 200"),
    ],
)
def test_bad_actions_are_refused(actions, words):
    with pytest.raises(DataQualityError, match=words):
        dataset(actions=actions)


def test_a_data_set_comes_back_as_it_was_written(tmp_path):
    written = dataset(actions=ACTIONS)
    write_nudge_dataset(written, tmp_path)
    read = read_nudge_dataset(tmp_path)
    pd.testing.assert_frame_equal(read.nudges, written.nudges)
    assert (read.actions, read.guardrails, read.profile) == (
        written.actions,
        written.guardrails,
        written.profile,
    )


def test_prepared_data_comes_back_as_it_was_saved(tmp_path):
    found = prepared(nudges_table().assign(eligible="none|mail|push"), ACTIONS)
    save(found, tmp_path)
    again = load(tmp_path)
    assert again.meta == found.meta
    np.testing.assert_array_equal(again.contexts, found.contexts)


def test_a_customer_is_in_one_fold_and_folds_are_alike():
    found = prepared()
    folds = pd.DataFrame({"customer": found.customers, "fold": found.folds})
    assert (folds.groupby("customer")["fold"].nunique() == 1).all()
    assert np.bincount(found.folds).min() > 450
    assert not np.array_equal(found.folds, prepared(seed=1).folds)


def test_columns_are_decoded_to_what_was_encoded():
    table = nudges_table()
    found = prepared(table)
    rows = np.arange(50)
    columns = decode_columns(found, rows)
    np.testing.assert_allclose(columns["age"], table["context_age"][:50].to_numpy(dtype=float))
    assert columns["device"] == table["context_device"][:50].tolist()


def test_costs_come_from_the_table_and_the_configuration_goes_first():
    found = prepared(actions=ACTIONS, costs="push=0.2,*=0.1")
    costs = dict(zip(found.names, found.costs.tolist(), strict=True))
    assert costs == {"none": 0.0, "mail": 0.1, "push": 0.2}
    found = prepared(actions=ACTIONS)
    assert dict(zip(found.names, found.costs.tolist(), strict=True))["mail"] == 0.05


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"costs": "puhs=1"}, "no action 'puhs'; did you mean 'push'"),
        ({"costs": "push"}, "'push' is not action=cost"),
        ({"actions": "none,pusch"}, "did you mean 'push'"),
        ({"actions": "none"}, "two actions"),
        ({"target": "value"}, "no column 'value'"),
        ({"reward_minimum": 0.0, "reward_maximum": 0.5}, "outside reward_minimum"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(settings, words):
    with pytest.raises(ConfigurationError, match=words):
        prepare(dataset(), NudgeConfiguration(**settings))


def test_some_actions_only_of_a_randomised_trial():
    part = prepare(dataset(), NudgeConfiguration(actions="none,push"))
    assert sorted(part.names) == ["none", "push"]
    np.testing.assert_allclose(part.propensities, 0.5)


def test_some_actions_only_need_propensities_that_do_not_depend_on_the_context():
    table = changed("propensity", 3, 0.9)
    with pytest.raises(ConfigurationError, match="randomised trial"):
        prepare(dataset(table), NudgeConfiguration(actions="none,push"))


def test_what_was_eligible_comes_from_the_log():
    table = nudges_table()
    table["eligible"] = np.where(table["action"] == "push", "none|push|mail", "none|mail")
    found = prepared(table)
    push = found.names.index("push")
    np.testing.assert_array_equal(found.eligible[:, push], table["action"] == "push")


def test_what_was_eligible_comes_from_the_dates():
    actions = ACTIONS.assign(valid_from=["", "2026-01-02", ""], valid_until=["", "2026-01-03", ""])
    found = prepared(actions=actions)
    mail = found.names.index("mail")
    day = 24 * 60
    outside = (found.actions != mail) & ~np.isin(np.arange(3000) // day, [1])
    assert not found.eligible[outside, mail].any()
    assert found.eligible[day : 2 * day, mail].all()
    assert found.eligible[found.actions == mail, mail].all()


def test_a_new_action_is_never_eligible_in_the_log_and_comes_last():
    actions = pd.concat([pd.DataFrame({"action": ["brand-new"]}), ACTIONS], ignore_index=True)
    found = prepared(actions=actions.fillna(""))
    assert found.names[-1] == "brand-new"
    assert not found.eligible[:, -1].any()
    assert any("brand-new" in note for note in found.meta["notes"])


def test_rare_categories_count_as_unseen():
    table = nudges_table()
    table["context_city"] = [f"city-{i % 300}" if i % 2 else "home" for i in range(3000)]
    found = prepared(table, maximum_categories=3)
    city = next(f for f in found.meta["features"] if f["name"] == "city")
    assert len(city["values"]) == 3
    assert "home" in city["values"]


def test_a_column_that_tells_nothing_is_left_out():
    table = nudges_table().assign(context_country="FR", context_zero=0)
    names = [f["name"] for f in prepared(table).meta["features"]]
    assert names == ["age", "device"]


def test_a_context_that_is_the_customers_id_is_not_learned():
    table = nudges_table()
    who = table["customer_id"].where(table.index % 3 > 0)
    found = prepared(table.assign(context_who=who, context_tool=table["context_device"]))
    assert "who" not in [feature["name"] for feature in found.meta["features"]]
    assert "context_who is left out: it holds the customers' ids" in found.meta["notes"]
    assert str(table["customer_id"].iloc[0]) not in str(found.meta["features"])
    assert len(prepared(table).meta["features"]) + 1 == len(found.meta["features"])
