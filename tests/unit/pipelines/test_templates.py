"""cfn-lint passes the templates as they are, and the state machines inside one."""

import json
import subprocess
import sys
from pathlib import Path

from state_machines.render import machines

STACKS = Path(__file__).resolve().parents[3] / "pipelines" / "stacks"


def complaints(*paths):
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json"]
    done = subprocess.run(
        [*command, "--regions", "us-east-1", "--", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [
        f"{Path(found['Filename']).name}: {found['Rule']['Id']} {found['Message']}"
        for found in json.loads(done.stdout or "[]")
    ]


def as_template(definition):
    machine = {"RoleArn": "arn:aws:iam::123456789012:role/machines", "Definition": definition}
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Machine": resource}}


def filled(definition):
    """With the tokens that the stage fills in."""
    text = json.dumps(definition)
    for token in ("Stage", "Account", "Bucket", "TrainingImage", "SourceUri", "LambdaCodeKey"):
        text = text.replace("${" + token + "}", "filled")
    for token in (
        "ReleaseMachineArn",
        "TrainMachineArn",
        "VerifyFunctionArn",
        "SyncFunctionArn",
        "LayerArn",
        "ImagesLayerArn",
    ):
        text = text.replace("${" + token + "}", "arn:aws:states:us-east-1:123456789012:x:y")
    return json.loads(text)


def test_every_template_passes():
    assert complaints(*sorted(STACKS.glob("*.yaml"))) == []


def test_every_machine_passes(tmp_path):
    for name, definition in machines().items():
        (tmp_path / f"{name}.json").write_text(json.dumps(as_template(filled(definition))))
    assert complaints(*sorted(tmp_path.glob("*.json"))) == []


def test_a_machine_that_is_none_does_not_pass(tmp_path):
    broken = machines()["release-model"]
    del broken["States"]["Pin"]["Resource"]
    (tmp_path / "broken.json").write_text(json.dumps(as_template(filled(broken))))
    assert complaints(tmp_path / "broken.json") != []
