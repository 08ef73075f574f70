"""A stranger with wrong input: every command answers with what was wrong, what is allowed and what to do next, and leaves nothing
half-done.

The sentences stand in ``golden/errors.txt``, to be read: after a change on purpose, ``TRADEWIND_GOLDEN=1`` writes them anew.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import tradewind as tw
from tradewind import schema
from tradewind.cli import main
from tradewind.engine.home import Home
from tradewind.engine.ledger import Ledger
from tradewind.errors import InputError, NotFound, StateError, TradewindError
from tradewind.simulate.world import World

GOLDEN = Path(__file__).parent / "golden" / "errors.txt"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Standard output as exactly one JSON object, by the book: no NaN."""

        def never(name: str) -> Any:
            pytest.fail(f"{name} is no JSON")

        found = json.loads(self.out, parse_constant=never)
        assert isinstance(found, dict)
        return found


Command = Callable[..., Said]


@pytest.fixture
def tradewind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command line in this process, as the installed script calls it, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["tradewind", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(str(ended.value.code or 0)), said.out, said.err)

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export and a shop, ``harbour``, that learned and has one plan."""
    folder = tmp_path_factory.mktemp("made")
    World.make(30, seed=7, start=date(2026, 1, 5), days=30).write(folder / "export")
    with tw.Shop.open(folder / "harbour") as shop:
        shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        shop.learn(seed=1)
        shop.decide(budget="100 CNY", holdout=0.2, seed=1)
    return folder


@pytest.fixture
def harbour(made: Path, tmp_path: Path) -> Path:
    """A copy of that shop in the folder where the commands run."""
    shutil.copytree(made / "harbour", tmp_path / "harbour")
    return tmp_path / "harbour"


def golden(part: str, found: list[tuple[str, str]]) -> None:
    """Compare with one part of the golden file."""
    text = GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""
    parts = dict(block.split("\n", 1) for block in text.split("# ")[1:])
    shown = "".join(f"$ {command}\n{answer}\n\n" for command, answer in found)
    if os.environ.get("TRADEWIND_GOLDEN"):
        parts[part] = shown
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("".join(f"# {name}\n{parts[name].strip()}\n\n" for name in sorted(parts)), encoding="utf-8")
    assert shown.strip() == parts.get(part, "").strip()


WRONG = """
learn --shop nowhere
learn --shop harbour --recommend falback
learn --shop harbour --recommend popular --size tiny
learn --shop harbour --size huge
learn --shop harbour --as-of yesterday
learn --shop harbour --as-of 2026-02-01T00:00
learn --shop harbour --as-of 2019-01-01
learn --shop harbour --as-of 2999-01-01
learn --shop harbour --seed=-5
decide --shop harbour --budget '100 USD'
decide --shop harbour --budget 'a lot'
decide --shop harbour --budget 100
decide --shop harbour --budget '-5 CNY'
decide --shop harbour --budget '1.234 CNY'
decide --shop harbour --holdout 0.95
decide --shop harbour --holdout=-1
decide --shop harbour --holdout nan
decide --shop harbour --window-days 0
decide --shop harbour --offer cupon
decide --shop harbour --channel emial
decide --shop harbour --as-of 2026-01-20
decide --shop harbour --as-of 2999-01-01
compose --shop harbour --plan zzz
compose --shop harbour --locale fr
deliver --shop harbour --send --to pigeon
measure --shop harbour --as-of 2026-01-06
measure --shop harbour --as-of 2999-01-01
measure --shop harbour --html nowhere/report.html
explain C9999999 --shop harbour
run nowhere --shop new
run export --shop new --budget lots
run export --shop new --holdout 2
run export --shop new --recommend magic
run export --shop new --locale fr
run export --shop harbour --mapping nowhere.toml
collect nowhere.csv --shop new
collect export --shop ''
collect export --shop redis://cache
collect export --shop afile
collect export --shop full
collect export --shop /proc/harbour
map nowhere
demo afile
demo full
demo new --rounds 0
demo new --size gigantic
"""


def test_golden_errors_of_the_command_line(tradewind: Command, made: Path, harbour: Path, tmp_path: Path) -> None:
    (tmp_path / "export").symlink_to(made / "export")
    (tmp_path / "afile").write_text("not a shop")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    found = []
    for line in WRONG.strip().splitlines():
        said = tradewind(*shlex.split(line), "--json")
        told = said.json()
        assert set(told) == {"error", "message"}, line
        assert said.err.strip() == f"{told['error']}: {told['message']}", line
        assert "Traceback" not in said.err
        answer = said.err.strip().replace(str(tmp_path), "FOLDER")
        now = f"{datetime.now(UTC):%Y-%m-%d}"
        found.append((f"tradewind {line}", f"exit {said.code}  " + " ".join(answer.split()).replace(now, "TODAY")))
    shown = [(command, _without_clock(answer, made)) for command, answer in found]
    assert all(answer.startswith("exit 2") for _, answer in shown if "harbour --as-of 2026-01-20" not in _)
    after = contents(tmp_path)
    assert after == before, "a refused command changes nothing"
    golden("the command line", shown)


def _without_clock(text: str, made: Path) -> str:
    import re

    with Home.open(made / "harbour") as home:
        plan = next(path.stem for path in (home.root / "plans").glob("*.parquet") if ".features" not in path.name)
    return re.sub(r"TODAY \d\d:\d\d", "NOW", text).replace(plan, "PLAN")


def contents(folder: Path) -> dict[str, int]:
    """Every file that matters with its size: the ledger's own journal and locks may come and go."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(("ledger.db", "."))
    }


@pytest.mark.parametrize("line", ["decide --shop harbour --holdout half", "decide --shp harbour", "conquer", "explain --shop harbour"])
def test_a_wrong_command_line_is_an_input_error(tradewind: Command, line: str) -> None:
    said = tradewind(*line.split(), "--json")
    assert said.code == 2
    assert said.json()["error"] == "InputError"
    assert "--help" in said.err
    plain = tradewind(*line.split())
    assert (plain.code, plain.out) == (2, "")


def test_without_json_the_error_is_one_line_on_standard_error(tradewind: Command, harbour: Path) -> None:
    said = tradewind("decide", "--shop", "harbour", "--budget", "lots")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1


def test_every_command_answers_with_one_json_object(tradewind: Command, made: Path, harbour: Path) -> None:
    for line in (
        f"map {made / 'export' / 'customers.csv'}",
        f"collect {made / 'export'} --shop harbour",
        "learn --shop harbour --recommend popular",
        "decide --shop harbour --budget '50 CNY' --seed 2",
        "compose --shop harbour",
        "deliver --shop harbour",
        "measure --shop harbour",
        "explain C0000003 --shop harbour",
        "doctor --shop harbour",
        f"run {made / 'export'} --shop harbour",
    ):
        said = tradewind(*shlex.split(line), "--json")
        assert said.code == 0, (line, said.err)
        assert said.json(), line
        assert said.err == "", line


# -- files that are wrong ------------------------------------------------------------------------------------------------

HEAD = "id,at,kind,source,customer,item,quantity,value,currency\n"
MAPPING = 'tradewind = 1\nname = "T"\ncurrency = "CNY"\n[[source]]\nfiles = "e.csv"\ninto = "events"\nmoney = "minor"\n'


def lines(n: int = 4, *, currency: str = "CNY", zone: str = "Z", key: str = "e") -> str:
    return "".join(f"{key}{i},2026-01-0{i + 1}T10:00:00{zone},purchase,web,c{i},i1,1,1000,{currency}\n" for i in range(n))


@dataclass(frozen=True)
class File:
    """A source, and what becomes of it: refused as a whole, or rows stored and held."""

    body: bytes
    mapping: str = MAPPING
    stored: int | None = None  # None: refused
    held: int = 0
    name: str = "e.csv"


CHINESE = HEAD + lines() + "e9,2026-01-09T10:00:00Z,purchase,\u7f51\u5e97,c9,\u5496\u5561\u8c46,1,1000,CNY\n"
FILES = {
    "columns of another program": File(b"foo,bar\n1,2\n"),
    "a mapping key misspelt": File((HEAD + lines()).encode(), MAPPING.replace("files", "fiels")),
    "a target column misspelt": File((HEAD + lines()).encode(), MAPPING + '[source.columns]\nid = "id"\nsorce = "source"\n'),
    "a table misspelt": File((HEAD + lines()).encode(), MAPPING.replace('"events"', '"event"')),
    "a column that the file lacks": File((HEAD + lines()).encode(), MAPPING + '[source.columns]\nat = "time"\nid = "id"\n'),
    "a mapping that is no TOML": File((HEAD + lines()).encode(), MAPPING + "x = [1,\n"),
    "a currency that is none": File((HEAD + lines()).encode(), MAPPING.replace("CNY", "yuan")),
    "a zone that is none": File((HEAD + lines(zone="")).encode(), MAPPING.replace("[[", 'zone = "Mars/Base"\n[[')),
    "times without zone": File((HEAD + lines(zone="")).encode()),
    "nothing": File(b""),
    "noise": File(bytes(range(128, 256)) * 100),
    "no Parquet": File(b"PAR1 no", MAPPING.replace("e.csv", "e.parquet"), name="e.parquet"),
    "gb18030 declared as utf-8": File(CHINESE.encode("gb18030"), MAPPING + 'encoding = "utf-8"\n', stored=4, held=1),
    "gb18030, not declared": File(CHINESE.encode("gb18030"), stored=5),
    "cut in the middle of a letter": File(CHINESE.encode()[: -len(",1,1000,CNY\n") - 1], stored=4, held=1),
    "two currencies": File((HEAD + lines() + lines(3, currency="USD", key="u")).encode(), stored=4, held=3),
    "one time without zone": File((HEAD + lines(3) + "x,2026-01-05T10:00:00,purchase,web,c1,i1,1,10,CNY\n").encode(), stored=3, held=1),
    "NUL bytes": File((HEAD + lines()).replace("web", "w\0b").encode(), stored=0, held=4),
    "only a header": File(HEAD.encode(), stored=0),
    "a line of JSON that is none": File(
        b'{"id": "a", "at": "2026-01-05T10:00:00Z", "kind": "view", "source": "web"}\n{no\n',
        MAPPING.replace("e.csv", "e.jsonl"),
        stored=1,
        held=1,
        name="e.jsonl",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_refused_or_its_bad_rows_are_held(tradewind: Command, tmp_path: Path, name: str) -> None:
    case = FILES[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / case.name).write_bytes(case.body)
    (tmp_path / "in" / "mapping.toml").write_text(case.mapping)
    said = tradewind("collect", "in", "--shop", "shop", "--json")
    assert "Traceback" not in said.err
    told = said.json()
    if case.stored is None:
        assert said.code == 2
        assert not stored(tmp_path / "shop")
        if name != "no Parquet":  # the words are the library's
            golden(f"collect: {name}", [("tradewind collect in", said.err.strip().replace(str(tmp_path), "FOLDER"))])
    else:
        assert said.code == 0, said.err
        events = next(count for count in told["counts"] if count["table"] == "events")
        assert (events["stored"], events["quarantined"]) == (case.stored, case.held)
        again = tradewind("collect", "in", "--shop", "shop", "--json").json()
        assert again["already_done"], "the same file twice changes nothing"


def stored(shop: Path) -> list[str]:
    """What a load left in a shop: Parquet, and rows of loads in the ledger."""
    if not shop.exists():
        return []
    with Home.open(shop, create=False) as home, home.ledger.read() as connection:
        done = connection.exec_driver_sql("SELECT load_id FROM loads WHERE state = 'done'").fetchall()
    return [str(path) for path in shop.rglob("*.parquet")] + [str(row) for row in done]


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl"])
def test_a_line_of_50_megabytes_is_held_and_its_neighbours_are_stored(tradewind: Command, tmp_path: Path, name: str) -> None:
    record = '{{"id": "{}", "at": "2026-01-05T10:00:00Z", "kind": "view", "source": "{}"}}\n'
    row = "{},2026-01-05T10:00:00Z,view,{},c1,,,,\n"
    long = "w" * 50_000_000
    (tmp_path / name).write_text(
        (HEAD if name == "e.csv" else "")
        + "".join((row if name == "e.csv" else record).format(*pair) for pair in (("a", "web"), ("b", long), ("c", "web")))
    )
    (tmp_path / "mapping.toml").write_text(MAPPING.replace("e.csv", name))
    said = tradewind("collect", name, "--mapping", "mapping.toml", "--shop", "shop", "--json").json()
    assert [(count["stored"], count["quarantined"]) for count in said["counts"]] == [(2, 1)]
    held = sum(path.stat().st_size for path in (tmp_path / "shop").rglob("*.parquet"))
    assert held < 1_000_000, "a held line is not copied whole"


def test_a_folder_without_files_that_can_be_read(tradewind: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.doc").write_text("hello")
    said = tradewind("collect", "in", "--shop", "shop")
    assert said.code == 2
    assert not (tmp_path / "shop").exists()
    golden("collect: a folder of other files", [("tradewind collect in", said.err.strip())])


# -- the shop is not as it should be --------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers that wait for a lock only a moment."""
    monkeypatch.setitem(Ledger.open.__func__.__kwdefaults__, "wait_seconds", 0.1)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("impatient")
def test_a_locked_ledger_stops_who_writes_and_not_who_reads(tradewind: Command, harbour: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "e.csv").write_text(HEAD + lines())
    (tmp_path / "in" / "mapping.toml").write_text(MAPPING)
    other = sqlite3.connect(harbour / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        for line in ("collect in --shop harbour", "learn --shop harbour --seed 9", "decide --shop harbour --seed 9"):
            said = tradewind(*shlex.split(line), "--json")
            assert (said.code, said.json()["error"]) == (4, "Locked"), line
            assert "Try again" in said.json()["message"] or "run this again" in said.json()["message"], line
        for line in ("explain C0000003 --shop harbour", "doctor --shop harbour"):
            assert tradewind(*shlex.split(line), "--json").code == 0, line
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert tradewind("learn", "--shop", "harbour", "--seed", "9").code == 0


def test_what_was_lost_from_a_shop_is_named(tradewind: Command, harbour: Path, tmp_path: Path) -> None:
    found: list[tuple[str, str]] = []

    def add(shop: Path, line: str) -> None:
        path = shop / "tradewind.toml"
        path.write_text(path.read_text() + line + "\n")

    def broken(command: str, lost: str, *, by: Callable[[Path], Any], code: int) -> None:
        copy = tmp_path / f"shop{len(found)}"
        shutil.copytree(harbour, copy)
        by(copy)
        said = tradewind(*shlex.split(command), "--shop", copy.name)
        assert said.code == code, (command, said)
        assert "Traceback" not in said.err
        plan = next((harbour / "plans").glob("*[0-9a-f].parquet")).stem.removesuffix(".features")
        model = next(path.name for path in (harbour / "models" / "recommend").iterdir() if path.is_dir())
        load = next((harbour / "data" / "events").rglob("*.parquet")).name.partition("-")[0]
        text = " ".join((said.err or said.out.splitlines()[-1]).split()).replace(str(copy), "SHOP")
        for name, word in ((plan, "PLAN"), (model, "MODEL"), (load, "LOAD")):
            text = text.replace(name, word)
        found.append((f"tradewind {command}   ({lost})", f"exit {said.code}  {text}"))

    broken("learn", "tradewind.toml is cut", by=lambda shop: add(shop, "name = "), code=2)
    broken("learn", "tradewind.toml has more", by=lambda shop: add(shop, 'colour = "red"'), code=2)
    broken("learn", "ledger.db is noise", by=lambda shop: (shop / "ledger.db").write_bytes(b"noise" * 2000), code=2)
    broken("learn", "data/events is gone", by=lambda shop: shutil.rmtree(shop / "data" / "events"), code=3)
    broken("decide", "models is gone", by=lambda shop: shutil.rmtree(shop / "models"), code=3)
    broken("explain C0000003", "plans is gone", by=lambda shop: shutil.rmtree(shop / "plans"), code=3)
    broken("explain C0000003", "plans are others", by=lambda shop: [p.write_bytes(b"x") for p in (shop / "plans").iterdir()], code=3)
    golden("what was lost", found)


def test_the_demo_never_removes_what_it_did_not_make(tradewind: Command, harbour: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    harbour.rename(tmp_path / "mine" / "shop")
    said = tradewind("demo", "mine", "--size", "tiny")
    assert said.code == 2
    assert (tmp_path / "mine" / "shop" / "ledger.db").exists()


# -- the shop's methods --------------------------------------------------------------------------------------------------


def table(name: str, *rows: dict[str, Any]) -> pa.Table:
    found = schema.conform(pa.Table.from_pylist(list(rows)), schema.TABLES[name])
    return found.replace_schema_metadata({"tradewind.table": name})


def event(number: int, **more: Any) -> dict[str, Any]:
    base = {"id": f"e{number}", "at": datetime(2026, 2, 1 + number % 20, 10, tzinfo=UTC), "kind": "view", "source": "web"}
    return base | {"customer": f"c{number % 10}", "item": f"i{number % 5}"} | more


def items(**more: Any) -> pa.Table:
    row = {"price": 1000, "cost": 500, "currency": "CNY", "title_en": "Thing", "title_zh": "\u7269"} | more
    return table("items", *({"item": f"i{n}", **row} for n in range(5)))


def consents(*, granted: bool = True) -> pa.Table:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return table(
        "consents", *({"customer": f"c{n}", "channel": "email", "granted": granted, "at": at, "source": "form"} for n in range(10))
    )


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[tw.Shop]:
    """An empty shop that sells in CNY."""
    with tw.Shop.open(tmp_path / "bare", now=lambda: NOW) as shop:
        shop.home.save_settings(replace(shop.home.settings, currency="CNY"))
        yield shop


def ready(shop: tw.Shop, *tables: pa.Table, events: int = 40) -> tw.Shop:
    for one in (*tables, table("events", *(event(n) for n in range(events)))):
        shop.collect(one)
    shop.learn(recommend="popular")
    return shop


def refused(do: Callable[[], Any], kind: type[TradewindError]) -> str:
    with pytest.raises(kind) as error:
        do()
    assert type(error.value) is kind
    return str(error.value)


def test_golden_errors_of_the_shop(bare: tw.Shop) -> None:
    said = [
        ("learn without events", refused(bare.learn, StateError)),
        ("decide without events", refused(bare.decide, StateError)),
        ("plan without one", refused(bare.plan, StateError)),
        ("collect a list", refused(lambda: bare.collect([1]), InputError)),
        ("collect another table", refused(lambda: bare.collect(pa.table({"x": [1]})), InputError)),
    ]
    bare.collect(table("items", {"item": "i0", "price": 1000}))
    bare.collect(table("events", *(event(n, customer=None) for n in range(4))))
    bare.learn(recommend="popular")
    said.append(("decide when nobody has a name", refused(bare.decide, StateError)))
    bare.collect(table("events", event(50)))
    said.append(("decide without costs and margin", refused(lambda: bare.decide(budget="1 CNY"), InputError)))
    ready(bare, items(), consents())
    plan = bare.decide(budget="1 CNY")
    said += [
        ("decide(budget=100)", refused(lambda: bare.decide(budget=100), InputError)),  # type: ignore[arg-type]
        ("decide(channels={'emial': 1})", refused(lambda: bare.decide(channels={"emial": 1}), NotFound)),
        ("decide(channels={'email': 0.5})", refused(lambda: bare.decide(channels={"email": 0.5}), InputError)),  # type: ignore[dict-item]
        ("decide(offers='coupon')", refused(lambda: bare.decide(offers="coupon"), NotFound)),
        ("decide(as_of=no zone)", refused(lambda: bare.decide(as_of=datetime(2026, 2, 5)), InputError)),  # noqa: DTZ001
        ("decide(as_of=date)", refused(lambda: bare.decide(as_of=date(2026, 2, 5)), InputError)),  # type: ignore[arg-type]
        ("deliver(to=5)", refused(lambda: bare.deliver(plan, dry_run=False, to=5), InputError)),  # type: ignore[arg-type]
        ("compose('abc')", refused(lambda: bare.compose("abc"), InputError)),  # type: ignore[arg-type]
        ("measure of the plan's own moment", refused(lambda: bare.measure(plan, as_of=plan.meta["as_of"]), InputError)),
    ]
    for terms in ("no JSON", "[1]", '{"percnt": 10}'):
        bare.collect(table("offers", {"offer": "B", "kind": "coupon", "terms": terms}))
        said.append((f"an offer with the terms {terms}", refused(lambda: bare.decide(budget="1 CNY"), InputError)))
    bare.collect(table("offers", {"offer": "B", "kind": "cupon", "terms": "{}"}))
    said.append(("an offer of an unknown kind", refused(lambda: bare.decide(budget="1 CNY"), NotFound)))
    bare.close()
    bare.close()
    said.append(("a closed shop", refused(bare.learn, StateError)))
    shown = [(name, " ".join(text.split())) for name, text in said]
    golden("the shop", [(name, _no_folder(text)) for name, text in shown])


def _no_folder(text: str) -> str:
    import re

    return re.sub(r"/\S*/bare", "FOLDER/bare", text)


def whole(shop: tw.Shop, **asked: Any) -> tw.Report:
    """The loop from decide on, each verb twice: the second time changes nothing."""
    plan = shop.decide(budget="50 CNY", as_of=datetime(2026, 2, 25, tzinfo=UTC), **asked)
    assert shop.decide(budget="50 CNY", as_of=datetime(2026, 2, 25, tzinfo=UTC), **asked).plan_id == plan.plan_id
    assert len(shop.plan().table) == len(plan.table)
    first, second = shop.compose(plan).to_json(), shop.compose(plan).to_json()
    assert second["ready"] == first["ready"]
    states = [shop.deliver(plan, dry_run=False).to_json()["states"] for _ in range(2)]
    assert states[0] == states[1]
    report, again = shop.measure(plan), shop.measure(plan)
    assert report == replace(again, outcomes=report.outcomes)
    assert report.outcomes.equals(again.outcomes)
    assert shop.collect(report.outcomes).rows_stored == len(plan)
    assert shop.collect(report.outcomes).already_done
    return report


@pytest.mark.parametrize("case", ["one customer", "one item", "no consent", "consent withdrawn", "nothing in stock", "expired offer"])
def test_a_shop_with_hardly_anything_to_do_goes_round(bare: tw.Shop, case: str) -> None:
    many = [event(n) for n in range(40)]
    rows = {"one customer": [event(0)], "one item": [event(n, item="i0") for n in range(40)]}.get(case, many)
    bare.collect(items(stock=0) if case == "nothing in stock" else items())
    if case != "no consent":
        bare.collect(consents(granted=case != "consent withdrawn"))
    if case == "expired offer":
        ended = datetime(2026, 1, 1, tzinfo=UTC)
        bare.collect(table("offers", {"offer": "OLD", "kind": "coupon", "terms": '{"percent": 10}', "ends_at": ended}))
    bare.collect(table("events", *rows))
    bare.learn(recommend="popular")
    report = whole(bare, holdout=0.0 if case == "one customer" else 0.2)
    assert "cannot tell" in report.sections[0].text[0].lower() or "nothing" in report.sections[0].text[0].lower()
    plan = bare.plan()
    if case not in ("one customer", "one item"):
        assert set(plan.table["action"].to_pylist()) == {"nothing"}
        assert all(json.loads(text) for text in plan.table["suppressed"].to_pylist()), "every exclusion has its reason"
