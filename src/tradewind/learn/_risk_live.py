"""Verdicts in the checkout: the state of the log in memory, one order or claim at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tradewind.errors import InputError
from tradewind.learn import _risk_log
from tradewind.learn._risk_log import CLAIM, ORDER
from tradewind.learn._risk_rule_history import SCORE
from tradewind.learn.registry import active, learned
from tradewind.learn.risk import NAME, Risk
from tradewind.learn.risk_features import MODELLED, Live
from tradewind.types import Event

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.learn._risk_rule_books import Check


class LiveRisk:
    """Features of a moment from a state in memory, the score of the active model, and the verdict of the rules.

    Made from the log once; then it must hear what happens. One thread at a time, one per process.
    """

    def __init__(self, home: Home, check: Callable[..., Check], *, as_of: datetime) -> None:
        events = home.tables.to_arrow(home.tables.events(as_of=as_of))
        moments = _risk_log.read(events, home.tables.to_arrow(home.tables.get("customers")))
        self._live = Live.of(moments)
        self._orders = {name for name, action in zip(moments.id, moments.action.tolist(), strict=True) if action == ORDER}
        self._model = Risk.load(active(home, NAME).path) if learned(home, NAME) else None
        self._check = check

    def features(self, event: Event) -> dict[str, Any]:
        """What is known of an order (also a checkout) or a claim before it happens; None: not known.

        Raises
        ------
        InputError
            The event is neither, or its context is wrong.
        """
        moment = _risk_log.moment(event)
        if moment is None or moment.action not in (CLAIM, ORDER):
            raise InputError(f'Risk decides about orders and claims of coupons; got an event of kind "{event.kind}".')
        row = self._live.features(moment)
        score = None if self._model is None else float(self._model.of(np.array([[float(row[name]) for name in MODELLED]]))[0])
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()} | {SCORE: score}

    def decide(self, event: Event) -> Check:
        """The verdict on an order or a claim that is about to happen; it is written down. It is not heard by that."""
        moment = _risk_log.moment(event)
        return self._check(self.features(event), moment=None if moment is None else moment.id, amount=event.value)

    def hear(self, event: Event) -> None:
        """Take in what happened: also views and refunds; other kinds leave no trace.

        An order counts once, by the first event with its id: tell the checkout, with what the whole order pays; lines may follow.
        """
        moment = _risk_log.moment(event)
        if moment is None or (moment.action == ORDER and moment.id in self._orders):
            return
        if moment.action == ORDER:
            self._orders.add(moment.id)
        self._live.hear(moment)
