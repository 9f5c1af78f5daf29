"""A stage on moto, of a bucket, a table of profiles queues and machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto import mock_aws

from pipelines.configuration import StageConfiguration
from pipelines.stage import KINDS, Stage

REGION, ACCOUNT = "us-east-1", "123456789012"
_MACHINE = '{"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 1, "End": true}}}'
_CLIENTS: dict[str, Any] = {}


class MotoStage(Stage):
    """A stage whose clients are moto's, made once while the mock is on."""

    def client(self, service: str) -> Any:
        if service not in _CLIENTS:
            _CLIENTS[service] = boto3.client(service, region_name=REGION)
        return _CLIENTS[service]


@contextmanager
def moto_stage() -> Iterator[MotoStage]:
    """The stage while the mock is on."""
    _CLIENTS.clear()
    with mock_aws():
        stage = MotoStage("test", REGION, ACCOUNT, StageConfiguration())
        stage.client("s3").create_bucket(Bucket=stage.bucket)
        stage.client("dynamodb").create_table(
            TableName=stage.profiles_table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        for queue in (stage.dead_letters, stage.unsent_decisions):
            stage.client("sqs").create_queue(QueueName=queue)
        for kind in KINDS:
            stage.client("stepfunctions").create_state_machine(
                name=stage.machine(f"train-{kind}"),
                definition=_MACHINE,
                roleArn=f"arn:aws:iam::{ACCOUNT}:role/machines",
            )
        yield stage
