"""`release-model`: pin → publish → verify → promote. Called by `train-<kind>`, one run at a time.

With `mode` "apprentice" what is released is the running model again, with the new one beside it:
asked too, logged, not acted on. Where nothing runs yet there is nobody to watch: it goes live.

Code and model become one published Lambda version; its golden requests are run; only then does
the alias `live` move, and only if no newer run is live. Every write carries the revision it was
read at, so that two releases at once can never publish each other's model.
"""

from __future__ import annotations

from typing import Any

from stepfunctions.steps import ChoiceRule, Fail, Pass, Task

from state_machines.states import (
    all_of,
    catch,
    choice,
    equals,
    fail_with_error,
    is_present,
    put,
    render,
    task,
    wait,
)

LIVE = "live"
APPRENTICE = "apprentice"
_BUSY = ("Lambda.ResourceConflictException",)
_MOVED = "Lambda.PreconditionFailedException"
_HOUR_SECONDS = 3600
_SEES = "image-model"
_PLAIN = ["${LayerArn}"]
_SEEING = ["${LayerArn}", "${ImagesLayerArn}"]


def release_model() -> dict[str, Any]:
    """The definition, with `${…}` tokens for what the stage fills in."""
    not_released = fail_with_error("NotReleased")
    broken = Fail("Broken", error="ReleaseError", cause="Lambda could not make the version active")
    pin, look, publish = _pin(), _look("LookAtPinned", None), _publish()
    pause, pause_version = wait("WaitForPinned", 1), wait("WaitForVersion", 2)
    look_version, verify = _look("LookAtVersion", "$.published.version"), _verify()
    alias, live, create, promote = _read_alias(), _read_live(), _create_alias(), _promote()
    done = put("Promoted", _output("released", "$.run"), result_path="$")
    watching = put("Watching", _output("apprentice", "$.apprentice.run"), result_path="$")
    ended = choice("IsWatching", [(equals("$.apprentice.run", ""), done)], default=watching)
    running, beside = _read_running(), put("BesideRunning", _beside_running(), result_path="$")
    alone = put("Alone", {"run": "", "artifacts": ""}, result_path="$.apprentice")
    begin = choice("HowToRelease", [(_is_apprentice(), running)], default=alone)
    superseded = put("Superseded", _output("superseded", "$.run"), result_path="$")
    plain, seeing = _layers("PlainLayers", _PLAIN), _layers("SeeingLayers", _SEEING)
    layers = choice("WhichLayers", [(equals("$.kind", _SEES), seeing)], default=plain)

    running.next(beside)
    catch(running, ["Lambda.ResourceNotFoundException"], alone, result_path="$.none")
    beside.next(layers)
    alone.next(layers)
    plain.next(pin)
    seeing.next(pin)
    pin.next(look)
    look.next(_is_pinned(publish, pin, pause, broken))
    pause.next(look)
    publish.next(look_version)
    catch(publish, [_MOVED], pin, result_path="$.moved")
    look_version.next(_is_active(verify, pause_version, broken))
    pause_version.next(look_version)
    verify.next(alias)  # canary and bake go between here and Promote
    catch(alias, ["Lambda.ResourceNotFoundException"], create, result_path="$.first")
    catch(create, ["Lambda.ResourceConflictException"], alias, result_path="$.raced")
    create.next(ended)
    alias.next(live)
    newer = ChoiceRule.StringGreaterThanPath(variable="$.live.started_at", value="$.started_at")
    live.next(choice("IsNewerLive", [(newer, superseded)], default=promote))
    catch(promote, [_MOVED], alias, result_path="$.raced")
    promote.next(ended)
    for state in (running, pin, look, publish, look_version, verify, alias, live, create, promote):
        catch(state, ["States.ALL"], not_released)
    return render(
        begin, comment="Publish, verify and promote a model", timeout_seconds=_HOUR_SECONDS
    )


def _layers(name: str, arns: list[str]) -> Pass:
    """What the version runs on is pinned with its code, whatever the function has had so far."""
    return put(name, {"arns": arns}, result_path="$.layers")


def _is_apprentice() -> Any:
    return all_of(is_present("$.mode"), equals("$.mode", APPRENTICE))


def _read_running() -> Task:
    variables = "$.Environment.Variables.NEXTBEST_"
    return task(
        "ReadRunning",
        "aws-sdk:lambda:getFunctionConfiguration",
        {"FunctionName.$": "$.function", "Qualifier": LIVE},
        result_selector={
            "run.$": f"{variables}RUN",
            "artifacts.$": f"{variables}ARTIFACTS",
            "started_at.$": f"{variables}STARTED_AT",
        },
        result_path="$.running",
    )


def _beside_running() -> dict[str, Any]:
    """The input as if the running model were released again, the new one its apprentice."""
    golden = "s3://${Bucket}/tenants/{}/runs/{}/evaluation/golden.json"
    return {
        **{f"{name}.$": f"$.{name}" for name in ("tenant", "kind", "function")},
        **{f"{name}.$": f"$.running.{name}" for name in ("run", "artifacts", "started_at")},
        "golden.$": f"States.Format('{golden}', $.tenant, $.running.run)",
        "apprentice": {"run.$": "$.run", "artifacts.$": "$.artifacts"},
    }


def _pin() -> Task:
    variables = {
        "NEXTBEST_ARTIFACTS.$": "$.artifacts",
        "NEXTBEST_MODEL.$": "States.Format('{}/model.tar.gz', $.artifacts)",
        "NEXTBEST_RUN.$": "$.run",
        "NEXTBEST_TENANT.$": "$.tenant",
        "NEXTBEST_STARTED_AT.$": "$.started_at",
        "NEXTBEST_STAGE": "${Stage}",
        "NEXTBEST_PROFILES": "nextbest-${Stage}-profiles",
        "NEXTBEST_PRODUCTS": "nextbest-${Stage}-products",
        "NEXTBEST_DECISIONS": "nextbest-${Stage}-decisions",
        "NEXTBEST_UNSENT_DECISIONS": "nextbest-${Stage}-unsent-decisions",
        # A decision's matrices are small: a second thread costs more CPU than it saves time.
        "OPENBLAS_NUM_THREADS": "1",
        "NEXTBEST_APPRENTICE.$": "$.apprentice.artifacts",
        "NEXTBEST_APPRENTICE_RUN.$": "$.apprentice.run",
    }
    return task(
        "Pin",
        "aws-sdk:lambda:updateFunctionConfiguration",
        {
            "FunctionName.$": "$.function",
            "Environment": {"Variables": variables},
            "Layers.$": "$.layers.arns",
        },
        result_selector={"revision.$": "$.RevisionId"},
        result_path="$.pinned",
        retry_also=_BUSY,
    )


def _look(name: str, qualifier: str | None) -> Task:
    parameters: dict[str, Any] = {"FunctionName.$": "$.function"}
    selected = {
        "run.$": "$.Environment.Variables.NEXTBEST_RUN",
        "apprentice.$": "$.Environment.Variables.NEXTBEST_APPRENTICE_RUN",
    }
    if qualifier is None:
        selected |= {"revision.$": "$.RevisionId", "status.$": "$.LastUpdateStatus"}
    else:
        parameters["Qualifier.$"] = qualifier
        selected |= {"state.$": "$.State"}
    return task(
        name,
        "aws-sdk:lambda:getFunctionConfiguration",
        parameters,
        result_selector=selected,
        result_path="$.found",
    )


def _is_ours() -> Any:
    return all_of(
        ChoiceRule.StringEqualsPath(variable="$.found.run", value="$.run"),
        ChoiceRule.StringEqualsPath(variable="$.found.apprentice", value="$.apprentice.run"),
    )


def _is_pinned(publish: Any, pin: Any, pause: Any, broken: Any) -> Any:
    ours = _is_ours()
    return choice(
        "IsPinned",
        [
            (equals("$.found.status", "InProgress"), pause),
            (equals("$.found.status", "Failed"), broken),
            (all_of(ours, equals("$.found.status", "Successful")), publish),
        ],
        default=pin,
    )


def _publish() -> Task:
    return task(
        "Publish",
        "aws-sdk:lambda:updateFunctionCode",
        {
            "FunctionName.$": "$.function",
            "S3Bucket": "${Bucket}",
            "S3Key": "${LambdaCodeKey}",
            "Publish": True,
            "RevisionId.$": "$.found.revision",
        },
        result_selector={"version.$": "$.Version"},
        result_path="$.published",
        retry_also=_BUSY,
    )


def _is_active(verify: Any, pause: Any, broken: Any) -> Any:
    ours = _is_ours()
    return choice(
        "IsActive",
        [
            (all_of(ours, equals("$.found.state", "Active")), verify),
            (all_of(ours, equals("$.found.state", "Pending")), pause),
        ],
        default=broken,
    )


def _verify() -> Task:
    payload = {
        "function.$": "$.function",
        "qualifier.$": "$.published.version",
        "golden.$": "$.golden",
    }
    return task(
        "SmokeTest",
        "lambda:invoke",
        {"FunctionName": "${VerifyFunctionArn}", "Payload": payload},
        result_selector={"compared.$": "$.Payload.compared"},
        result_path="$.verified",
        timeout_seconds=300,
    )


def _read_alias() -> Task:
    return task(
        "ReadAlias",
        "aws-sdk:lambda:getAlias",
        {"FunctionName.$": "$.function", "Name": LIVE},
        result_selector={"revision.$": "$.RevisionId", "version.$": "$.FunctionVersion"},
        result_path="$.alias",
    )


def _read_live() -> Task:
    return task(
        "ReadLive",
        "aws-sdk:lambda:getFunctionConfiguration",
        {"FunctionName.$": "$.function", "Qualifier.$": "$.alias.version"},
        result_selector={"started_at.$": "$.Environment.Variables.NEXTBEST_STARTED_AT"},
        result_path="$.live",
    )


def _create_alias() -> Task:
    return task(
        "CreateAlias",
        "aws-sdk:lambda:createAlias",
        {
            "FunctionName.$": "$.function",
            "Name": LIVE,
            "FunctionVersion.$": "$.published.version",
        },
        result_path="$.created",
    )


def _promote() -> Task:
    return task(
        "Promote",
        "aws-sdk:lambda:updateAlias",
        {
            "FunctionName.$": "$.function",
            "Name": LIVE,
            "FunctionVersion.$": "$.published.version",
            "RevisionId.$": "$.alias.revision",
        },
        result_path="$.promoted",
    )


def _output(outcome: str, run: str) -> dict[str, str]:
    return {"outcome": outcome, "model_version.$": "$.published.version", "run.$": run}
