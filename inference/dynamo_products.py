"""Changes of products in DynamoDB: one item a product, by `tenant` and `product_id`.

`available` and `price` are registers that the newest event wins, by its time and id, in conditional
writes: no order of events, and no two writers at once, give another item. `written` is when, for
the index that readers ask for what is new; `expires_at` is when DynamoDB forgets a product nobody
wrote about. Runs in a Lambda.
"""

from __future__ import annotations

import time
from datetime import UTC
from typing import Any

from inference.dynamo import TenantTable
from inference.event_contracts import ProductChange
from inference.live_products import LiveModel, M, ProductState, ProductStoreError

WRITTEN = "written"
_IF_NEWER = "attribute_not_exists(#at) OR #at < :at"
_SET = "SET #value = :value, #at = :at, written = :written, expires_at = :expires_at"


class DynamoProducts(TenantTable):
    """The products of one tenant in the stage's table."""

    def record(self, event: ProductChange) -> None:
        """Take over what the event says, unless a newer one said it. Raises `ProductStoreError`."""
        if event.available is not None:
            self._set("available", {"BOOL": event.available}, event)
        if event.price is not None:
            # As text: DynamoDB's numbers end where floats go on.
            self._set("price", {"S": repr(event.price)}, event)

    def _set(self, name: str, value: dict[str, Any], event: ProductChange) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        at = event.timestamp.astimezone(UTC).isoformat(timespec="microseconds")
        values = {
            ":value": value,
            ":at": {"S": f"{at}#{event.event_id}"},
            ":written": {"N": f"{self._clock():.6f}"},
            ":expires_at": self._expires_at(),
        }
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"tenant": {"S": self._tenant}, "product_id": {"S": event.product_id}},
                UpdateExpression=_SET,
                ConditionExpression=_IF_NEWER,
                ExpressionAttributeNames={"#value": name, "#at": f"{name}_at"},
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise ProductStoreError(f"{self._table} refused a change: {error}") from error
        except BotoCoreError as error:
            raise ProductStoreError(f"{self._table} did not answer: {error}") from error

    def since(self, moment: float) -> list[ProductState]:
        """Products written about since then, read consistently; see `ProductStore`."""
        from botocore.exceptions import BotoCoreError, ClientError

        now, found = self._clock(), []
        try:
            for page in self._client.get_paginator("query").paginate(
                TableName=self._table,
                IndexName=WRITTEN,
                ConsistentRead=True,
                KeyConditionExpression="tenant = :tenant AND written >= :moment",
                ExpressionAttributeValues={
                    ":tenant": {"S": self._tenant},
                    ":moment": {"N": f"{moment:.6f}"},
                },
            ):
                # DynamoDB forgets within days of the time; what has passed it is forgotten already.
                found += [i for i in page["Items"] if float(i["expires_at"]["N"]) > now]
        except (ClientError, BotoCoreError) as error:
            raise ProductStoreError(f"{self._table} did not answer: {error}") from error
        return [_state(item) for item in found]


def live_model(model: M, table: str | None, tenant: str) -> LiveModel[M] | None:
    """The model with the changes in the table, or None where a stage has none."""
    return LiveModel(model, DynamoProducts(table, tenant), clock=time.time) if table else None


def _state(item: dict[str, Any]) -> ProductState:
    return ProductState(
        product_id=item["product_id"]["S"],
        available=item["available"]["BOOL"] if "available" in item else None,
        price=float(item["price"]["S"]) if "price" in item else None,
    )
