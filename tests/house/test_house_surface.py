"""The public surface is a list: a name is added to it on purpose, and none disappears by accident."""

from __future__ import annotations

import importlib

import pytest

import tradewind
from tradewind import errors

SURFACE = [
    "Estimate",
    "Event",
    "InputError",
    "Locked",
    "Message",
    "NotFitted",
    "NotFound",
    "Offer",
    "Plan",
    "Reason",
    "Receipt",
    "Report",
    "SchemaError",
    "Section",
    "Shop",
    "StateError",
    "Terminal",
    "TradewindError",
    "Transient",
    "__version__",
]


def test_the_surface_is_this_list_and_every_name_resolves() -> None:
    assert tradewind.__all__ == SURFACE
    for name in SURFACE:
        assert getattr(tradewind, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Shp'"):
        _ = tradewind.Shp


def test_the_error_tree_is_drawn_in_its_docstring() -> None:
    module = importlib.import_module("tradewind.errors")
    drawn = module.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in drawn
            assert issubclass(value, errors.TradewindError)
