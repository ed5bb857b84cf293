"""`aihub validate`: the hub file and its stacks, without contacting anything."""

from __future__ import annotations

from aihub import report
from aihub.reading import load

from ..errors import InvalidInput
from ..options import Options


def run(options: Options) -> int:
    """Prints every problem with its place; 2 when there is one."""
    found = load.validate(options.hub, target=options.target)
    if options.as_json:
        report.as_json(
            {
                "valid": not found.problems,
                "problems": [
                    {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
                    for p in found.problems
                ],
                "warnings": list(found.hub.warnings) if found.hub else [],
            }
        )
        return 2 if found.problems else 0
    if found.hub is None:
        raise InvalidInput(list(found.problems), hint=f"correct {options.hub}, then run the same command again")
    report.valid(found.hub)
    return 0
