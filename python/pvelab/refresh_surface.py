"""Makes surface.json anew from the API schema of a Proxmox VE node: python3 refresh_surface.py apidoc.js

The schema is /usr/share/pve-docs/api-viewer/apidoc.js of a node. Facts alone are taken over: names, types, limits,
patterns, enumerated values, permissions. The schema says neither how far numbered parameters go (net[n]) nor what
named formats consist of: both stay as the file has them, and what is new among them is listed for a person to fill in.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SURFACE = Path(__file__).parent / "src" / "pvelab" / "api" / "surface.json"
FACTS = ("type", "optional", "format", "enum", "maxLength", "minLength", "pattern", "minimum", "maximum", "requires",
         "items", "type-property", "instance-types", "oneOf", "default_key", "alias", "keyAlias")  # fmt: skip
NUMBERED = re.compile(r"(\w+)\[n\]")
METHODS = ("GET", "POST", "PUT", "DELETE")
Json = dict[str, Any]


def read(text: str) -> list[Json]:
    """The tree of paths in apidoc.js: the first array of a script. Raises ValueError where there is none."""
    start = text.find("[")
    if start < 0:
        raise ValueError("this is no apidoc.js: it has no array")
    found, _ = json.JSONDecoder().raw_decode(text[start:])
    if not isinstance(found, list) or not all(isinstance(node, dict) for node in found):
        raise ValueError("this is no apidoc.js: its first array is no tree of paths")
    return found


def methods(nodes: list[Json]) -> Iterator[tuple[str, Json]]:
    """`METHOD /path` with what the schema says of it."""
    for node in nodes:
        for method, about in node.get("info", {}).items():
            if method in METHODS:
                yield f"{method} {node['path']}", about
        yield from methods(node.get("children", []))


def facts(schema: Any) -> Any:
    """A parameter's type without anything that is written for people."""
    if isinstance(schema, list):
        return [facts(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: Json = {}
    for key in FACTS:
        if key not in schema:
            continue
        value = schema[key]
        if key == "format" and isinstance(value, dict):
            found[key] = {name: facts(one) for name, one in value.items()}
        else:
            found[key] = facts(value) if key in ("items", "oneOf") else value
    return found


def surface(nodes: list[Json], known: Json) -> tuple[Json, list[str]]:
    """The content of surface.json, and the numbered parameters and named formats that `known` does not have."""
    types: list[Json] = []
    places: dict[str, int] = {}
    missing: list[str] = []
    ranges = {name.partition("[")[0]: name for about in known["methods"].values() for name in about["params"]
              if "[" in name}  # fmt: skip
    made: Json = {}
    for name, about in sorted(methods(nodes)):
        parameters = about.get("parameters", {})
        numbers = {}
        for parameter, schema in sorted(parameters.get("properties", {}).items()):
            numbered = NUMBERED.fullmatch(parameter)
            spelled = ranges.get(numbered[1], parameter) if numbered else parameter
            if numbered and spelled == parameter:
                missing.append(f"{name}: how far {parameter} goes")
            kept = facts(schema)
            text = json.dumps(kept, sort_keys=True)
            if text not in places:
                places[text] = len(types)
                types.append(kept)
            numbers[spelled] = places[text]
        entry: Json = {"params": numbers}
        permissions = {k: v for k, v in about.get("permissions", {}).items() if k != "description"}
        if permissions:
            entry["perm"] = permissions
        if about.get("proxyto") or about.get("proxyto_callback"):
            entry["proxyto"] = about.get("proxyto") or "check-node"
        if not about.get("allowtoken", 1):
            entry["token"] = 0
        if parameters.get("additionalProperties", 1):
            entry["open"] = 1
        made[name] = entry
    named = {t["format"] for t in types if isinstance(t.get("format"), str)}
    before = {t["format"] for t in known["types"] if isinstance(t.get("format"), str)}
    missing += [f"format {name}" for name in sorted(named - before)]
    return {"formats": known["formats"], "types": types, "methods": made}, missing


def main() -> int:
    """Writes the file, and says what a person has to fill in."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python3 refresh_surface.py apidoc.js\n")
        return 2
    found, missing = surface(read(Path(sys.argv[1]).read_text()), json.loads(SURFACE.read_text()))
    SURFACE.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n")
    sys.stdout.writelines(f"fill in by hand: {line}\n" for line in missing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
