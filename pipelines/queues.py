"""Going through an SQS queue whose messages may stay: hidden meanwhile, then shown again.

Used for dead letters and for decisions that wait to be archived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

HIDDEN_SECONDS = 60
_AT_ONCE = 10  # as many as SQS gives
_KNOWN_CALLS = 3
_SHOWN = ("MessageNotInflight", "InvalidParameterValue", "ReceiptHandleIsInvalid")
Message = dict[str, Any]


def url_of(sqs: Any, name: str) -> str:
    return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])


def messages(sqs: Any, queue: str, *, hidden_seconds: int = HIDDEN_SECONDS) -> Iterator[Message]:
    """Every message of a queue, each then hidden for so long from whoever asks next.

    A queue that takes longer than that shows again what was hidden first: it has been gone through
    when several calls in a row give only what is known. A message that comes again has another
    handle, the one that counts.
    """
    seen, known_calls = set[str](), 0
    while known_calls < _KNOWN_CALLS:
        found = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=_AT_ONCE, VisibilityTimeout=hidden_seconds
        ).get("Messages", [])
        if not found:
            return
        names = {message["MessageId"] for message in found}
        known_calls = known_calls + 1 if names <= seen else 0
        seen |= names
        yield from found


def show_again(sqs: Any, queue: str, handles: Iterable[str]) -> None:
    """End the hiding of messages that stay; of some it has ended by itself."""
    for handle in handles:
        try:
            sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith(_SHOWN):
                raise


def delete_where(sqs: Any, queue: str, is_wanted: Callable[[Message], bool]) -> int:
    """Delete the messages that are wanted, each while it is hidden; the others are shown again.
    How many went."""
    others, deleted = dict[str, str](), 0
    for message in messages(sqs, queue):
        name, handle = message["MessageId"], message["ReceiptHandle"]
        if is_wanted(message):
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
            deleted += 1
        else:
            others[name] = handle
    show_again(sqs, queue, others.values())
    return deleted
