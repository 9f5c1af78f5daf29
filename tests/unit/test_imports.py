"""The arrows between the rooms: pipelines → training → inference, pipelines → state_machines."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "inference": set(),
    "training": {"inference"},
    "state_machines": set(),
    "pipelines": {"training", "inference", "state_machines"},
}
FOREIGN = {
    "inference": {"pandas", "scipy", "sklearn", "pyarrow", "torch", "sagemaker", "stepfunctions"},
    "training": {"boto3", "botocore", "sagemaker", "stepfunctions"},
    "state_machines": {"boto3", "botocore"},
    "pipelines": set(),
}
# The consumers of the streams write Parquet; they have a layer for it, and import it late.
EXEMPT = {"inference/archive.py": {"pyarrow"}}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    for path in (ROOT / room).rglob("*.py"):
        found = imported(path)
        assert not (found & set(ROOMS)) - {room} - ROOMS[room], path
        exempt = EXEMPT.get(str(path.relative_to(ROOT)), set())
        assert not found & FOREIGN[room] - exempt, path


@pytest.mark.parametrize(
    "module",
    [
        "inference.handlers.next_best_product",
        "inference.handlers.nudge",
        "inference.handlers.record_decisions",
        "inference.handlers.record_events",
        "inference.handlers.sync",
        "inference.handlers.verify_release",
        "inference.archive",
    ],
)
def test_a_lambda_never_reaches_the_training_libraries(module):
    code = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"pandas", "scipy", "sklearn", "pyarrow", "sagemaker", "boto3"}
