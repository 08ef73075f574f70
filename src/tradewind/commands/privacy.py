"""What a shop owes a person: `export`, `erase`, `vault`, `backup`, `restore` (docs/vault.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tradewind.commands.base import EXIT_STATE, Json, ShopUrl, opened_shop, say, write
from tradewind.errors import InputError

Address = Annotated[
    list[str] | None, typer.Option("--address", help="With --verify: an address of one of them. Repeatable.", metavar="ADDRESS")
]
Folder = Annotated[Path, typer.Argument(help="The folder of the backup.", metavar="FOLDER")]


def export(
    customer: Annotated[str | None, typer.Argument(help="Whose data.")] = None,
    shop: ShopUrl = ".",
    find: Annotated[str | None, typer.Option("--find", help="Only say which customers have this address.", metavar="ADDRESS")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write to this file: .json, .md or .html.")] = None,
    as_json: Json = False,
) -> None:
    """All that the shop knows of a person, and nothing of others."""
    if (customer is None) == (find is None):
        raise InputError("Name a customer, or look for one with --find ADDRESS.")
    with opened_shop(shop) as opened:
        if find is not None:
            found = opened.privacy.find(find)
            say({"customers": found}, "\n".join(found) or "Nobody has this address.", as_json=as_json)
            return
        assert customer is not None
        told = opened.privacy.export(customer)
    import json

    forms = {".json": lambda: json.dumps(told.to_json(), ensure_ascii=False, indent=2), ".md": told.to_markdown, ".html": told.to_html}
    if to is None:
        say(told.to_json(), told.to_markdown(), as_json=as_json)
        return
    if to.suffix not in forms:
        raise InputError(f"--to writes {', '.join(forms)}; got {to.name}.")
    write(to, forms[to.suffix]())
    say({"file": str(to), "rows": {name: len(rows) for name, rows in told.data.items()}}, f"written to {to}", as_json=as_json)


def erase(
    customers: Annotated[list[str] | None, typer.Argument(help="Who is forgotten.", metavar="CUSTOMER...")] = None,
    shop: ShopUrl = ".",
    backup: Annotated[list[Path] | None, typer.Option("--backup", help="A backup to write anew without them. Repeatable.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Only look whether anything of them is left.")] = False,
    everybody: Annotated[bool, typer.Option("--all", help="With --verify: everybody who was ever erased.")] = False,
    address: Address = None,
    path: Annotated[list[Path] | None, typer.Option("--path", help="With --verify: also search this file or folder. Repeatable.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Only erase again whom a stale import brought back.")] = False,
    as_json: Json = False,
) -> None:
    """Forget a person for good; the suppression of the addresses stays, and so do the sums of reports."""
    names = customers or []
    if sum((bool(names), everybody, again)) != 1 or (everybody and not verify) or (again and verify):
        raise InputError("Name who is to be forgotten, or use --verify --all, or --again.")
    if (address or path) and not verify:
        raise InputError("--address and --path belong to --verify.")
    with opened_shop(shop) as opened:
        if verify:
            proof = opened.privacy.verify(names, addresses=address or (), paths=path or ())
            say(proof.to_json(), proof.to_text(), as_json=as_json)
            if not proof.clean:
                raise typer.Exit(EXIT_STATE)
            return
        done = opened.privacy.again() if again else opened.privacy.erase(names, backups=backup or ())
    say(done.to_json() if done else {"customers": 0}, done.to_text() if done else "Nobody has come back.", as_json=as_json)


def vault(
    shop: ShopUrl = ".",
    rotate: Annotated[bool, typer.Option("--rotate", help="Replace the master key.")] = False,
    days: Annotated[int | None, typer.Option("--days", help="How long a model may serve that saw somebody who was erased.")] = None,
    late: Annotated[str | None, typer.Option("--late", help="What such a model does after that: warn or refuse.")] = None,
    as_json: Json = False,
) -> None:
    """The master key, and which models have to be learned anew after erasures."""
    from dataclasses import asdict, replace

    with opened_shop(shop) as opened:
        door = opened.privacy
        if rotate:
            done = door.rotate()
            say({"customers": done.customers, "from_environment": done.from_environment}, done.to_text(), as_json=as_json)
            return
        rule = door.rule()
        if days is not None or late is not None:
            rule = door.rule(replace(rule, days=rule.days if days is None else days, late=late or rule.late))
        due = door.due()
    lines = [f"a model that saw an erased customer may serve for {rule.days} days, then it is: {rule.late}"]
    lines += [
        f"  {one.name} {one.version}: {one.erased} erased, {'active' if one.active else 'not active'}, until {one.deadline:%Y-%m-%d}"
        for one in due
    ]
    say({"rule": asdict(rule), "due": [asdict(one) for one in due]}, "\n".join(lines), as_json=as_json)


def backup(folder: Folder, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Copy the shop as it is now, while it works. The copy holds no key: back up the shop's folder keys apart."""
    with opened_shop(shop) as opened:
        saved = opened.privacy.backup(folder)
    say(saved.to_json(), saved.to_text(), as_json=as_json)


def restore(
    folder: Folder,
    keys: Annotated[Path, typer.Option("--keys", help="The folder of keys as it is today, kept apart from backups.")],
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Make a new shop of a backup, without those who were erased since."""
    from tradewind.shop import Shop

    done = Shop.restore(folder, shop, keys=keys)
    say(done.to_json(), done.to_text(), as_json=as_json)
