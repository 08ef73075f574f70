"""The public pages: one-click by RFC 8058, nothing by GET, two languages, no cookie, no script."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from serve_kit import BASE, MESSAGE, Site
from starlette.routing import Route

from tradewind.collect.consent import Consents
from tradewind.collect.consent_desk import Desk
from tradewind.collect.vault import Vault
from tradewind.deliver.feedback_clicks import settle
from tradewind.errors import Locked
from tradewind.serve import pages
from tradewind.serve.public import LONGEST, PATIENCE, TRIES, app

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
VISITS = ("touches",)  # a visit is measurement: it becomes an event once it is known who came, and nothing else changes


def test_no_get_of_any_route_changes_what_people_decided(site: Site) -> None:
    """Every route, as a browser, a scanner and a preview ask: the whole ledger is the same, but for visits."""
    addresses = site.addresses()
    served = {route.path.split("/")[2] for route in app(site.shop, base=BASE).routes if isinstance(route, Route)}
    assert set(addresses) == served, "a route without a test"
    before, visits = site.dump(without=VISITS), site.dump()["touches"]
    for name, address in addresses.items():
        for ask in (site.browser.get, site.browser.head, site.browser.options):
            for query in ("", "?List-Unsubscribe=One-Click", "?on=sms&shown=email&shown=sms&lang=zh-CN"):
                status = ask(address + query).status_code
                assert status in (200, 302, 405), (name, ask, status)
        if name in ("unsubscribe", "preferences", "confirm"):
            assert site.dump()["touches"] == visits, "only visits of tracked links are noted"
        assert site.browser.put(address, data=ONE_CLICK).status_code == 405
        assert site.browser.delete(address).status_code == 405
    assert site.dump(without=VISITS) == before
    assert len(site.dump()["touches"]) == len(visits) + 4, "of each link one by GET and one by HEAD"
    assert site.why() == ""


@pytest.mark.parametrize(
    "form", [{"data": ONE_CLICK}, {"files": {"List-Unsubscribe": (None, "One-Click")}}], ids=["urlencoded", "multipart"]
)
def test_one_click_needs_the_body_alone_and_is_idempotent(site: Site, form: dict[str, object]) -> None:
    address = site.links.unsubscribe(MESSAGE)
    first = site.browser.post(address, **form)  # type: ignore[arg-type]
    assert (first.status_code, first.history, site.why()) == (200, [], "suppressed:unsubscribed")
    assert "set-cookie" not in first.headers
    before = site.dump()
    site.wait(days=1)
    again = site.browser.post(address, **form)  # type: ignore[arg-type]
    assert again.status_code == 200
    assert site.dump() == before


@pytest.mark.parametrize(
    "body", [b"", b"List-Unsubscribe=no", b"a=b", b"\xff\xfe", b"&" * 500, b"List-Unsubscribe=One-Click&List-Unsubscribe=x"]
)
def test_another_body_changes_nothing(site: Site, body: bytes) -> None:
    before = site.dump()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = site.browser.post(site.links.unsubscribe(MESSAGE) + "?List-Unsubscribe=One-Click", content=body, headers=kind)
    assert answer.status_code == 400
    assert (
        site.browser.post(site.links.unsubscribe(MESSAGE), content=b"--x\r\n", headers={"content-type": "multipart/form-data"}).status_code
        == 400
    )
    assert site.dump() == before


def test_a_body_that_is_too_long_is_cut_off(site: Site) -> None:
    def drops() -> object:
        for _ in range(40):
            yield b"a" * 1_024

    answer = site.browser.post(site.links.unsubscribe(MESSAGE), content=b"List-Unsubscribe=One-Click&x=" + b"a" * LONGEST)
    assert answer.status_code == 413
    assert site.browser.post(site.links.unsubscribe(MESSAGE), content=drops()).status_code == 413  # type: ignore[arg-type]
    assert site.why() == ""


def test_an_unsubscribe_by_any_other_token_is_not_found(site: Site) -> None:
    address = site.links.unsubscribe(MESSAGE)
    other = site.links.click(MESSAGE, "https://shop.example/")
    wrong = [address[:-1], address + "x", other.replace("/click/", "/unsubscribe/")]
    wrong += [f"{BASE}/unsubscribe/x", f"{BASE}/", f"{BASE}/nowhere/x"]
    before = site.dump()
    for one in wrong:
        for answer in (site.browser.post(one, data=ONE_CLICK), site.browser.get(one)):
            assert answer.status_code == 404
            assert "ann" not in answer.text
            assert "Traceback" not in answer.text
    assert site.dump() == before


def test_who_guesses_links_waits_and_genuine_links_never_do(site: Site) -> None:
    codes = [site.browser.get(f"{BASE}/preferences/{number}").status_code for number in range(TRIES + 1)]
    assert codes == [404] * TRIES + [429]
    refused = site.browser.post(f"{BASE}/unsubscribe/x", data=ONE_CLICK)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert site.browser.post(site.links.unsubscribe(MESSAGE), data=ONE_CLICK).status_code == 200
    site.wait(minutes=1)
    assert site.browser.get(f"{BASE}/preferences/x").status_code == 404


def test_the_preference_centre_switches_what_it_showed(site: Site) -> None:
    address = site.addresses()["preferences"]
    shown = site.browser.get(address)
    switches = re.findall(r'name="on" value="(\w+)"( checked)?', shown.text)
    assert switches == [("email", " checked"), ("sms", ""), ("personalisation", " checked")]
    answer = site.browser.post(address, data={"shown": ["email", "sms", "personalisation"], "on": ["sms", "email"]})
    assert answer.status_code == 200
    assert "Your choices are saved." in answer.text
    assert {choice.channel: choice.on for choice in site.desk.choices("ann")} == {"email": True, "sms": True, "personalisation": False}
    before = site.dump()
    again = site.browser.post(address, data={"shown": ["email", "sms", "personalisation"], "on": ["sms", "email"]})
    assert "Nothing had to be changed." in again.text
    assert site.dump() == before
    site.wait(minutes=1)
    site.browser.post(address, data={"shown": ["sms"], "on": []})
    assert {choice.channel: choice.on for choice in site.desk.choices("ann")} == {"email": True, "sms": False, "personalisation": False}
    site.wait(minutes=1)
    site.browser.post(address, data={"shown": ["email", "sms", "personalisation"], "on": ["email"], "nothing": "1"})
    assert not any(choice.on for choice in site.desk.choices("ann"))
    assert site.browser.post(address, data={"on": ["email"]}).status_code == 400
    assert site.browser.post(address, data={"shown": ["email", "fax", "transactional"], "on": ["fax", "transactional"]}).status_code == 200
    assert not any(choice.on for choice in site.desk.choices("ann"))


def test_a_person_may_come_back_but_not_after_a_complaint(site: Site) -> None:
    address = site.addresses()["preferences"]
    site.browser.post(site.links.unsubscribe(MESSAGE), data=ONE_CLICK)
    site.wait(minutes=1)
    site.browser.post(address, data={"shown": ["email"], "on": ["email"]})
    assert site.why() == ""
    Consents(site.shop.home).suppress(Vault(site.shop.home).hash("ann@mail.example"), "email", "complaint", site.at)
    assert 'value="email" disabled' in site.browser.get(address).text
    site.browser.post(address, data={"shown": ["email"], "on": ["email"]})
    assert site.why() == "suppressed:complaint"


def test_double_opt_in_is_granted_by_post_alone(site: Site) -> None:
    address = site.addresses()["confirm"]
    assert "may send me offers and news by text message" in site.browser.get(address).text
    assert site.why("sms") == "no_consent"
    assert "Thank you" in site.browser.post(address).text
    assert site.why("sms") == ""
    before = site.dump()
    assert site.browser.post(address).status_code == 200
    assert site.dump() == before
    asked = site.desk.request("ann", "email", locale="zh-CN", source="checkout")
    site.wait(days=8)
    late = site.browser.post(f"{BASE}/confirm/{asked.token}")
    assert (late.status_code, "too old" in late.text) == (410, True)
    gone = site.desk.request("ann", "email", locale="zh-CN", source="checkout")
    Vault(site.shop.home).erase("ann", now=site.at)
    assert site.browser.get(f"{BASE}/confirm/{gone.token}").status_code == 404
    assert site.browser.get(f"{BASE}/preferences/{site.desk.preferences_token('ann', 'email')}").status_code == 404


def test_a_ledger_that_is_held_for_a_moment_loses_no_unsubscribe(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = Desk.unsubscribe

    def held(desk: Desk, *given: str, **named: str) -> bool:
        calls.append(1)
        if len(calls) in (1, 2, 4, 5, 6):
            raise Locked("held by another process")
        return real(desk, *given, **named)

    monkeypatch.setattr(Desk, "unsubscribe", held)
    address = site.links.unsubscribe(MESSAGE)
    assert site.browser.post(address, data=ONE_CLICK).status_code == 200
    assert (len(calls), site.why()) == (PATIENCE, "suppressed:unsubscribed")
    stays = site.browser.post(address, data=ONE_CLICK)
    assert (stays.status_code, stays.headers["retry-after"]) == (503, "60")
    assert "another process" not in stays.text


def test_the_address_of_a_visitor_is_kept_as_a_hash_or_not_at_all(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    site.browser.post(site.addresses()["confirm"])
    assert set(site.desk.history("ann")[-1].evidence) == {"request", "address_hash", "page"}
    other = Site(str(tmp_path_factory.mktemp("o") / "shop"), keep_ip=True)
    other.browser.post(other.addresses()["confirm"])
    proof = other.desk.history("ann")[-1].evidence
    assert re.fullmatch(r"[0-9a-f]{64}", proof["ip_hash"])
    other.shop.close()


def test_a_tracked_link_leads_on_and_is_noted_once(site: Site) -> None:
    addresses = site.addresses()
    site.wait(minutes=5)
    site.browser.head(addresses["click"])  # a scanner: nobody's click
    for _ in range(2):
        answer = site.browser.get(addresses["click"])
        assert (answer.status_code, answer.headers["location"]) == (302, "https://shop.example/tea?a=1&b=2")
    pixel = site.browser.get(addresses["open"])
    assert (pixel.headers["content-type"], pixel.content[:6]) == ("image/gif", b"GIF89a")
    assert site.browser.get(addresses["click"].replace("click", "open")).status_code == 404
    site.wait(days=400)
    assert site.browser.get(addresses["click"]).status_code == 302, "an old link still leads on"
    settle(site.shop.home, now=site.at)
    assert len([row for row in site.dump()["inbox"] if '"d1"' in row]) == 2


def test_every_answer_is_hardened(site: Site) -> None:
    asked = [site.browser.get(address) for address in site.addresses().values()]
    asked += [site.browser.get(f"{BASE}/x"), site.browser.post(f"{BASE}/unsubscribe/x"), site.browser.put(f"{BASE}/unsubscribe/x")]
    for answer in asked:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers


def test_the_style_of_a_page_is_the_one_that_its_policy_allows(site: Site) -> None:
    answer = site.browser.get(site.addresses()["preferences"])
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "Stop everything" in answer.text


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("locale", pages.LOCALES)
def test_pages_are_whole_in_both_languages_without_script(site: Site, locale: str) -> None:
    for name, address in site.addresses().items():
        if name in ("click", "open"):
            continue
        answer = site.browser.get(address, headers={"accept-language": f"{locale},fr;q=0.5"})
        assert answer.headers["content-language"] == locale
        tags = Outline(answer.text).tags
        names = [tag for tag, _ in tags]
        assert dict(tags)["html"] == {"lang": locale}
        assert names.count("h1") == names.count("main") == names.count("title") == 1
        assert "script" not in names
        assert not [key for _, told in tags for key in told if key == "style" or key.startswith("on")]
        inputs = [told for tag, told in tags if tag == "input" and told["type"] == "checkbox"]
        assert len(inputs) == names.count("label"), "every switch has its label around it"
        assert ("{" in re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)) is False
        chinese = len(re.findall(r"[\u4e00-\u9fff]", answer.text.replace("中文", "")))
        assert (chinese > 20) == (locale == "zh-CN")
        other = site.browser.get("https://shop.example" + next(told["href"] for tag, told in tags if "hreflang" in told))  # type: ignore[operator]
        assert other.headers["content-language"] != locale


def test_words_are_the_same_in_both_languages() -> None:
    def shape(words: object) -> object:
        if isinstance(words, dict):
            return {name: shape(value) for name, value in words.items()}
        return sorted(re.findall(r"{\w+}", str(words)))

    assert shape(pages.words("en")) == shape(pages.words("zh-CN"))


def test_a_shop_with_a_hostile_name_is_shown_as_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = Site(str(tmp_path_factory.mktemp("h") / "shop"))
    from dataclasses import replace

    made.shop.home.save_settings(replace(made.shop.home.settings, name="<script>alert(1)</script>"))
    for name, address in made.addresses().items():
        if name not in ("click", "open"):
            text = made.browser.get(address).text
            assert "<script" not in text
            assert "&lt;script" in text
    made.shop.close()
