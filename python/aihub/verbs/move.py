"""`aihub move`: puts an instance on another guest, in hub.yml; its data keeps its id."""

from __future__ import annotations

from aihub import report
from aihub.reading import edit

from ..errors import DONE
from ..options import Options


def run(options: Options) -> int:
    """Edits the hub file; nothing is contacted."""
    instance, guest = options.only
    edit.move(options.hub, instance, guest, target=options.target)
    report.say(
        f"{options.hub}: {instance} stands on {guest}; its secrets and what it has at providers go with it, and what "
        f"it keeps itself with `aihub up --allow-move {instance.partition('@')[0]}@{guest} --with-data`. "
        "Next: aihub plan"
    )
    return DONE
