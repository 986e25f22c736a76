from collections.abc import Iterator
from pathlib import Path

import pytest

from promptopt.store.store import Store
from promptopt.testing.stores import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with Store.open(tmp_path / "a store.db") as store:
            yield store
