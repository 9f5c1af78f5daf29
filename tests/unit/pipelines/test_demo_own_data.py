"""The tour with the visitor's own data: what it does for each kind, and what it refuses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.demo import one_kind
from pipelines.demo.tour import tour
from pipelines.errors import RunError
from pipelines.stage import IMAGE_MODEL, NUDGE_POLICY, RECOMMENDER, Stage

BOTH = [RECOMMENDER, IMAGE_MODEL]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_pictures_that_nothing_here_can_learn_are_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    (tmp_path / "cups").mkdir()
    (tmp_path / "cups" / "1.png").write_bytes(b"only its name is asked for")

    def start() -> Stage:
        raise AssertionError("started")

    with pytest.raises(RunError, match="make images"):
        tour(quiet(), start, tenant="t", source=tmp_path, can_learn_pictures=lambda: False)
    one_kind.check_source(tmp_path, can_learn_pictures=True)


def test_what_was_imported_is_trained_in_the_order_of_the_demo() -> None:
    assert one_kind.learnable(BOTH, quiet(), can_learn_pictures=True) == [IMAGE_MODEL, RECOMMENDER]
    console = quiet()
    assert one_kind.learnable(BOTH, console, can_learn_pictures=False) == [RECOMMENDER]
    assert "left out" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="make images"):
        one_kind.learnable([IMAGE_MODEL], quiet(), can_learn_pictures=False)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"rows": 3000}, "3,000 interactions"),
        ({"table": "nudges", "rows": 3000}, "3,000 decisions"),
        ({"table": "pictures", "pictures": 60}, "60 pictures"),
    ],
)
def test_counts_are_named_by_what_they_count(profile: dict[str, object], said: str) -> None:
    assert one_kind.counted(profile) == said


def test_every_kind_has_something_to_ask() -> None:
    histories = [{"request": {"limit": 3}}, {"request": {"history": ["A", "B"]}}]
    (_, known), (_, new) = one_kind.requests(RECOMMENDER, histories)
    assert (known["history"], new) == (["A", "B"], {"limit": 3})
    assert len([*one_kind.requests(RECOMMENDER, histories[:1])]) == 1
    ((title, like),) = one_kind.requests(IMAGE_MODEL, [{"request": {"product": "A", "limit": 10}}])
    assert (title, like["product"]) == ("what looks like A", "A")
    nudge = {"customer_id": "golden-0", "context": {"age": 3.0}}
    assert [r for _, r in one_kind.requests(NUDGE_POLICY, [{"request": nudge}])] == [nudge]
