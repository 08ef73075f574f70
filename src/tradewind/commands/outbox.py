"""`tradewind outbox`: what waits, what failed and why; replay it, resolve doubts, stop and resume a channel."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tradewind.commands.base import Json, ShopUrl, opened_shop, say
from tradewind.errors import InputError

app = typer.Typer(no_args_is_help=True, help="The queue of messages: look at it, replay dead letters, stop a channel (docs/deliver.md).")

Message = Annotated[str, typer.Argument(help="The message's id.")]
Channel = Annotated[str, typer.Argument(help="email, sms, push or inapp.")]
OnChannel = Annotated[str | None, typer.Option("--channel", help="Only this channel.")]
OfPlan = Annotated[str | None, typer.Option("--plan", help="Only this plan.", metavar="ID")]
By = Annotated[str, typer.Option("--by", envvar="TRADEWIND_BY", help="Who acts; it goes into the audit log.", metavar="NAME")]


@app.command("list")
def list_(
    shop: ShopUrl = ".",
    state: Annotated[list[str] | None, typer.Option("--state", help="Repeatable; without it the dead letters: failed, unknown.")] = None,
    channel: OnChannel = None,
    plan: OfPlan = None,
    limit: Annotated[int, typer.Option("--limit", help="How many.", min=1)] = 50,
    as_json: Json = False,
) -> None:
    """List messages by state, with how many there are of each."""
    from tradewind.deliver.queue import DEAD

    with opened_shop(shop) as opened:
        counts = opened.outbox.counts()
        rows = opened.outbox.messages(states=tuple(state) if state else DEAD, channel=channel, plan_id=plan, limit=limit)
    lines = [f"{row['messages']:>9,}  {row['state']}, {row['channel']}" for row in counts] or ["No messages."]
    lines += [f"{row['message_id']}  {row['state']:<11}  {row['channel']:<6}  {row['customer']}  {row['detail'] or ''}" for row in rows]
    say({"counts": counts, "messages": rows}, "\n".join(lines), as_json=as_json)


@app.command()
def show(message: Message, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Show one message and everything that happened to it."""
    with opened_shop(shop) as opened:
        told = opened.outbox.show(message)
    say(told.to_json(), told.to_text(), as_json=as_json)


@app.command()
def replay(
    by: By,
    messages: Annotated[list[str] | None, typer.Argument(help="Ids of messages.")] = None,
    shop: ShopUrl = ".",
    channel: OnChannel = None,
    plan: OfPlan = None,
    why: Annotated[str | None, typer.Option("--why", help="Only those whose reason begins like this.")] = None,
    not_sent: Annotated[bool, typer.Option("--not-sent", help="The provider says that it never took these unknown messages.")] = False,
    as_json: Json = False,
) -> None:
    """Try messages again: those named, or all failed ones of a plan or channel. Consent, expiry and caps are checked again."""
    if messages and (channel or plan or why):
        raise InputError("outbox replay: name messages, or narrow down by --channel, --plan and --why; not both.")
    with opened_shop(shop) as opened:
        queue = opened.outbox
        done = (
            queue.replay(*messages, by=by, not_sent=not_sent)
            if messages
            else queue.replay_failed(by=by, channel=channel, plan_id=plan, why=why)
        )
    say({"replayed": done}, f"{done:,} messages are ready again; deliver hands them off.", as_json=as_json)


@app.command()
def resolve(
    message: Message,
    by: By,
    accepted: Annotated[bool, typer.Option("--accepted/--not-accepted", help="What the provider said.")],
    shop: ShopUrl = ".",
    provider_id: Annotated[str | None, typer.Option("--provider-id", help="The provider's own number of it.")] = None,
    as_json: Json = False,
) -> None:
    """Enter what the provider said about an unknown message."""
    with opened_shop(shop) as opened:
        opened.outbox.resolve(message, accepted=accepted, by=by, provider_id=provider_id)
    state = "accepted" if accepted else "failed"
    say({"message_id": message, "state": state}, f"{message} is {state}.", as_json=as_json)


@app.command()
def cancel(plan: Annotated[str, typer.Argument(help="The plan's id.")], by: By, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Suppress every message of a plan that is not with a provider yet."""
    with opened_shop(shop) as opened:
        stopped = opened.outbox.cancel(plan, by=by)
    say({"suppressed": stopped}, f"{stopped:,} messages of plan {plan} will not leave.", as_json=as_json)


@app.command()
def stop(
    channel: Channel,
    by: By,
    why: Annotated[str, typer.Option("--why", help="Shown to whoever wonders.")],
    shop: ShopUrl = ".",
    as_json: Json = False,
) -> None:
    """Let nothing leave on a channel until it is resumed; workers that run notice before their next message."""
    with opened_shop(shop) as opened:
        opened.outbox.stop(channel, by=by, why=why)
    say({"channel": channel, "stopped": why}, f"{channel} is stopped.", as_json=as_json)


@app.command()
def resume(channel: Channel, by: By, shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Let a stopped channel run again; complaints and bounces until now are not held against it any more."""
    with opened_shop(shop) as opened:
        opened.outbox.resume(channel, by=by)
    say({"channel": channel, "stopped": None}, f"{channel} runs.", as_json=as_json)


@app.command()
def gates(shop: ShopUrl = ".", as_json: Json = False) -> None:
    """Show stopped channels, and providers that failed of late."""
    with opened_shop(shop) as opened:
        rows: list[dict[str, Any]] = opened.outbox.gates()
    lines = [f"{row['gate']}  {_shut(row)}" for row in rows]
    say({"gates": rows}, "\n".join(lines) or "Everything is open.", as_json=as_json)


def _shut(gate: dict[str, Any]) -> str:
    if gate["stopped"]:
        return f"stopped: {gate['stopped']}"
    return f"closed until {gate['open_until']:%H:%M:%S}" if gate["opened"] else f"{gate['misses']} failures in a row"
