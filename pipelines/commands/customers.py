"""`nextbest customers show | export | erase | erasures`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from inference.profiles import Stored
from pipelines.console import JsonOption, StageOption, TenantOption, console, errors, print_json
from pipelines.errors import CustomerError, ErasureError
from pipelines.stacks import require_tenant
from pipelines.stage import Stage, open_stage

if TYPE_CHECKING:  # pulls in pandas
    from pipelines.erasures import Erased

app = typer.Typer(help="A customer's rights: show, export, erase.", no_args_is_help=True)
_SHOWN = 10


def _named(given: Any) -> Any:
    """An id, or several, as given: a variable that was never set is nobody."""
    for name in [given] if isinstance(given, str) else given or ():
        if not name.strip():
            raise CustomerError(f"{name!r} is no customer's id; expected e.g. 'c-1042'")
    return given


CustomerArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The customer's id.", callback=_named)
]
CustomersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Whom.", callback=_named)
]


@app.command()
def show(
    customer: CustomerArgument,
    tenant: TenantOption,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """What decisions know of a customer: the profile."""
    from pipelines import customers

    stored = customers.read_profile(_stage(stage, tenant), tenant, customer)
    if as_json:
        print_json(customers.plain_profile(stored))
    elif not stored.revision:
        console.print(f"nothing is known of {customer} online", markup=False)
    else:
        console.print(render(stored))


def render(stored: Stored) -> Table:
    """A profile for the terminal, of events the newest first."""
    table, profile = Table(show_header=False, box=None, pad_edge=False), stored.profile
    if stored.erased_at:
        table.add_row("erased", f"all up to {stored.erased_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("consents", _pairs(profile.consents))
    table.add_row("attributes", _pairs(profile.attributes))
    table.add_row("time zone", profile.time_zone or "unknown")
    table.add_row("contacts", _newest((c.at, c.action) for c in profile.contacts))
    table.add_row("conversions", _newest((c.at, c.action or "any") for c in profile.conversions))
    seen = ((s.at, f"{s.event} {s.product_id}") for s in stored.interactions)
    table.add_row("interactions", _newest(seen))
    return table


def _pairs(values: Mapping[str, Any]) -> str:
    return escape(", ".join(f"{name} {_said(value)}" for name, value in values.items())) or "none"


def _newest(happened: Iterable[tuple[datetime, str]]) -> str:
    lines = [f"{at:%Y-%m-%d %H:%M} {what}" for at, what in happened][::-1]
    more = [f"and {len(lines) - _SHOWN} before"] if len(lines) > _SHOWN else []
    return escape("\n".join([*lines[:_SHOWN], *more])) or "none"


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{_said(inner)} for {name}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


@app.command()
def export(
    customer: CustomerArgument,
    tenant: TenantOption,
    into: Annotated[Path | None, typer.Option(help="A file; else standard output.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every data set, not only the newest of each kind.")
    ] = False,
    stage: StageOption = None,
) -> None:
    """Everything the tenant holds on a customer, as JSON that says what came from where."""
    from pipelines import customers

    where = _stage(stage, tenant)
    with _progress("reading") as progress:
        found = customers.export(
            where, tenant, customer, now=datetime.now(UTC), every_dataset=every, progress=progress
        )
    if into is None:
        print_json(found)
        return
    into.write_text(json.dumps(found, indent=2, default=str) + "\n", encoding="utf-8")
    rows = sum(len(held["rows"]) for held in found["held"])
    profile = "a profile" if found["profile"] else "no profile"
    console.print(
        f"{profile} and {rows:,} rows of {len(found['held'])} sources: {into}", markup=False
    )


@app.command()
def erase(
    tenant: TenantOption,
    customers: CustomersArgument = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="Who asked by an event, and what was interrupted.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: StageOption = None,
) -> None:
    """Erase customers from everything the tenant holds. It cannot be undone, but done again."""
    from pipelines import erasures

    where = _stage(stage, tenant)
    wanted = {customer: datetime.now(UTC) for customer in customers or ()}
    if pending:
        wanted = {**erasures.pending(where, tenant), **wanted}
        if not wanted and not erasures.left_over(where, tenant):
            console.print("nobody waits to be erased")
            return
    elif not wanted:
        raise ErasureError("whom? Give ids, or --pending for who asked by an event")
    if not yes:
        _confirm(wanted, tenant)
    with _progress("erasing") as progress:
        found = erasures.erase(where, tenant, wanted, progress=progress)
    _tell(found, tenant)


def _confirm(wanted: Mapping[str, datetime], tenant: str) -> None:
    names = [*wanted][:_SHOWN]
    more = f" and {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else ""
    whom = ", ".join(names) + more or "who is left over from an erasure that was interrupted"
    typer.confirm(f"Erase {whom} from everything {tenant} holds, for good?", abort=True)


def _tell(found: Erased, tenant: str) -> None:
    """What was done; exit code 1 where it is not finished."""
    done = found.done
    for area in sorted({*done.rewritten, *done.deleted}):
        objects = f"{done.rewritten[area]:,} objects rewritten, {done.deleted[area]:,} deleted"
        console.print(f"  {area}: {done.rows[area]:,} rows; {objects}")
    messages = f"{found.dead_letters:,} dead letters, {found.unsent_decisions:,} unsent decisions"
    console.print(f"  queues: {messages} deleted")
    if found.receipt:
        count = len(found.receipt.customers)
        if not any(done.rows.values()):
            console.print("  no table had a row of them: if one should have, look at the spelling")
        console.print(f"{count} erased; receipt {found.receipt.id}")
        return
    for key, why in done.unreadable.items():
        errors.print(f"{key} cannot be read: {why}. Restore or delete it", markup=False)
    if found.waiting:
        errors.print(f"{', '.join(found.waiting)} still runs and may write what it has read before")
    if found.waiting or done.unreadable:
        errors.print(f"not finished; then: nextbest customers erase --pending --tenant {tenant}")
        raise typer.Exit(1)


@app.command("erasures")
def list_erasures(
    tenant: TenantOption, as_json: JsonOption = False, stage: StageOption = None
) -> None:
    """The receipts of erasures, oldest first; without --json also how many wait for one."""
    from pipelines import erasures, receipts

    where = _stage(stage, tenant)
    found = receipts.list_receipts(where, tenant)
    if as_json:
        print_json([msgspec.to_builtins(receipt) for receipt in found])
        return
    table = Table("receipt", "finished", "customers", "objects", "rows", box=None, pad_edge=False)
    for receipt in found:
        objects = sum(receipt.rewritten.values()) + sum(receipt.deleted.values())
        table.add_row(
            receipt.id,
            f"{receipt.finished_at:%Y-%m-%d %H:%M:%S}",
            f"{len(receipt.customers):,}",
            f"{objects:,}",
            f"{sum(receipt.rows.values()):,}",
        )
    console.print(table if found else "no receipts")
    waiting, left = erasures.pending(where, tenant), erasures.left_over(where, tenant)
    if waiting or left:
        console.print(
            f"{len(waiting)} asked by an event, {len(left)} not finished: erase --pending"
        )


def _stage(name: str | None, tenant: str) -> Stage:
    stage = open_stage(name)
    require_tenant(stage, tenant)
    return stage


@contextmanager
def _progress(verb: str) -> Iterator[Callable[[str, int, int], None]]:
    """One line on stderr: which folder, of how many."""
    with errors.status(verb) as status:
        yield lambda what, number, count: status.update(
            f"{verb} {escape(what)}, {number + 1} of {count}"
        )
