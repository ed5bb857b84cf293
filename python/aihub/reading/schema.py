"""Makes the JSON Schemas that editors complete hub.yml and stack.yml with; CI checks that they are current.

Run `python -m aihub.reading.schema` after a change of the models, with `--check` to only look.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from aihub import paths
from aihub.model.hub import HubFile
from aihub.model.stack import Stack

HUB = "hub.schema.json"
STACK = "stack.schema.json"


def texts() -> dict[str, str]:
    """Each schema file's name and text."""
    return {HUB: _text(_hub()), STACK: _text(_stack())}


def stale(directory: Path = paths.DEFAULT_HUB.parent) -> list[str]:
    """The schema files that do not say what the models say."""
    found = []
    for name, wanted in texts().items():
        path = directory / name
        if not path.is_file() or path.read_text() != wanted:
            found.append(name)
    return found


def write(directory: Path = paths.DEFAULT_HUB.parent) -> list[str]:
    """Writes the schema files that are not current; returns their names."""
    names = stale(directory)
    wanted = texts()
    for name in names:
        (directory / name).write_text(wanted[name])
    return names


def _hub() -> dict[str, Any]:
    return {"title": "hub.yml", **_plain(HubFile.model_json_schema())}


def _stack() -> dict[str, Any]:
    found = _plain(Stack.model_json_schema())
    del found["properties"]["name"]
    found["required"].remove("name")
    return {"title": "stack.yml", **found}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes out of the keys: they say nothing more in an editor."""

    def strip(part: Any, *, names: bool) -> Any:
        if isinstance(part, list):
            return [strip(item, names=False) for item in part]
        if not isinstance(part, dict):
            return part
        if "patternProperties" in part:
            # Without this a name that fits no pattern would be free to hold anything.
            part = {**part, "additionalProperties": False}
        return {
            key: strip(value, names=key in ("properties", "$defs") and not names)
            for key, value in part.items()
            if names or key != "title"
        }

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **strip(schema, names=False)}


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Writes or checks; the exit code is 1 when `--check` finds a file that is not current."""
    check = "--check" in arguments
    names = stale() if check else write()
    for name in names:
        sys.stdout.write(f"{name} {'is not current: run python -m aihub.reading.schema' if check else 'written'}\n")
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
