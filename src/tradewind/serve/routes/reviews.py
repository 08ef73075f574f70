"""Reviews: what they praise and blame, with intervals, and in whose words."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tradewind.errors import NotFound
from tradewind.learn import reviews as read
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import kept, newest
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Interval
from tradewind.shop import Shop

router = APIRouter(tags=["reviews"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]


class Clause(BaseModel):
    """Words as they stand in a review."""

    review: str
    words: str


class Aspect(BaseModel):
    """What reviews judge, the share of praise, and some of their words."""

    aspect: str
    praise: Interval
    praised: list[Clause]
    blamed: list[Clause]


class Trend(BaseModel):
    """Blame of an aspect: share of the reviews that judge it, in the last week and in the eight weeks before."""

    aspect: str
    last_week: float
    before: float
    z: float


class NewWord(BaseModel):
    """A word of the last week's reviews that is far more frequent than before."""

    word: str
    reviews: int
    p: float


class ReviewSummary(BaseModel):
    """What all reviews say, or those of one item; trends and new words are of all."""

    reviews: int
    simulated: bool
    judged_by: Literal["model", "lexicon"] = Field(description="Who judged what the lexicon could not.")
    aspects: list[Aspect]
    trend: list[Trend]
    new_words: list[NewWord]


class ReviewLine(BaseModel):
    """A review with what was read in it."""

    id: str
    item: str
    at: datetime
    text: str
    rating: float | None
    praises: list[str]
    blames: list[str]


@router.get("/v1/reviews")
def reviews(
    held: Held, _caller: Reader, item: views.Asked = None, limit: views.Limit = 50, after: views.After = None
) -> views.Page[ReviewLine]:
    """Reviews with what was read in them, the newest first."""
    found = [one for one in _all(held).reviews[::-1] if item in (None, one.item)]
    page = views.paged(found, limit=limit, after=after, key=lambda one: one.id)
    return views.Page(rows=[_line(one) for one in page.rows], next=page.next)


@router.get("/v1/reviews/summary")
def summary(
    held: Held, _caller: Reader, item: views.Asked = None, most: Annotated[int, Query(ge=1, le=20, description="Clauses of a side.")] = 3
) -> ReviewSummary:
    """What reviews praise and blame, with intervals and evidence; what has grown worse, and what is new."""
    found, items = _all(held), None if item is None else [item]
    mine = [one for one in found.reviews if item in (None, one.item)]
    if item is not None and not mine:
        raise NotFound(f'There is no review of "{item}". Look for the id of the item in the catalogue.')

    def told(aspect: str, sign: int) -> list[Clause]:
        return [Clause(review=name, words=words) for name, words in found.evidence(aspect, sign, most=most, items=items)]

    return ReviewSummary(
        reviews=len(mine),
        simulated=held.shop.home.settings.simulated,
        judged_by="lexicon" if found.model is None else "model",
        aspects=[
            Aspect(aspect=one.name, praise=views.measured(one), praised=told(one.name, 1), blamed=told(one.name, -1))
            for one in found.aspects(items)
        ],
        trend=[Trend(aspect=name, last_week=late, before=then, z=z) for name, late, then, z in found.trend()],
        new_words=[NewWord(word=word, reviews=count, p=p) for word, count, p in found.new_words()],
    )


def _all(held: Held) -> read.Reviews:
    def make(shop: Shop) -> read.Reviews:
        return read.loaded(shop.home, as_of=newest(shop))

    return kept(held, "reviews", make)


def _line(one: read.Review) -> ReviewLine:
    return ReviewLine(
        id=one.id, item=one.item, at=one.at, text=one.text, rating=one.rating,
        praises=sorted({each.aspect for each in one.mentions if each.sign > 0}),
        blames=sorted({each.aspect for each in one.mentions if each.sign < 0}),
    )  # fmt: skip
