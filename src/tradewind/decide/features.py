"""What the value model sees of a customer and of an action: numbers by name, the same when deciding and when learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.errors import SchemaError

# Names of the profile; "stage=new" is 1 where the text equals, else 0. A column that a profile lacks is unknown.
CUSTOMER = (
    "recency_days",
    "frequency",
    "active_days",
    "aov",
    "tenure_days",
    "views_30d",
    "carts_30d",
    "orders_30d",
    "spend_90d",
    "refund_share",
    "price_band",
    "discount_affinity",
    "category_confidence",
    "open_rate",
    "click_rate",
    "answer_rate",
    "messages_30d",
    "stage=prospect",
    "stage=new",
    "stage=active",
    "stage=at_risk",
    "stage=lapsed",
)
PREFIX = "x:"  # of customer columns in the features of a plan
NUMERIC = ("discount", "affinity", "prior_margin")  # attributes of an action that are no yes-or-no


def customer_matrix(profiles: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Customer features of shape (rows, names), float64, NaN where unknown; numbers are compressed by asinh.

    Raises
    ------
    SchemaError
        A named column is a text or a time (write ``column=value`` for a text).
    """
    if profiles.num_rows == 1:  # live: one row is read faster as Python values
        return _row(profiles.to_pylist()[0], names)
    found = np.full((profiles.num_rows, len(names)), np.nan)
    for column, name in enumerate(names):
        source, is_text, wanted = name.partition("=")
        if source not in profiles.column_names:
            continue
        values = profiles[source]
        if is_text:
            hit = pc.equal(values if pa.types.is_string(values.type) else values.cast(pa.string()), wanted)
            found[:, column] = doubles(hit, np.nan)
        elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type):
            found[:, column] = np.arcsinh(doubles(values, np.nan))
        else:
            raise _neither(name, str(values.type))
    return found


def _row(profile: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """As :func:`customer_matrix`, for one customer; (1, names)."""
    found, numbers = np.full(len(names), np.nan), np.zeros(len(names), dtype=bool)
    for column, name in enumerate(names):
        source, is_text, wanted = name.partition("=")
        value = profile.get(source)
        if value is None:
            continue
        if is_text:
            found[column] = (value if isinstance(value, str) else pa.scalar(value).cast(pa.string()).as_py()) == wanted
        elif isinstance(value, bool | int | float):
            found[column], numbers[column] = value, True
        else:
            raise _neither(name, type(value).__name__)
    found[numbers] = np.arcsinh(found[numbers])
    return found[None]


def _neither(name: str, kind: str) -> SchemaError:
    return SchemaError(f'Profile column "{name}" is a {kind}; the value model takes numbers, or "{name}=value" for a text.')


def doubles(values: pa.ChunkedArray, filler: float) -> np.ndarray:
    """A column of numbers as float64 with ``filler`` in empty cells."""
    values = values if pa.types.is_float64(values.type) else values.cast(pa.float64())
    return np.asarray((values.fill_null(filler) if values.null_count else values).to_numpy())


def standardise(x: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """An intercept and the standardised features, clipped to 5 deviations; an unknown value is the average: (rows, names + 1)."""
    z = np.clip((x - center) / scale, -5.0, 5.0)
    return np.concatenate([np.ones((len(x), 1)), np.nan_to_num(z, nan=0.0)], axis=1)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per column without the unknown; (0, 1) for a column that is unknown or constant."""
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, x, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, x - center, 0.0) ** 2).sum(axis=0) / count)
    return center, np.where(spread > 1e-9, spread, 1.0)


def pattern(names: Sequence[str], *, offer: str, kind: str, channel: str) -> np.ndarray:
    """The yes-or-no attributes of an action among ``names``; the places of ``NUMERIC`` stay 0. float64."""
    present = {"contact", f"kind={kind}", f"channel={channel}", f"offer={offer}"}
    return np.array([1.0 if name in present else 0.0 for name in names])


def plan_matrix(features: pa.Table, names: Sequence[str]) -> np.ndarray:
    """The customer features that a plan logged, in the order of ``names``; NaN for a name that it did not log."""
    found = np.full((features.num_rows, len(names)), np.nan)
    for column, name in enumerate(names):
        if PREFIX + name in features.column_names:
            found[:, column] = features[PREFIX + name].cast(pa.float64()).fill_null(np.nan).to_numpy()
    return found


def split_key(key: str) -> tuple[str, str | None, str]:
    """The offer, item and channel of a candidate key "offer|item|channel"."""
    offer, _, rest = key.partition("|")
    item, _, channel = rest.rpartition("|")
    return offer, item or None, channel


def action_rows(keys: Sequence[str], names: Sequence[str], kinds: Mapping[str, str]) -> np.ndarray:
    """:func:`pattern` for many candidate keys; (keys, names)."""
    cache: dict[tuple[str, str], np.ndarray] = {}
    rows = np.zeros((len(keys), len(names)))
    for row, key in enumerate(keys):
        offer, _, channel = split_key(key)
        if (offer, channel) not in cache:
            cache[offer, channel] = pattern(names, offer=offer, kind=kinds[offer], channel=channel)
        rows[row] = cache[offer, channel]
    return rows
