"""The public pages, once with each ledger; a shop that is managed over HTTP, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from managed_kit import Managed, make
from serve_kit import Site


@pytest.fixture
def site(home_url: str) -> Iterator[Site]:
    made = Site(home_url)
    yield made
    made.shop.close()


@pytest.fixture(scope="session")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """To be read only: tests that change it take :func:`changed`."""
    made = make(tmp_path_factory.mktemp("managed"))
    yield made
    made.close()


@pytest.fixture
def changed(managed: Managed, tmp_path: Path) -> Iterator[Managed]:
    made = managed.copy(tmp_path / "shop")
    yield made
    made.close()
