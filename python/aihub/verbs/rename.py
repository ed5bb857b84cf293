"""`aihub rename`: calls a guest otherwise, in hub.yml; its data keeps its id."""

from __future__ import annotations

from aihub import report
from aihub.reading import edit

from ..errors import DONE
from ..options import Options


def run(options: Options) -> int:
    """Edits the hub file; nothing is contacted."""
    old, new = options.only
    edit.rename(options.hub, old, new, target=options.target)
    report.say(f"{options.hub}: guest {old} is called {new}; VMID, data and secrets stay. Next: aihub plan")
    return DONE
