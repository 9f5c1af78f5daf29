"""One local stage for all integration tests, on a port and in a folder of its own."""

import pytest

from pipelines import stacks
from pipelines.local import cloud
from pipelines.stage import open_stage


@pytest.fixture(scope="session")
def local_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stage")
    yield root
    cloud.down(root)


@pytest.fixture(scope="session")
def local_stage(local_root):
    return open_stage("local", root=local_root)


@pytest.fixture(scope="session")
def deployed_stage(local_stage):
    stacks.deploy(local_stage, progress=lambda line: None)
    return local_stage
