"""Reads hub.yml and the manifests of its stacks; gives the resolved hub, or every mistake with its place.

Used by each verb. Nothing is contacted: files are read, nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aihub import paths
from aihub.errors import InvalidInput, Problem
from aihub.model import copying, delivery, derive, explain, rules, wiring
from aihub.model.findings import Finding, did_you_mean
from aihub.model.hub import HubFile
from aihub.model.resolved import Hub
from aihub.model.stack import Stack
from aihub.model.target import TARGETS, Word

from . import compose, document, operator_keys
from .document import Document


@dataclass(frozen=True)
class Validation:
    """What `aihub validate` says: everything wrong, else the hub."""

    problems: tuple[Problem, ...]
    hub: Hub | None


def validate(path: Path, stacks: Path = paths.STACKS, *, target: Word) -> Validation:
    """Loads without raising."""
    try:
        return Validation((), load(path, stacks, target=target))
    except InvalidInput as error:
        return Validation(tuple(error.problems), None)


def load(path: Path, stacks: Path = paths.STACKS, *, target: Word) -> Hub:
    """The resolved hub. Raises InvalidInput with every problem found."""
    facts = TARGETS[target]
    read = document.parse(path, name=_shown(path))
    file, findings, whole = _hub_file(read)
    if file is None:
        raise _invalid(read, findings, [])
    manifests, unknown, problems = _manifests(file, stacks)
    keys, key_findings, warnings = operator_keys.read(file.operator.ssh_keys, path.parent, facts)
    needed = any(stack.needs_store for stack in manifests.values())
    recipients, kit_findings, kit_warnings = operator_keys.recovery(
        file.operator.recovery, path.parent, facts, needed=needed
    )
    findings += unknown + key_findings + kit_findings + rules.check(file, manifests, _declared(read.data), facts)
    guests = {name: derive.guest(file, name, spec) for name, spec in file.guests.items()}
    found = {name: guest for name, guest in guests.items() if guest is not None}
    instances, where = wiring.placed(file, found, manifests)
    copiers = {one.name: one for one in copying.copiers(found.values(), instances)}
    if whole and not problems and not unknown and len(found) == len(file.guests):
        where = {**where, **{name: ("guests", one.guest.name) for name, one in copiers.items()}}
        instances, unserved = wiring.wire([*instances, *copiers.values()], where, partial(givers, stacks=stacks))
        findings += unserved or rules.check_wired(instances, where)
    if findings or problems or read.problems:
        raise _invalid(read, findings, problems)
    logins = derive.consumers(instances)
    secrets = delivery.secrets(instances, logins)
    served = [instance for instance in instances if instance.name not in copiers]
    return Hub(
        file=file,
        path=str(path),
        stacks=manifests,
        id=derive.hub_id(file),
        guests=found,
        instances=tuple(served),
        copiers={one.guest.name: one for one in instances if one.name in copiers},
        flows=derive.flows(file, instances),
        lan=derive.lan(file),
        consumers=logins,
        secrets=secrets,
        handed=delivery.handed(instances, logins, secrets),
        target=facts,
        warnings=(*warnings, *kit_warnings, *rules.warnings(file, served, facts)),
        operator_keys=keys,
        operator_recovery=recipients,
        pairs=delivery.pairs(instances, logins, secrets),
        certificates=delivery.certificates(instances, logins),
    )


def stack(name: str, stacks: Path = paths.STACKS) -> Stack:
    """One stack's manifest. Raises InvalidInput with every problem found."""
    path = stacks / name / "stack.yml"
    if not path.resolve().is_relative_to(stacks.resolve()):
        raise InvalidInput([Problem(_shown(path), 0, 0, "", f"leads out of {_shown(stacks)}")])
    read = document.parse(path, name=_shown(path))
    if not isinstance(read.data, dict):
        raise _invalid(read, [Finding((), "a stack.yml is a mapping (key: value)")], [])
    if "name" in read.data:
        message = "the folder's name is the stack's name: remove the key"
        raise _invalid(read, [Finding(("name",), message, at_key=True)], [])
    try:
        found = Stack.model_validate({"name": name, **read.data})
    except ValidationError as error:
        raise _invalid(read, explain.findings(error, Stack), []) from error
    findings = rules.check_stack(found)
    around = compose.problems(found, path.parent, _shown(path.parent))
    if findings or around or read.problems:
        raise _invalid(read, findings, around)
    return found


def stack_names(stacks: Path = paths.STACKS) -> list[str]:
    """Every stack that there is."""
    return sorted(path.parent.name for path in stacks.glob("*/stack.yml"))


def givers(kind: str, stacks: Path = paths.STACKS) -> list[str]:
    """The stacks that give something of a kind; one whose manifest is wrong gives nothing."""
    found = []
    for name in stack_names(stacks):
        with suppress(InvalidInput):
            if kind in stack(name, stacks).gives:
                found.append(name)
    return found


def _hub_file(read: Document) -> tuple[HubFile | None, list[Finding], bool]:
    """The file, or as much of it as is right, so that the rules between objects still see the rest."""
    if not isinstance(read.data, dict):
        return None, [Finding((), "a hub.yml is a mapping (key: value)")], False
    try:
        return HubFile.model_validate(read.data), [], True
    except ValidationError as error:
        findings = explain.findings(error, HubFile)
        places = [tuple(item["loc"]) for item in error.errors(include_url=False, include_input=False)]
    try:
        return HubFile.model_validate(_without(read.data, places)), findings, False
    except ValidationError:
        return None, findings, False


def _without(data: dict[str, Any], places: list[tuple[int | str, ...]]) -> dict[str, Any]:
    """The data less every entry that has a mistake in it, and less every key that is one."""
    kept = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for key, *rest in (place for place in places if place):
        section = kept.get(str(key))
        if rest and key in ("nodes", "zones", "guests", "models") and isinstance(section, dict):
            section.pop(str(rest[0]), None)
        elif key not in ("hub", "nodes", "zones"):
            kept.pop(str(key), None)
    return kept


def _declared(data: dict[str, Any]) -> dict[str, set[str]]:
    """The names that each section has, right or wrong."""
    return {key: set(value) for key, value in data.items() if isinstance(value, dict)}


def _manifests(file: HubFile, stacks: Path) -> tuple[dict[str, Stack], list[Finding], list[Problem]]:
    """The manifests of the stacks that the hub uses, unknown stacks, and what is wrong inside manifests."""
    known = stack_names(stacks)
    found: dict[str, Stack] = {}
    unknown: list[Finding] = []
    problems: list[Problem] = []
    tried: set[str] = set()
    for guest, spec in file.guests.items():
        for index, placement in enumerate(spec.stacks):
            name = placement.name
            if name not in known:
                text = f'unknown stack "{name}"{did_you_mean(name, known)}'
                unknown.append(Finding(("guests", guest, "stacks", index), text))
            elif name not in tried:
                tried.add(name)
                try:
                    found[name] = stack(name, stacks)
                except InvalidInput as error:
                    problems += error.problems
    return found, unknown, problems


def _shown(path: Path) -> str:
    """A path as a person would write it: below the current directory without it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _invalid(read: Document, findings: list[Finding], problems: list[Problem]) -> InvalidInput:
    """Everything wrong, in the file's order; what its YAML is to blame for is told once."""
    places = {(p.line, p.column) for p in read.problems}
    own = {read.problem(f.place, f.message, at_key=f.at_key) for f in findings}
    own = {p for p in own if (p.line, p.column) not in places}
    return InvalidInput([*sorted([*read.problems, *own]), *sorted(problems)])
