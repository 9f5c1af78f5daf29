"""The account of a sync as sentences: what was read, what became of it, what did not and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ROWS = {
    "interactions": "interactions",
    "decisions": "decisions",
    "rewards": "rewards",
    "products": "product changes",
    "customers": "customer changes",
    "erasures": "erasure requests",
}
Line = tuple[str, str]


def lines_of(account: Mapping[str, Any]) -> Iterator[Line]:
    """Pairs of a word and what is said of it."""
    yield "new", _new(account["events"])
    yield from (("unreadable", f"{key}: {why}") for key, why in account["unreadable"].items())
    yield from _of_set_aside(account)
    yield from _of_erasures(account["erasures"])
    yield from _of_interactions(account["interactions"])
    yield from _of_slots(account["slots"])
    yield from _of_nudges(account["nudges"])
    yield from drift_lines(account["drift"], float(account["rules"]["drift_threshold"]))


def _new(events: Mapping[str, Mapping[str, int]]) -> str:
    told = []
    for table, word in _ROWS.items():
        counts = events[table]
        again = counts["read"] - counts["new"]
        if counts["read"]:
            told.append(f"{counts['new']:,} {word}" + (f" ({again:,} known)" if again else ""))
    return ", ".join(told) or "nothing"


def _of_set_aside(account: Mapping[str, Any]) -> Iterator[Line]:
    """Rows that no table can hold; of interactions a data set tells with its own."""
    for why, count in account["set_aside"].items():
        if not (account["interactions"]["made"] and why.startswith("interactions: ")):
            yield "set aside", f"{count:,} {why}"


def _of_erasures(erasures: Mapping[str, int]) -> Iterator[Line]:
    if erasures["rows_left_out"]:
        yield "left out", f"{erasures['rows_left_out']:,} rows of customers who were erased"
    if erasures["pending"]:
        who = "customer asks" if erasures["pending"] == 1 else "customers ask"
        yield (
            "pending",
            f"{erasures['pending']:,} {who} to be erased: nextbest customers erase --pending",
        )


def _of_interactions(found: Mapping[str, Any]) -> Iterator[Line]:
    if not found["made"]:
        yield "interactions", f"no new data set: {found['why']}"
        return
    archived = found["rows"] - found["imported"]
    yield (
        "interactions",
        f"{found['rows']:,}: {found['imported']:,} imported, {archived:,} archived",
    )
    yield from (("set aside", f"{n:,} interactions: {why}") for why, n in found["rejected"].items())
    for name in ("products", "customers"):
        changes = found[f"{name}_changed"]
        if changes["events"]:
            yield name, f"{changes['changed']:,} changed, {changes['new']:,} new"
        for why, count in changes["set_aside"].items():
            yield "set aside", f"{count:,} changes of {name}: {why}"


def _of_slots(slots: Mapping[str, int]) -> Iterator[Line]:
    if not any(slots.values()):
        return
    more = f", {slots['waiting']:,} wait" if slots["waiting"] else ""
    nobody = slots["without_customer"]
    more += f", {nobody:,} of decisions without a customer" if nobody else ""
    yield (
        "slots",
        f"{slots['slots']:,}: {slots['clicked']:,} clicked, {slots['purchased']:,} bought{more}",
    )


def _of_nudges(found: Mapping[str, Any]) -> Iterator[Line]:
    joined = found["joined"]
    if found["made"]:
        yield "nudges", f"{found['rows']:,}: {found['imported']:,} imported, {_joined(joined)}"
    elif joined["decisions"]:
        yield "nudges", f"no new data set: {found['why']}; {_joined(joined)}"
    for why, count in found.get("rejected", {}).items():
        yield "set aside", f"{count:,} nudges: {why}"
    for name, count in joined.items():
        if name.startswith("unjoined: ") and count:
            yield "not joined", f"{count:,} rewards: {name.removeprefix('unjoined: ')}"


def _joined(joined: Mapping[str, int]) -> str:
    return (
        f"{joined['nudges']:,} archived ({joined['rewarded']:,} rewarded, "
        f"{joined['defaulted']:,} by default), {joined['waiting']:,} wait"
    )


def drift_lines(drift: Mapping[str, Any], threshold: float) -> Iterator[Line]:
    """What is new beside what was there before."""
    shares = {
        "of a day's volume before": drift["volume_ratio"],
        "of unknown products": drift["unknown_products"],
        "of unknown customers": drift["unknown_customers"],
    }
    told = [f"{value:.0%} {what}" for what, value in shares.items() if value is not None]
    if told:
        yield "what is new", ", ".join(told)
    if not drift["shifts"]:
        yield "drift", "too little to say"
        return
    name = max(drift["shifts"], key=lambda column: drift["shifts"][column]["drift"])
    verdict = "above" if drift["largest"] > threshold else "within"
    yield (
        "drift",
        f"{drift['largest']:.3f}, most in {name}, of {len(drift['shifts'])} compared: {verdict} "
        f"the threshold of {threshold:g}",
    )
