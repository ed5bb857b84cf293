"""HA rules: which nodes resources prefer, and which of them belong together or apart."""

from __future__ import annotations

import re
from typing import Any

from ..errors import VERIFICATION, ApiError, failure
from ..registry import Call, route
from ..schema import UNKNOWN, check, check_object
from ..sections import section
from ..words import split_list
from .ha_resources import digest, resources

BASE = "/cluster/ha/rules"
COMMON: dict[str, dict[str, Any]] = {
    "resources": {"type": "string", "format": "pve-ha-resource-id-list"},
    "comment": {"type": "string", "maxLength": 4096, "optional": 1},
    "disable": {"type": "boolean", "optional": 1},
}
FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "node-affinity": {
        **COMMON,
        "nodes": {"type": "string", "format": "pve-ha-node-list"},
        "strict": {"type": "boolean", "optional": 1},
    },
    "resource-affinity": {**COMMON, "affinity": {"type": "string", "enum": ["positive", "negative"]}},
}
FIRST: dict[str, dict[str, Any]] = {
    "rule": {"type": "string", "format": "pve-configid"},
    "type": {"type": "string", "enum": list(FIELDS)},
}
CHANGE: dict[str, dict[str, Any]] = {
    "delete": {"type": "string", "format": "pve-configid-list", "maxLength": 4096, "optional": 1},
    "digest": {"type": "string", "maxLength": 64, "optional": 1},
}
OPTIONS = {
    "node-affinity": section("resources nodes", "strict comment disable"),
    "resource-affinity": section("resources affinity", "comment disable"),
}
NUMBERS = ("strict", "disable")
Rule = dict[str, Any]


def _rules(call: Call) -> dict[str, Rule]:
    return call.pve.table("ha_rules")


def _validate(call: Call, known: dict[str, dict[str, Any]], optional: bool) -> None:
    """Checks parameters whose schema hangs on the rule's type, in PVE's order and words."""
    errors: dict[str, str] = {}
    for name, schema in known.items():
        check(call.params.get(name), schema, name, errors)
    kind = call.params.get("type")
    fields = FIELDS.get(str(kind), {})
    if fields:
        mine = {k: v for k, v in call.params.items() if k in fields}
        schemas = {k: {**v, "optional": 1} if optional else v for k, v in fields.items()}
        check_object(f"oneOf[{kind}]", schemas, mine, False, errors)
    if fields or kind is None:
        errors |= {name: UNKNOWN for name in call.params if name not in {**known, **fields}}
    if errors:
        raise ApiError(400, VERIFICATION, errors)


def _shown(call: Call, name: str) -> Rule:
    table = _rules(call)
    if name not in table:
        raise failure(f"no such ha rule '{name}'")
    found = {**table[name], "rule": name, "digest": digest(table)}
    errors = _problems(call, table).get(name)
    return {**found, "errors": {"resources": errors}} if errors else found


@route("GET", BASE)
def listing(call: Call) -> list[Rule]:
    """All rules, or those of a type or about a resource."""
    order = sorted(_rules(call), key=lambda name: _rules(call)[name]["order"])
    shown = [_shown(call, name) for name in order]
    kind, wanted = call.get("type"), call.get("resource")
    return [
        rule
        for rule in shown
        if kind in (None, rule["type"]) and (not wanted or wanted in split_list(rule["resources"]))
    ]


@route("GET", BASE + "/{rule}")
def get(call: Call) -> Rule:
    """One rule."""
    return _shown(call, str(call["rule"]))


def _check_resources(call: Call, text: str) -> None:
    unknown = sorted({sid for sid in split_list(text) if sid not in resources(call)})
    if not split_list(text):
        raise failure("no resources were specified")
    if unknown:
        raise failure(f"cannot use unmanaged resource(s) {', '.join(unknown)}.")


def _check_nodes(call: Call, text: str) -> None:
    names = sorted({re.sub(r":\d+$", "", node) for node in split_list(text)})
    unknown = [name for name in names if name != call.pve.node.name]
    if not names:
        raise failure("no nodes were specified")
    if unknown:
        raise failure(f"cannot use non-existent node(s) {', '.join(unknown)}.")


def _members(rule: Rule) -> set[str]:
    return set(split_list(rule["resources"]))


def _problems(call: Call, table: dict[str, Rule]) -> dict[str, list[str]]:
    """What makes rules infeasible, by rule."""
    active = {name: rule for name, rule in table.items() if not rule.get("disable")}
    found: dict[str, list[str]] = {}
    for name, rule in active.items():
        texts = _node_problems(name, rule, active) if rule["type"] == "node-affinity" else _affinity(rule, active)
        if texts:
            found[name] = texts
    return found


def _node_problems(name: str, rule: Rule, active: dict[str, Rule]) -> list[str]:
    others = [r for n, r in active.items() if n != name and r["type"] == "node-affinity"]
    taken = sorted(_members(rule) & {sid for other in others for sid in _members(other)})
    return [f"resource '{sid}' is already used in another node affinity rule" for sid in taken]


def _affinity(rule: Rule, active: dict[str, Rule]) -> list[str]:
    mine, positive = _members(rule), rule["affinity"] == "positive"
    if len(mine) < 2:
        return ["rule is ineffective as there are less than two resources"]
    found = [] if positive else ["rule defines more resources than available nodes"]
    opposite = "negative" if positive else "positive"
    rivals = (r for r in active.values() if r["type"] == "resource-affinity" and r["affinity"] == opposite)
    if any(len(mine & _members(rival)) > 1 for rival in rivals):
        found.append(f"rule shares two or more resources with a {opposite} resource affinity rule")
    return found


def _keep(call: Call, name: str, rule: Rule) -> None:
    table = {**_rules(call), name: rule}
    texts = _problems(call, table).get(name)
    if texts:
        raise ApiError(400, f"Rule '{name}' is invalid.\n", {"resources": ", ".join(texts)})
    _rules(call)[name] = rule
    call.pve.cluster.save()


def _values(params: dict[str, Any]) -> Rule:
    found: Rule = {k: int(v) if k in NUMBERS else v for k, v in params.items() if (k, str(v)) != ("disable", "0")}
    if "resources" in found:
        found["resources"] = ",".join(sorted(split_list(found["resources"])))
    return found


@route("POST", BASE)
def create(call: Call) -> None:
    """Makes a rule."""
    _validate(call, FIRST, optional=False)
    name = str(call["rule"])
    new = _values({k: v for k, v in call.params.items() if k != "rule"})
    with call.pve.cluster.lock:
        try:
            if name in _rules(call):
                raise failure(f"HA rule '{name}' already defined")
            _check_resources(call, new["resources"])
            if "nodes" in new:
                _check_nodes(call, new["nodes"])
            order = 1 + max((rule["order"] for rule in _rules(call).values()), default=0)
            _keep(call, name, {**new, "order": order})
        except ApiError as error:
            raise failure(f"create ha rule failed: {error.text}") from None


@route("PUT", BASE + "/{rule}")
def update(call: Call) -> None:
    """Changes a rule; its type must be named again."""
    _validate(call, {**FIRST, **CHANGE}, optional=True)
    with call.pve.cluster.lock:
        try:
            _change(call, str(call["rule"]))
        except ApiError as error:
            raise failure(f"update HA rules failed: {error.text}") from None


def _change(call: Call, name: str) -> None:
    if call.has("digest") and call["digest"] != digest(_rules(call)):
        raise failure("detected modified configuration - file changed by other user? Try again.")
    old = _rules(call).get(name)
    if old is None:
        raise failure(f"HA rule '{name}' does not exist")
    if call["type"] != old["type"]:
        raise failure("unexpected property 'type'")
    new = _values({k: v for k, v in call.params.items() if k not in ("rule", "type", *CHANGE)})
    if "resources" in new:
        _check_resources(call, new["resources"])
    if "nodes" in new:
        _check_nodes(call, new["nodes"])
    delete = split_list(str(call.get("delete", "")))
    OPTIONS[old["type"]].remove(delete, new)
    _keep(call, name, {**{k: v for k, v in old.items() if k not in delete}, **new})


@route("DELETE", BASE + "/{rule}")
def delete(call: Call) -> None:
    """Removes a rule; one that is not there is fine."""
    with call.pve.cluster.lock:
        if _rules(call).pop(str(call["rule"]), None) is not None:
            call.pve.cluster.save()
