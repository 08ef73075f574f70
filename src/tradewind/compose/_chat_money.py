"""The purse of language models: tokens and money in the shop's ledger, with a limit that no number of processes passes.

A call holds the most that it can cost before it is made, and pays what it did cost afterwards. What became of a call that died is
not known, so it counts in full: the limit is on what may have been spent.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update

from tradewind.compose._chat_wire import Failed
from tradewind.engine.ledger import Ledger, insert_new, model_budgets, model_calls
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError
from tradewind.types import micros, utc

NO_MONEY = ("XXX", 0, 0, 0)  # ISO 4217: no currency


@dataclass(frozen=True, slots=True)
class Spending:
    """What one month took. Money in billionths of ``currency``; ``held``: calls of which it is not known what became."""

    budget: str
    currency: str
    spent: int
    held: int
    calls: int
    tokens_in: int
    tokens_out: int


class Purse:
    """Pays for calls to one server. ``now``: the moment whose calendar month (UTC) counts."""

    def __init__(self, ledger: Ledger, model: ChatModel, *, now: datetime) -> None:
        self.ledger, self.model, self.now = ledger, model.model, utc(now)
        self.limited = model.money() is not None
        self.currency, self.price_in, self.price_out, self.limit = model.money() or NO_MONEY
        self.budget = f"chat {self.now:%Y-%m}" if self.limited else f"chat {self.now:%Y-%m} unpriced"

    def hold(self, tokens_in: int, tokens_out: int, *, call: str | None = None) -> str:
        """Set aside what a call of at most so many tokens can cost, and return its id.

        Raises
        ------
        Failed
            The limit does not allow it: nothing was set aside.
        InputError
            The month was begun in another currency.
        """
        call, amount, c = call or secrets.token_hex(16), self.cost(tokens_in, tokens_out), model_budgets.c
        row = {"budget": self.budget, "currency": self.currency, "held": 0, "spent": 0}
        with self.ledger.write() as conn:
            insert_new(conn, model_budgets, [row])
            begun = conn.execute(select(c.currency).where(c.budget == self.budget)).scalar()
            if begun != self.currency:
                raise InputError(f'The budget "{self.budget}" was begun in {begun}; prices are in {self.currency}. Change them next month.')
            room = c.spent + c.held + amount <= self.limit if self.limited else c.held >= 0
            taken = conn.execute(update(model_budgets).where(c.budget == self.budget, room).values(held=c.held + amount))
            if taken.rowcount != 1:
                raise Failed("the budget of this month is spent", again=False)
            conn.execute(
                insert(model_calls).values(
                    call_id=call, budget=self.budget, model=self.model, at=micros(self.now), state="held", amount=amount,
                    tokens_in=tokens_in, tokens_out=tokens_out,
                )
            )  # fmt: skip
        return call

    def pay(self, call: str, tokens_in: int | None, tokens_out: int | None) -> None:
        """Settle a call by the tokens that it took; what the server did not say stays as it was held. Twice is once."""
        c = model_calls.c
        with self.ledger.write() as conn:
            row = conn.execute(select(model_calls).where(c.call_id == call, c.state == "held").with_for_update()).mappings().first()
            if row is None:
                return
            taken_in = row["tokens_in"] if tokens_in is None else tokens_in
            taken_out = row["tokens_out"] if tokens_out is None else tokens_out
            state = "paid" if taken_in or taken_out else "free"
            amount = self.cost(taken_in, taken_out)
            values = {"state": state, "amount": amount, "tokens_in": taken_in, "tokens_out": taken_out}
            conn.execute(update(model_calls).where(c.call_id == call).values(**values))
            b = model_budgets.c
            money = {"held": b.held - row["amount"], "spent": b.spent + amount}
            conn.execute(update(model_budgets).where(b.budget == row["budget"]).values(**money))

    def cost(self, tokens_in: int, tokens_out: int) -> int:
        """Billionths of the currency."""
        return tokens_in * self.price_in + tokens_out * self.price_out

    def spending(self) -> Spending:
        """What this month took so far."""
        b, c = model_budgets.c, model_calls.c
        sums = select(func.count(), func.coalesce(func.sum(c.tokens_in), 0), func.coalesce(func.sum(c.tokens_out), 0))
        with self.ledger.read() as conn:
            row = conn.execute(select(b.spent, b.held).where(b.budget == self.budget)).first()
            calls, tokens_in, tokens_out = conn.execute(sums.where(c.budget == self.budget)).one()
        spent, held = row or (0, 0)
        return Spending(self.budget, self.currency, spent, held, calls, int(tokens_in), int(tokens_out))
