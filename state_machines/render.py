"""All machines as Amazon States Language JSON, byte-stable.

`python -m state_machines.render [DIR]` writes them (default: the tests' golden files).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from state_machines.release_model import release_model
from state_machines.retrain import retrain
from state_machines.train_model import KINDS, train_model


def machines() -> dict[str, dict[str, Any]]:
    """Every definition by the machine's short name."""
    found = {f"train-{kind}": train_model(kind) for kind in KINDS}
    return {**found, "release-model": release_model(), "retrain": retrain()}


def as_json(definition: dict[str, Any]) -> str:
    return json.dumps(definition, indent=2, sort_keys=True) + "\n"


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, definition in machines().items():
        (folder / f"{name}.json").write_text(as_json(definition), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("tests/unit/state_machines/golden"))
