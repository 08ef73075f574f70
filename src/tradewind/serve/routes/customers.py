"""Customers: found by id or address, with profile, consents and what happened; why they got what; export and erasure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import pyarrow.compute as pc
from fastapi import APIRouter, HTTPException, Query

from tradewind.decide.people import Place, found
from tradewind.errors import InputError, NotFound
from tradewind.learn.forget import Privacy
from tradewind.serve import views
from tradewind.serve import views_customers as told
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import forget, plan
from tradewind.serve.problems import described
from tradewind.serve.state import Held, Serving
from tradewind.serve.views import Name
from tradewind.types import from_micros, micros

router = APIRouter(tags=["customers"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Private = Annotated[Caller, needs("privacy")]


@router.get("/v1/customers")
def customers(
    held: Held,
    _caller: Reader,
    find: Annotated[
        str | None, Query(max_length=255, description="Beginning of an id; for an address see POST /v1/customers/find.")
    ] = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[told.CustomerLine]:
    """Customers by id, without addresses."""
    table = found(told.everybody(held)[1], find).select(list(told.CustomerLine.model_fields))
    if after is not None:
        table = table.filter(pc.greater(table["customer"], after))
    rows = [told.CustomerLine(**row) for row in table.slice(0, limit).to_pylist()]
    return views.Page(rows=rows, next=rows[-1].customer if table.num_rows > limit else None)


@router.post("/v1/customers/find")
def find_customer(body: told.Address, held: Held, _caller: Reader) -> told.Names:
    """Which customers have an address, by its keyed hash. It travels in the body because addresses of requests end up in logs."""
    return told.Names(customers=held.shop.privacy.find(body.address))


@router.get("/v1/customers/{customer}")
def customer(customer: Name, held: Held, _caller: Reader) -> told.Customer:
    """Profile, tags with confidence, consents as they count now and everything that was said about them."""
    as_of, table = told.everybody(held)
    row = table.filter(pc.equal(table["customer"], customer))
    history = held.shop.consents.history(customer)
    if not row.num_rows and not history:
        raise _stranger(customer)
    with held.use() as shop:
        tags = shop.people.tags(row, as_of=as_of) if row.num_rows else None
    return told.Customer(
        customer=customer,
        as_of=as_of,
        simulated=held.shop.home.settings.simulated,
        profile=told.Profile(**row.to_pylist()[0]) if row.num_rows else None,
        tags=[told.Tag(**one) for one in ([] if tags is None else tags.drop_columns(["customer"]).to_pylist())],
        consents=[told.ConsentState(**asdict(one)) for one in held.shop.consents.choices(customer)],
        history=[told.ConsentAct(**(asdict(act) | {"purpose": act.purpose})) for act in reversed(history)],
    )


@router.get("/v1/customers/{customer}/timeline")
def timeline(customer: Name, held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[told.Entry]:
    """Events, decisions and messages of a customer, the newest first."""
    before = None if after is None else _place(after)
    with held.use() as shop:
        rows = shop.people.timeline(customer, before=before, limit=limit + 1)
    if not rows and before is None and not _known(held, customer):
        raise _stranger(customer)
    entries = [told.Entry(**row) for row in rows[:limit]]
    last = entries[-1] if len(rows) > limit else None
    return views.Page(rows=entries, next=None if last is None else f"{micros(last.at)}:{last.id}")


@router.get("/v1/customers/{customer}/why")
def why(
    customer: Name,
    held: Held,
    _caller: Reader,
    plan_id: Annotated[views.Asked, Query(alias="plan", description="The newest when left out.")] = None,
    reader: Literal["customer", "marketer", "auditor"] = "marketer",
    locale: views.Locale = "en",
) -> told.Explanation:
    """Why this customer got this, from the logged decision, in the words of a reader."""
    explained = plan(held, plan_id or held.shop.plans.newest()).explain(customer)
    return told.Explanation(**(views.plain(asdict(explained)) | {"text": explained.text(reader=reader, locale=locale)}))


@router.post("/v1/customers/{customer}/what-if")
def what_if(customer: Name, body: told.Changes, held: Held, _caller: Reader) -> told.WouldBe:
    """What this customer would have got with something changed: the same moment, prices, draw and chance, solved again."""
    meant = plan(held, body.plan or held.shop.plans.newest())
    with held.use() as shop:
        other = shop.what_if(meant, customer, body.changes)
    return told.WouldBe(**vars(other), text=other.text(body.locale))


@router.put("/v1/customers/{customer}/consents/{channel}")
def put_consent(
    customer: Name, channel: told.Contact, body: told.Said, held: Held, caller: Annotated[Caller, needs("consent")]
) -> list[told.ConsentState]:
    """Record that a customer agreed to a channel or a use of data, or withdrew; answers what counts now."""
    desk = held.shop.consents
    if body.granted:
        more = {"basis": body.basis, "locale": body.locale, "jurisdiction": body.jurisdiction}
        desk.grant(customer, channel, source=body.source, evidence=body.evidence, by=caller.actor, **more)  # type: ignore[arg-type]
    else:
        desk.withdraw(customer, channel, source=body.source, evidence=body.evidence, by=caller.actor)
    return [told.ConsentState(**asdict(one)) for one in desk.choices(customer)]


@router.post("/v1/customers/{customer}/export")
def export(customer: Name, held: Held, caller: Private) -> told.Exported:
    """All that the shop knows of a person, and nothing of others. The audit log notes that it was asked for, so this is no GET."""
    with held.use() as shop:
        found = _privacy(held, caller).export(customer)
        data = {name: [views.plain(row) for row in rows] for name, rows in found.data.items()}
        return told.Exported(customer=customer, at=found.at, shop=shop.home.settings.name, data=data)


@router.delete("/v1/customers/{customer}")
def erase(
    customer: Name,
    held: Held,
    caller: Private,
    confirm: Annotated[str, Query(max_length=255, description="The customer's id once more: an erasure cannot be taken back.")],
) -> told.ErasedView:
    """Forget a person for good; the suppression of the addresses stays, and so do the sums of reports."""
    if confirm != customer:
        raise InputError(f'confirm: to erase "{customer}" for good, repeat the id; got "{confirm}".')
    with held.use():
        done = _privacy(held, caller).erase(customer)
        forget(held)
    return told.ErasedView(**{name: getattr(done, name) for name in told.ErasedView.model_fields})


@router.get("/v1/customers/{customer}/erasure")
def verify(customer: Name, held: Held, caller: Private) -> told.ProofView:
    """Look whether anything of an erased customer is left, in every file and table of the shop. Takes seconds to minutes."""
    proof = _privacy(held, caller).verify([customer])
    return told.ProofView(**{name: value for name, value in proof.to_json().items() if name in told.ProofView.model_fields})


def _known(held: Serving, customer: str) -> bool:
    table = told.everybody(held)[1]
    return bool(pc.any(pc.equal(table["customer"], customer)).as_py()) or bool(held.shop.consents.history(customer))


def _stranger(customer: str) -> NotFound:
    return NotFound(f'The shop knows no customer "{customer}". Find the id by its beginning (GET /v1/customers?find=) or by an address.')


def _privacy(held: Serving, caller: Caller) -> Privacy:
    return Privacy(held.shop.home, now=held.shop.now, actor=caller.actor)


def _place(after: str) -> Place:
    at, _, name = after.partition(":")
    if not (at.isascii() and at.isdigit() and len(at) <= 17 and name):
        raise HTTPException(404, f'after: "{after}" is on no page. Begin again without it.')
    return from_micros(int(at)), name
