"""Compares what a guest is with what it should be; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aihub import words
from aihub.plan import Change, Difference, Undeclared

from .parts.leaving import is_used, ours_alone
from .parts.manifest import UNFINISHED

STACK = "stack/"
TEXTS = "texts"  # in the details of a change: what it says of each part
_SHOWN = 30  # differences named in a summary; the rest is counted
_PARTS = 8  # of what a role or an instance is made from, named in one of them
_LISTED = 50  # entries of a list that a guest has too many, shown one by one
_QUIET = ("roles/", "unit ", "logs ", "volume ", "allowed-hosts")
"""How parts of a stack begin that its containers run on without."""
_WAYS = {
    "container": "docker rm --force --volumes",
    "network": "docker network rm",
    "volume": "docker volume rm",
    "table": "nft delete table",
    "unit": "systemctl disable --now",
}
"""What a person does with what is not ours."""


@dataclass(frozen=True)
class Wanted:
    """What a guest is to be made of: by role and instance the hash, the parts by which it is told, who waits."""

    desired: Mapping[str, str]
    made_from: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    left: Collection[str] = ()  # instances that are left as they are, there or not
    restarting: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By role, the parts that restart every stack of the guest when they change."""


@dataclass(frozen=True)
class Found:
    """What a guest says of itself: what it was left with, what became of that, and what else is there."""

    manifest: Mapping[str, Any]
    states: Mapping[str, Any]
    stacks: Mapping[str, Collection[str]] = field(default_factory=dict)
    others: Collection[tuple[str, str]] = ()

    @property
    def done(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.manifest.get("desired", {})
        return found

    @property
    def entries(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.manifest.get("entries", {})
        return found

    @property
    def containers(self) -> bool:
        """Whether there are containers that are no stack's."""
        return any(kind == "container" for kind, _ in self.others)


def configuration_changes(
    guest: str, wanted: Wanted, found: Found, differences: tuple[Difference, ...] = ()
) -> list[Change]:
    """At most one change: which roles and instances of a guest differ, and how.

    `differences` are shown one by one with it.
    """
    going = leaving(wanted, found)
    stops = {key for key in going if key.startswith(STACK)}
    if not found.done:
        every = [key for key in wanted.desired if key not in wanted.left]
        first = "its manifest is missing: all roles, what is right goes on" if found.stacks else "not configured yet"
        text = "; ".join([first, *going.values()])
        return [_change(guest, text, [*every, *going], differences, restarting=_names(guest, stops))]
    texts: dict[str, list[str]] = {}
    for key, hashed in wanted.desired.items():
        if key in wanted.left:
            continue
        if key not in found.done:
            texts[key] = [f"{key} is new"]
        elif found.done[key] == UNFINISHED:
            texts[key] = [f"{key} was left unfinished"]
            stops |= _stopped(key, {}, wanted)
        elif found.done[key] != hashed:
            parts = _changed(found.manifest.get("made_from", {}).get(key, {}), wanted.made_from.get(key, {}))
            texts[key] = [f"{key} is to be made anew: {_named(parts)}"]
            stops |= _stopped(key, parts, wanted)
        before, now = found.entries.get(key, {}), found.states.get(key, {})
        if drift := list(_differences(before, now)):
            texts.setdefault(key, []).extend(drift)
            stops |= _stopped(key, _drifted(before, now), wanted) if key in wanted.restarting else set()
            stops |= {key} if _made_anew(before, now) else set()
    texts |= {key: [text] for key, text in going.items()}
    if not texts:
        return []
    made = _change(guest, summary(texts), list(texts), differences, restarting=_names(guest, stops))
    return [replace(made, details={TEXTS: texts})]


def _names(guest: str, stacks: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(f"{key.removeprefix(STACK)}@{guest}" for key in stacks))


def leaving(wanted: Wanted, found: Found) -> dict[str, str]:
    """The roles and stacks that are there and that nobody needs any more, each with what becomes of it."""
    texts: dict[str, str] = {}
    stacks = {key for key in found.done if key.startswith(STACK)} | {STACK + name for name in found.stacks}
    for key in sorted(stacks - wanted.desired.keys() - {*wanted.left}):
        seen = ", ".join(map(words.line, sorted(found.stacks.get(key.removeprefix(STACK), ()))[:_PARTS]))
        texts[key] = f"{key} is no longer declared: it stops, its data stays" + (f" ({seen})" if seen else "")
    for key in found.done:
        entry = found.entries.get(key, {})
        if key in stacks or key in wanted.desired or is_used(entry, found.containers):
            continue
        units = ", ".join(map(words.name, entry.get("units", ())))
        stays = "" if ours_alone(entry) else f": {units} stop, its files go, its packages and what they keep stay"
        texts[key] = f"{key} is no longer needed" + (stays or ": it goes")
    return texts


def undeclared(guest: str, wanted: Wanted, found: Found) -> Iterator[Undeclared]:
    """Everything on a guest that hub.yml does not name: what `up` takes away, and what it leaves alone."""
    for text in leaving(wanted, found).values():
        yield Undeclared(guest, text, ours=True, way="aihub up")
    for key in found.done:
        entry = found.entries.get(key, {})
        if key not in wanted.desired and not key.startswith(STACK) and is_used(entry, found.containers):
            yield Undeclared(guest, f"{key} is needed by no instance, and stays for the containers that are not ours")
    for kind, name in found.others:
        shown = " ".join(map(words.name, name.split(" ")))
        what, way = f"{kind} {shown} is not ours and is left alone", f"{_WAYS[kind]} {shown}" if kind in _WAYS else ""
        yield Undeclared(guest, what, rests=kind == "volume", way=way)


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The parts that differ, each as it is told; nothing where nobody knows what it was made from."""
    texts: dict[str, str] = {}
    for part in sorted({*before, *now}) if before else ():
        old, new = before.get(part), now.get(part)
        if old != new:
            told = f"{old or 'none'} -> {new or 'none'}" if part.startswith("image ") else ""
            texts[part] = f"{part} {told or ('is new' if old is None else 'goes' if new is None else 'changed')}"
    return texts


def _named(parts: Mapping[str, str]) -> str:
    if not parts:
        return "its definition changed"
    texts = [words.line(text) for text in parts.values()]
    return ", ".join(texts[:_PARTS]) + (f" and {len(texts) - _PARTS} more" if len(texts) > _PARTS else "")


def _drifted(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The files that are no longer as they were left; as `parts`, where nothing else matters."""
    paths = [path for path, state in before.get("files", {}).items() if now["files"][path] != state]
    return dict.fromkeys(paths or ["/"], "")


def _made_anew(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a container of a stack runs otherwise than it was left, so that it is made anew."""
    return any(
        state["state"] == "running"
        and name in kept
        and any(state[k] != kept[name][k] for k in ("image", "configuration"))
        for stack, kept in before.get("stacks", {}).items()
        for name, state in now["stacks"][stack].items()
    )


def _stopped(key: str, parts: Mapping[str, str], wanted: Wanted) -> set[str]:
    """The stacks that restart when these parts of a role or a stack change; of an unknown change it is assumed."""
    if key.startswith(STACK):
        return set() if parts and all(part.startswith(_QUIET) for part in parts) else {key}
    every = {one for one in wanted.desired if one.startswith(STACK) and one not in wanted.left}
    touchy = wanted.restarting.get(key)
    return every if touchy is not None and (not parts or touchy & parts.keys()) else set()


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
        Change(instance, "deliver", "secrets", "guest", summary({instance: texts})) for instance, texts in found.items()
    ]


def list_differences(what: str, there: Collection[str], wanted: Collection[str]) -> tuple[Difference, ...]:
    """What a list has to gain and to lose, entry by entry."""
    gone = [Difference(what, words.name(one), None) for one in sorted(set(there) - set(wanted))]
    shown = gone[:_LISTED]
    if len(gone) > _LISTED:
        shown.append(Difference(what, f"and {len(gone) - _LISTED} more", None))
    return (*(Difference(what, None, one) for one in sorted(set(wanted) - set(there))), *shown)


def _change(
    guest: str,
    text: str,
    roles: list[str],
    differences: tuple[Difference, ...],
    *,
    restarting: tuple[str, ...] = (),
) -> Change:
    stops = bool(restarting)
    return Change(
        guest,
        "configure",
        "insides",
        "guest",
        text,
        differences,
        restart=stops,
        parts=tuple(roles),
        restarting=restarting,
    )


def summary(found: Mapping[str, list[str]]) -> str:
    """What differs, in a few words for each part."""
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
    for name, state in before.get("holds", {}).items():
        if now.get("holds", {}).get(name) != state:
            yield f"package {name} is {'no longer' if state else 'now'} held"
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
            # Whatever was recorded: what a stack has runs, and is well where it says so.
            well = {"state": "running", "health": "healthy" if before[name]["health"] != "none" else "none"}
            for key, right in well.items():
                if now[name][key] != right:
                    yield f"{label} is {now[name][key]}, not {right}"
