"""A redemption plan under a budget on completejourney, evaluated out of time as far as observed data allow.

Learned on the campaigns that start before 2017-10-01 (answers cut off there): who redeems (the response model of the engine) and how
many coupons a redeemer uses (mean of the campaign's type, shrunk to all). A plan then chooses among the recipients of each later
campaign, before it starts and from what was known then, whom its contacts are spent on: one stats.allocate problem over all pairs of
household and later campaign, value = chance * coupons * margin a coupon - contact, budget = so many contacts. What the chosen really
redeemed in the campaign's window is counted, and their spend in it; against as many pairs at random, the top spenders, those with
most redemptions so far, and whole campaigns of the type that was redeemed most ("constant").

    python bench/redemption.py [--quick] [--path FOLDER] [--share 0.1]

The limit of it, also in print: every household in the comparison did get the campaign. The data can say who of the recipients redeems, not
what an untargeted household would have done, nor what a redeemer would have bought without the coupon. Self-normalised inverse propensity
weighting of "targeted" is printed only where overlap is defensible, with its effective sample size, and says otherwise why not.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _harness import ROOT, Harness, clock

from tradewind.collect.ingest import collect
from tradewind.engine.home import Home
from tradewind.learn.response import Response, campaign_rows, training_rows
from tradewind.stats.allocate import allocate, cost_curve

CUT = datetime(2017, 10, 1, tzinfo=UTC)
END = datetime(2018, 1, 1, 5, tzinfo=UTC)  # midnight in New York: the end of the data
CONTACT = 10.0  # cents a contact: assumed, the data have no cost
MARGIN = 0.25  # of what a redeemer spends in the window: assumed, as in maps/completejourney.toml
SHARES = (0.05, 0.1, 0.2, 0.3)
OVERLAP, ESS = 0.8, 1_000  # below, no weighted estimate is given
DRAWS = 2_000
LIMIT = """Limit: assignment was not random and everybody compared was a recipient. Figures say whom contacts reach who redeem, and what
they spend in the window; they are not the effect of a coupon. Transactions are a 6.8 % sample of the lines: spend is counted thinly."""


def main() -> None:
    bench = Harness("redemption", __doc__, extra={"--share": {"type": float, "default": 0.1}})
    data = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
    folder = bench.arguments.path or data / "completejourney"
    if not folder.is_dir():
        print(f"left out: {folder} is not there; set TRADEWIND_DATA or give --path")
        bench.finish()
        return
    with tempfile.TemporaryDirectory() as place, Home.open(Path(place) / "shop") as home:
        collect(home, folder, mapping=ROOT / "maps" / "completejourney.toml", now=END)
        since = datetime(2017, 6, 1, tzinfo=UTC) if bench.quick else None
        with clock() as took:
            train = training_rows(home.tables, before=CUT, since=since)
            calendar = home.tables.to_arrow(home.tables.get("campaigns")).sort_by("starts_at").to_pylist()
            late = [row for row in calendar if CUT <= row["starts_at"] < END]
            parts = [campaign_rows(home.tables, row["campaign"], as_of=row["starts_at"], until=END) for row in late]
            test = pa.concat_tables([part for part in parts if part.num_rows])
            answers = _answers(home, calendar)
    bench.figure("seconds", took["wall"])
    train, test = (
        rows.set_column(rows.column_names.index("price_band"), "price_band", pa.nulls(rows.num_rows, pa.float64()))
        for rows in (train, test)
    )
    kinds = {row["campaign"]: str(row["kind"]) for row in calendar}
    model = Response(seed=bench.arguments.seed).fit(train)
    chance = np.asarray(model.predict(test))
    truth = _truth(test, answers)
    bench.figure("pairs", test.num_rows)
    bench.figure("campaigns", len(late))
    bench.figure("redeeming_pairs", int((truth["redeemed"] > 0).sum()))
    each = _coupons(train, answers, kinds)
    worth = np.array([each[kinds[name]] for name in test["campaign"].to_pylist()])
    basket = _basket(train, answers)
    value = np.round(chance * worth * basket - CONTACT, 9)
    scores = _rivals(test, train, kinds) | {"engine": value}
    curve = cost_curve(value[:, None], np.full((len(value), 1), CONTACT))
    bench.figure("contacts_worth_their_cost_share", float((curve.start >= 0).mean() + len(curve.row) / len(value)))
    _compare(bench, scores, value, truth, units=np.unique(test["customer"].to_pylist(), return_inverse=True)[1])
    _weighted(bench, test, truth)
    print(LIMIT)
    bench.finish()


def _answers(home: Home, calendar: list[dict[str, Any]]) -> dict[str, Any]:
    """Redemptions (customer, campaign, at) and purchases (customer, at, value) of all times; each use cuts its own window."""
    tables = home.tables
    offers = {row["offer"]: row["campaign"] for row in tables.to_arrow(tables.get("offers")).to_pylist()}
    events = tables.events()
    used = tables.to_arrow(events.filter(events.kind == "redeem").select("customer", "offer", "at")).to_pylist()
    bought = tables.to_arrow(events.filter(events.kind == "purchase").select("customer", "at", "value")).to_pylist()
    redeemed: dict[tuple[str, str], list[datetime]] = {}
    for row in used:
        if row["offer"] in offers:
            redeemed.setdefault((row["customer"], offers[row["offer"]]), []).append(row["at"])
    spent: dict[str, list[tuple[datetime, int]]] = {}
    for row in bought:
        spent.setdefault(row["customer"], []).append((row["at"], row["value"] or 0))
    return {"redeemed": redeemed, "spent": spent, "ends": {row["campaign"]: row["ends_at"] for row in calendar}}


def _truth(rows: pa.Table, answers: dict[str, Any], *, until: datetime = END) -> dict[str, np.ndarray]:
    """Coupons redeemed and cents spent by every pair within the campaign's window, up to ``until``."""
    coupons, spend = [], []
    for row in rows.select(["customer", "campaign", "at"]).to_pylist():
        end = min(answers["ends"][row["campaign"]], until)
        coupons.append(sum(row["at"] <= at < end for at in answers["redeemed"].get((row["customer"], row["campaign"]), ())))
        spend.append(sum(value for at, value in answers["spent"].get(row["customer"], ()) if row["at"] <= at < end))
    return {"redeemed": np.array(coupons, dtype=float), "spend": np.array(spend, dtype=float)}


def _coupons(train: pa.Table, answers: dict[str, Any], kinds: dict[str, str]) -> dict[str, float]:
    """Coupons that a redeemer of each type of campaign uses: the type's mean, shrunk to all with the weight of 20 redeemers."""
    told = _truth(train, answers, until=CUT)["redeemed"]
    kind = np.array([kinds[name] for name in train["campaign"].to_pylist()])
    everyone = float(told[told > 0].mean())
    return {
        name: float((told[(kind == name) & (told > 0)].sum() + 20 * everyone) / (((kind == name) & (told > 0)).sum() + 20))
        for name in set(kinds.values())
    }


def _basket(train: pa.Table, answers: dict[str, Any]) -> float:
    """Cents of margin that a redeemer's window brings, per coupon; from the past alone."""
    told = _truth(train, answers, until=CUT)
    who = told["redeemed"] > 0
    return MARGIN * float(told["spend"][who].sum() / told["redeemed"][who].sum())


def _rivals(rows: pa.Table, train: pa.Table, kinds: dict[str, str]) -> dict[str, np.ndarray]:
    """What others would rank by, from what was known when each campaign started."""

    def column(name: str, missing: float) -> np.ndarray:
        return np.asarray(rows[name].cast(pa.float64()).fill_null(missing).to_numpy())

    label, kind = train["label"].to_numpy().astype(float), np.array([kinds[name] for name in train["campaign"].to_pylist()])
    rate = {name: float(label[kind == name].mean()) if (kind == name).any() else 0.0 for name in set(kinds.values())}
    return {
        "top_spenders": column("monetary", 0.0),
        "last_redeemers": -column("redeem_recency_days", 1e6),
        "constant": np.array([rate[kinds[name]] for name in rows["campaign"].to_pylist()]),
    }


def _compare(bench: Harness, scores: dict[str, np.ndarray], value: np.ndarray, truth: dict[str, np.ndarray], *, units: np.ndarray) -> None:
    """Redemptions and margin of the chosen at several budgets; ties of a rival are broken by chance, averaged over orders."""
    rng = np.random.default_rng(bench.arguments.seed)
    n = len(value)
    ties = rng.random((50, n))
    for share in sorted({*SHARES, bench.arguments.share}):
        contacts = int(share * n)
        plan = allocate(value[:, None] + 1e6, np.full((n, 1), CONTACT), budget=contacts * CONTACT)  # all contacts are to be used
        chosen = plan.choice >= 0
        assert plan.spend <= contacts * CONTACT
        assert chosen.sum() == contacts
        found = {"engine": float(truth["redeemed"][chosen].sum()), "random": float(truth["redeemed"].mean() * contacts)}
        spend = {"engine": float(truth["spend"][chosen].sum()), "random": float(truth["spend"].mean() * contacts)}
        for name, score in scores.items():
            if name != "engine":
                tops = [np.lexsort((tie, -score))[:contacts] for tie in ties]
                found[name], spend[name] = (float(np.mean([truth[what][top].sum() for top in tops])) for what in ("redeemed", "spend"))
        tag = f"at_{share:g}"
        for name, coupons in found.items():
            bench.figure(f"redemptions_{name}_{tag}", round(coupons, 1))
            bench.figure(f"margin_{name}_{tag}", round(MARGIN * spend[name] - CONTACT * contacts))
        best = max((name for name in found if name != "engine"), key=lambda name: found[name])
        order = np.lexsort((ties[0], -(scores[best] if best != "random" else ties[1])))[:contacts]
        ratio, low, high = _ratio(truth["redeemed"], chosen, order, rng, units)
        judged = share == bench.arguments.share
        bench.figure(f"best_rival_{tag}", best)
        bench.figure(f"engine_over_best_rival_{tag}", round(ratio, 3), target=(">", 1.0) if judged else None)
        bench.figure(f"engine_over_best_rival_{tag}_95", f"[{low:.2f}, {high:.2f}]")
        bench.figure(f"engine_over_random_{tag}", round(found["engine"] / max(found["random"], 1e-9), 2))


def _ratio(
    redeemed: np.ndarray, chosen: np.ndarray, rival: np.ndarray, rng: np.random.Generator, units: np.ndarray
) -> tuple[float, float, float]:
    """Redemptions of ours over the rival's, with a bootstrap over households (the two choices fixed)."""
    other = np.zeros(len(redeemed), dtype=bool)
    other[rival] = True
    mine, his = (np.bincount(units, redeemed * which) for which in (chosen, other))
    drawn = rng.poisson(1.0, (DRAWS, len(mine)))
    low, high = np.percentile((drawn @ mine) / np.maximum(drawn @ his, 1e-9), [2.5, 97.5])
    return float(mine.sum() / max(his.sum(), 1e-9)), float(low), float(high)


def _weighted(bench: Harness, test: pa.Table, truth: dict[str, np.ndarray]) -> None:
    """Self-normalised IPW of the largest campaign's redemptions over all recipients, where overlap is defensible; else the reason."""
    from sklearn.linear_model import LogisticRegression

    names = [name for name in ("recency_days", "frequency", "monetary", "redeem_recency_days") if name in test.column_names]
    x = np.column_stack([np.log1p(np.maximum(test[name].cast(pa.float64()).fill_null(999.0).to_numpy(), 0.0)) for name in names])
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    campaigns = test["campaign"].to_pylist()
    first = pc.value_counts(test["campaign"]).to_pylist()
    largest = max(first, key=lambda pair: pair["counts"])["values"]
    arm = np.array([name == largest for name in campaigns])
    propensity = LogisticRegression(C=1.0, max_iter=500).fit(x, arm).predict_proba(x)[:, 1]
    inside = (propensity > 0.05) & (propensity < 0.95)
    weight = np.where(arm, 1 / propensity, 0.0)[inside]
    ess = float(weight.sum() ** 2 / max(float((weight**2).sum()), 1e-9))
    bench.figure("overlap_of_the_largest_campaign", round(float(inside.mean()), 3))
    bench.figure("ess_of_the_largest_campaign", round(ess))
    if inside.mean() < OVERLAP or ess < ESS:
        bench.figure("snipw_redemptions_a_recipient", f"not given: overlap below {OVERLAP} or ess below {ESS}")
        return
    estimate = float((weight * truth["redeemed"][inside]).sum() / weight.sum())
    bench.figure("snipw_redemptions_a_recipient", round(estimate, 4))


if __name__ == "__main__":
    main()
