"""Joining decisions with rewards: known small tables, and what must not matter."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import ConfigurationError, DataQualityError
from training.nudge import joining
from training.nudge.joining import DECISIONS, REWARDS, JoiningRules, join

START = datetime(2026, 3, 1, tzinfo=UTC)
LONG_AFTER = START + timedelta(days=30)
RULES = JoiningRules(attribution_hours=10, reward_wait_hours=20)


def decision(name, hour, *, customer="ann", action="email", context=None):
    at = START + timedelta(hours=hour)
    return (name, customer, at, action, 0.5, {"visits": 3} if context is None else context)


def reward(name, hour, *, decision_id=None, customer=None, action=None, amount=1.0, value=None):
    at = START + timedelta(hours=hour)
    return (name, at, decision_id, customer, action, amount, value)


def frame(rows, columns):
    made = pd.DataFrame(rows, columns=list(columns))
    time = "at" if "at" in columns else "timestamp"
    made[time] = pd.to_datetime(made[time], utc=True).astype("datetime64[us, UTC]")
    return made


def joined(decisions, rewards, *, rules=RULES, now=LONG_AFTER):
    return join(frame(decisions, DECISIONS), frame(rewards, REWARDS), rules=rules, now=now)


def rewards_of(found):
    return dict(zip(found.nudges["decision_id"], found.nudges["reward"], strict=True))


def reasons_of(found):
    return dict(zip(found.unjoined["event_id"], found.unjoined["reason"], strict=True))


def test_a_reward_that_names_its_decision_goes_there_and_the_others_default():
    found = joined([decision("d1", 0), decision("d2", 1)], [reward("r", 2, decision_id="d1")])
    assert rewards_of(found) == {"d1": 1.0, "d2": 0.0}
    assert found.counts["rewarded"] == found.counts["defaulted"] == 1


def test_the_default_is_configuration():
    rules = JoiningRules(default_reward=-1.0)
    assert rewards_of(joined([decision("d", 0)], [], rules=rules)) == {"d": -1.0}


def test_a_reward_that_names_a_customer_goes_to_the_last_decision_before_it():
    made = [
        decision("d1", 0),
        decision("d2", 2),
        decision("d3", 5),
        decision("b", 3, customer="bo"),
    ]
    found = joined(made, [reward("r", 4, customer="ann")])
    assert rewards_of(found) == {"d1": 0.0, "d2": 1.0, "b": 0.0, "d3": 0.0}


def test_an_action_narrows_the_attribution():
    made = [decision("d1", 0, action="email"), decision("d2", 1, action="push")]
    found = joined(made, [reward("r", 2, customer="ann", action="email")])
    assert rewards_of(found) == {"d1": 1.0, "d2": 0.0}


def test_of_two_decisions_at_one_moment_the_greater_id_has_the_reward():
    for made in ([decision("a", 0), decision("b", 0)], [decision("b", 0), decision("a", 0)]):
        assert rewards_of(joined(made, [reward("r", 1, customer="ann")]))["b"] == 1.0


def test_what_is_not_joined_says_why():
    made = [decision("d", 30)]
    given_rewards = [
        reward("gone", 31, decision_id="x"),
        reward("early", 29, decision_id="d"),
        reward("late", 51, decision_id="d"),
        reward("far", 41, customer="ann"),
        reward("nobody", 31),
    ]
    assert reasons_of(joined(made, given_rewards)) == {
        "gone": joining.UNKNOWN,
        "early": joining.EARLY,
        "late": joining.LATE,
        "far": joining.UNATTRIBUTED,
        "nobody": joining.NOBODY,
    }


def test_the_bounds_of_both_windows_belong_to_them():
    made = [decision("d", 0), decision("e", 0, customer="bo")]
    given_rewards = [reward("r", 20, decision_id="d"), reward("s", 10, customer="bo")]
    assert rewards_of(joined(made, given_rewards)) == {"d": 1.0, "e": 1.0}


def test_a_decision_waits_until_its_window_is_over():
    made, given_rewards = [decision("d", 0)], [reward("r", 1, decision_id="d")]
    before = joined(made, given_rewards, now=START + timedelta(hours=19.99))
    assert (len(before.nudges), before.waiting, len(before.unjoined)) == (0, ["d"], 0)
    assert rewards_of(joined(made, given_rewards, now=START + timedelta(hours=20))) == {"d": 1.0}


@pytest.mark.parametrize(
    ("several", "amount", "value"), [("sum", 6.0, 30.0), ("max", 3.0, None), ("first", 2.0, 10.0)]
)
def test_several_rewards_of_a_decision(several, amount, value):
    given_rewards = [
        reward("r2", 2, decision_id="d", amount=3.0),
        reward("r1", 1, decision_id="d", amount=2.0, value=10.0),
        reward("r3", 3, decision_id="d", amount=1.0, value=20.0),
    ]
    rules = JoiningRules(several=several)
    [row] = joined([decision("d", 0)], given_rewards, rules=rules).nudges.to_dict("records")
    assert row["reward"] == amount
    assert row["value"] == value if value is not None else pd.isna(row["value"])


def test_the_keys_of_the_contexts_become_columns():
    made = [decision("d1", 0, context={"b": 1}), decision("d2", 1, context={"a": "x"})]
    nudges = joined(made, []).nudges
    assert list(nudges.columns)[-2:] == ["context_a", "context_b"]
    assert nudges["context_a"].isna().tolist() == [True, False]


def test_no_decisions_and_no_rewards_are_an_empty_table():
    found = joined([], [])
    assert (len(found.nudges), found.waiting, found.counts["decisions"]) == (0, [], 0)


def test_a_missing_column_is_named():
    with pytest.raises(DataQualityError, match="decisions: column 'propensity' is missing"):
        join(
            frame([decision("d", 0)], DECISIONS).drop(columns="propensity"),
            frame([], REWARDS),
            rules=RULES,
            now=LONG_AFTER,
        )


@pytest.mark.parametrize("hours", [(0, 1), (2, 1), (1, float("inf")), (float("nan"), 1)])
def test_windows_that_cannot_be_are_refused(hours):
    with pytest.raises(ConfigurationError, match="attribution_hours"):
        JoiningRules(attribution_hours=hours[0], reward_wait_hours=hours[1])


CUSTOMERS, ACTIONS, HOURS = (
    st.sampled_from("ab"),
    st.sampled_from(["email", "none"]),
    st.integers(0, 40),
)
MADE = st.lists(
    st.builds(decision, st.sampled_from("uvwxyz"), HOURS, customer=CUSTOMERS, action=ACTIONS),
    max_size=8,
)
GIVEN = st.lists(
    st.builds(
        reward,
        st.sampled_from("12345678"),
        HOURS,
        decision_id=st.none() | st.sampled_from("uvwxyz"),
        customer=st.none() | CUSTOMERS,
        action=st.none() | ACTIONS,
        amount=st.sampled_from([0.25, 0.5, 1.0]),
    ),
    max_size=10,
)
SEVERAL = st.sampled_from(["sum", "max", "first"])


@settings(max_examples=40, deadline=None)
@given(MADE, GIVEN, SEVERAL, st.randoms(use_true_random=False))
def test_order_and_duplication_do_not_matter(made, given_rewards, several, random):
    rules = JoiningRules(attribution_hours=10, reward_wait_hours=20, several=several)
    now = START + timedelta(hours=45)
    once = joined(made, given_rewards, rules=rules, now=now)
    twice_made, twice_given = made * 2, given_rewards * 2
    random.shuffle(twice_made)
    random.shuffle(twice_given)
    again = joined(twice_made, twice_given, rules=rules, now=now)
    pd.testing.assert_frame_equal(once.nudges, again.nudges)
    pd.testing.assert_frame_equal(once.unjoined, again.unjoined)
    assert once.waiting == again.waiting


@settings(max_examples=40, deadline=None)
@given(MADE, GIVEN, SEVERAL)
def test_what_is_final_stays_so_whenever_the_joining_runs(made, given_rewards, several):
    rules = JoiningRules(attribution_hours=10, reward_wait_hours=20, several=several)
    early = joined(made, given_rewards, rules=rules, now=START + timedelta(hours=30))
    late = joined(made, given_rewards, rules=rules)
    final = rewards_of(late)
    assert rewards_of(early) == {name: final[name] for name in rewards_of(early)}


@settings(max_examples=40, deadline=None)
@given(MADE, GIVEN)
def test_every_decision_and_every_reward_is_accounted_for(made, given_rewards):
    counts = joined(made, given_rewards, now=START + timedelta(hours=30)).counts
    assert counts["nudges"] + counts["waiting"] == counts["decisions"] == len({d[0] for d in made})
    missed = sum(n for name, n in counts.items() if name.startswith("unjoined: "))
    assert (
        counts["rewards_joined"] + missed == counts["rewards"] == len({r[0] for r in given_rewards})
    )
