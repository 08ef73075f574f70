"""The public pages, once with each ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serve_kit import Site


@pytest.fixture
def site(home_url: str) -> Iterator[Site]:
    made = Site(home_url)
    yield made
    made.shop.close()
