"""Queues whose messages stay, also where what was hidden is shown again in between."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipelines.queues import delete_where, messages, show_again

REFUSALS = ("AWS.SimpleQueueService.MessageNotInflight", "InvalidParameterValue")


class Reappearing:
    """A queue so slow to go through that it shows everything again: in rounds of `a_call`
    messages, each time under another handle. Only the last handle of a message is good."""

    def __init__(self, bodies: list[str], *, a_call: int = 2) -> None:
        self.bodies = {str(number): body for number, body in enumerate(bodies)}
        self.handles: dict[str, str] = {}
        self.shown: list[str] = []
        self._a_call, self._place, self._numbers = a_call, 0, count()

    def receive_message(self, **_: Any) -> dict[str, Any]:
        names = list(self.bodies)
        if not names:
            return {}
        some = [names[(self._place + n) % len(names)] for n in range(min(self._a_call, len(names)))]
        self._place += len(some)
        return {"Messages": [self._message(name) for name in some]}

    def _message(self, name: str) -> dict[str, str]:
        self.handles[name] = f"{name}#{next(self._numbers)}"
        told = {"MessageId": name, "Body": self.bodies[name]}
        return {**told, "ReceiptHandle": self.handles[name]}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:
        name = ReceiptHandle.partition("#")[0]
        if self.handles[name] == ReceiptHandle:
            del self.bodies[name]

    def change_message_visibility(self, *, ReceiptHandle: str, **_: Any) -> None:
        self.shown.append(ReceiptHandle)


def test_a_queue_that_shows_everything_again_is_gone_through_once() -> None:
    found = {m["MessageId"]: m["ReceiptHandle"] for m in messages(Reappearing(list("abcde")), "q")}
    assert len(found) == 5


def test_some_that_come_again_do_not_hide_those_that_are_to_come() -> None:
    class Shuffling(Reappearing):
        """Gives the first two again before it goes on."""

        calls = (0, 0, 2, 0, 4, 0, 0, 0)

        def receive_message(self, **given: Any) -> dict[str, Any]:
            self._place = self.calls[next(self.turns)]
            return super().receive_message(**given)

        turns = count()

    found = {message["Body"] for message in messages(Shuffling(list("abcdef")), "q")}
    assert found == set("abcdef")


def test_the_wanted_go_and_the_others_are_shown_by_their_last_handle() -> None:
    queue = Reappearing(list("axbxc"))
    assert delete_where(queue, "q", lambda message: message["Body"] == "x") == 2
    assert list(queue.bodies.values()) == ["a", "b", "c"]
    assert sorted(queue.shown) == sorted(queue.handles[name] for name in queue.bodies)


@pytest.mark.parametrize("code", [*REFUSALS, "AccessDenied"])
def test_a_handle_that_has_expired_is_no_error_but_others_are(code: str) -> None:
    class Refusing(Reappearing):
        def change_message_visibility(self, *, ReceiptHandle: str, **given: Any) -> None:
            super().change_message_visibility(ReceiptHandle=ReceiptHandle, **given)
            raise ClientError({"Error": {"Code": code}}, "ChangeMessageVisibility")

    queue = Refusing([])
    if code in REFUSALS:
        show_again(queue, "q", ["a", "b"])
        assert queue.shown == ["a", "b"]
    else:
        with pytest.raises(ClientError, match=code):
            show_again(queue, "q", ["a"])
