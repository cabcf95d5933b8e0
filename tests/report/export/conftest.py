"""One finished run for all tests of exports: three pictures of Pascal VOC, four targets, two methods."""

import pytest
from datasets import as_voc
from finished_runs import finished_run


@pytest.fixture(scope="session")
def voc_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """OUTPUT of it; nobody writes there."""
    root = tmp_path_factory.mktemp("voc")
    return finished_run(as_voc(root / "data"), root / "out")
