"""A labelling page that is served, and Ann's browser at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from promptopt.web.server import Address, serving
from tests.web.client import Browser
from tests.web.stage import NAME, PAIRS, stage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def study_id(path: Path) -> int:
    return stage(path, PAIRS)


@pytest.fixture
def port(path: Path, study_id: int) -> Iterator[int]:
    with serving(str(path), (study_id, NAME), Address(port=0)) as taken:
        yield taken.port


@pytest.fixture
def ann(path: Path, port: int, study_id: int) -> Browser:
    return Browser(path, port, study_id).join("Ann")
