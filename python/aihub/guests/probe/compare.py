"""Compares what a guest is with what it should be; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from aihub import words
from aihub.plan import Change, Difference

from .on_guest import UNFINISHED, ours_alone

_SHOWN = 4  # differences named in a summary; the rest is counted
_LISTED = 50  # entries of a list that a guest has too many, shown one by one


def configuration_changes(
    guest: str,
    desired: Mapping[str, str],
    manifest: Mapping[str, Any],
    states: Mapping[str, Any],
    left: Collection[str] = (),
    differences: tuple[Difference, ...] = (),
) -> list[Change]:
    """At most one change: which roles and instances of a guest differ, and how; `left` are left as they are.

    `differences` are shown one by one with it.
    """
    done: Mapping[str, str] = manifest.get("desired", {})
    entries: Mapping[str, Any] = manifest.get("entries", {})
    if not done:
        return [_change(guest, "not configured yet", [key for key in desired if key not in left], differences)]
    found: dict[str, list[str]] = {}
    for key, wanted in desired.items():
        if key in left:
            continue
        if key not in done:
            found[key] = [f"{key} is new"]
        elif done[key] == UNFINISHED:
            found[key] = [f"{key} was left unfinished"]
        elif done[key] != wanted:
            found[key] = [f"{key} is to be made anew: its definition changed"]
        if drift := list(_differences(entries.get(key, {}), states.get(key, {}))):
            found.setdefault(key, []).extend(drift)
    for key in done:
        if key.startswith("stack/") and key not in desired:
            found[key] = [f"{key} is no longer declared: it stops, its data stays"]
        elif key not in desired and ours_alone(key, entries.get(key, {})):
            found[key] = [f"{key} is no longer needed: it goes"]
    replaced = any(key.startswith("stack/") and key in done and done[key] != desired.get(key) for key in found)
    return [_change(guest, _summary(found), list(found), differences, restart=replaced)] if found else []


def secret_changes(wanted: Mapping[str, tuple[str, int]], actual: Mapping[str, Any]) -> list[Change]:
    """One change for each instance with secret files that are missing or readable by the wrong user."""
    found: dict[str, list[str]] = {}
    for path, (instance, uid) in wanted.items():
        state = actual.get(path)
        if state is None:
            found.setdefault(instance, []).append(f"{path} is missing")
        elif state != {"mode": "0400", "owner": f"{uid}:{uid}"}:
            found.setdefault(instance, []).append(f"{path} has mode {state['mode']} and owner {state['owner']}")
    return [
        Change(instance, "deliver", "secrets", "guest", _summary({instance: texts}))
        for instance, texts in found.items()
    ]


def list_differences(what: str, there: Collection[str], wanted: Collection[str]) -> tuple[Difference, ...]:
    """What a list has to gain and to lose, entry by entry."""
    gone = [Difference(what, words.name(one), None) for one in sorted(set(there) - set(wanted))]
    shown = gone[:_LISTED]
    if len(gone) > _LISTED:
        shown.append(Difference(what, f"and {len(gone) - _LISTED} more", None))
    return (*(Difference(what, None, one) for one in sorted(set(wanted) - set(there))), *shown)


def _change(
    guest: str, summary: str, roles: list[str], differences: tuple[Difference, ...], *, restart: bool = False
) -> Change:
    return Change(guest, "configure", "insides", "guest", summary, differences, restart=restart, parts=tuple(roles))


def _summary(found: Mapping[str, list[str]]) -> str:
    texts = [text for texts in found.values() for text in texts]
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for path, state in before.get("files", {}).items():
        yield from _file(words.name(path), state, now["files"][path])
    for name, state in before.get("units", {}).items():
        # Whatever was recorded: a managed unit runs.
        yield from _unit(name, {**state, "active": "active"}, now["units"][name])
    for name, state in before.get("boot_units", {}).items():
        yield from _unit(name, state, now["boot_units"][name])
    for name, state in before.get("tables", {}).items():
        if now["tables"][name] != state:
            yield f"nft table {name} {'is missing' if now['tables'][name] is None else 'has other rules'}"
    for name, services in before.get("stacks", {}).items():
        yield from _stack(name, services, now["stacks"][name])


def _file(path: str, before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> Iterator[str]:
    if before == now:
        return
    if before is None or now is None:
        yield f"file {path} {'is missing' if now is None else 'is there again'}"
        return
    if before["content"] != now["content"]:
        yield f"file {path} changed"
    for key in ("mode", "owner"):
        if before[key] != now[key]:
            yield f"file {path}: {key} is {now[key]}, not {before[key]}"


def _unit(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    if before.get("active") != now.get("active"):
        yield f"unit {name} is {now['active']}, not {before['active']}"
    if before["boot"] != now["boot"]:
        yield f"unit {name} is {now['boot']} at boot, not {before['boot']}"


def _stack(stack: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        label = f"container {words.name(stack)}-{words.name(name)}"
        if name not in now:
            yield f"{label} is missing"
        elif name not in before:
            yield f"{label} is not declared"
        else:
            for key, how in (
                ("image", "has another image"),
                ("configuration", "has another configuration"),
            ):
                if before[name][key] != now[name][key]:
                    yield f"{label} {how}"
            for key in ("state", "health"):
                if before[name][key] != now[name][key]:
                    yield f"{label} is {now[name][key]}, not {before[name][key]}"
