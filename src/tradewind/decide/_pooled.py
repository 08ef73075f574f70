"""Rates per customer and slot (an hour, a channel), pooled: customer <- segment <- all, as far as the data show differences."""

from __future__ import annotations

import numpy as np

from tradewind.errors import InputError


def pooled_rates(hits: np.ndarray, tries: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """How often each customer answers in each slot, shrunk to the customer's segment, and that to everybody.

    Per slot a group's rate is ``(hits + m * parent's rate) / (tries + m)``. The weight m of the parent comes from the variance between
    the groups beyond chance (method of moments; DerSimonian and Laird 1986, Kleinman 1973): groups that differ by no more than chance
    get their parent's rate. The result serves as context columns of a :class:`~tradewind.decide.bandit.Bandit` whose actions
    have the slot as an attribute.

    Parameters
    ----------
    hits, tries
        (customers, slots): how many contacts in the slot were answered, of how many; ``0 <= hits <= tries``.
    segment
        (customers): number of the customer's segment, 0 or more.

    Returns
    -------
    float64 (customers, slots), 0-1.

    Raises
    ------
    InputError
        Shapes that do not fit, more hits than tries, or no try at all.
    """
    hits, tries, segment = np.asarray(hits, dtype=float), np.asarray(tries, dtype=float), np.asarray(segment)
    if hits.ndim != 2 or hits.shape != tries.shape or segment.shape != hits.shape[:1]:
        raise InputError(
            f"pooled_rates needs hits and tries (customers, slots), segment (customers); got {hits.shape}, {tries.shape}, {segment.shape}."
        )
    if not ((hits >= 0) & (hits <= tries) & np.isfinite(tries)).all() or not tries.sum() > 0 or segment.min() < 0:
        raise InputError("pooled_rates needs 0 <= hits <= tries, at least one try, and segments numbered from 0.")
    everyone = hits.sum() / tries.sum()
    slots = _shrunk(hits.sum(axis=0)[:, None], tries.sum(axis=0)[:, None], np.full((hits.shape[1], 1), everyone))[:, 0]
    count = int(segment.max()) + 1
    grouped = [np.stack([np.bincount(segment, column, minlength=count) for column in table.T], axis=1) for table in (hits, tries)]
    segments = _shrunk(grouped[0], grouped[1], np.broadcast_to(slots, grouped[0].shape))
    return _shrunk(hits, tries, segments[segment])


def _shrunk(hits: np.ndarray, tries: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Rates of groups (groups, slots) shrunk to ``parent``; one weight per slot."""
    chance = parent * (1.0 - parent)
    total = tries.sum(axis=0)
    residual = np.where(tries > 0, (hits - tries * parent) ** 2 / np.maximum(tries, 1e-12), 0.0).sum(axis=0)
    expected = np.where(tries > 0, chance, 0.0).sum(axis=0)
    # E[residual] = sum of chance + between * (tries - share of chance that the variance takes): solved for the variance between groups.
    between = np.maximum((residual - expected) / np.maximum(total - (tries > 0).sum(axis=0), 1e-12), 0.0)
    typical = np.where(total > 0, (tries * chance).sum(axis=0) / np.maximum(total, 1e-12), 0.0)
    weight = np.where(between > 0, typical / np.where(between > 0, between, 1.0), np.inf)
    known = np.isfinite(weight)
    m = np.where(known, np.maximum(weight - 1.0, 0.0), 0.0)
    rates = (hits + m * parent) / np.maximum(tries + m, 1e-12)
    return np.where(known & (tries + m > 0), rates, parent)
