"""aihub's own way, guests alone: load the hub, look into every guest, compare. Prints what would change."""

from __future__ import annotations

import json
import os
from pathlib import Path


def main() -> None:
    """Load, probe, plan."""
    from aihub.guests import probe
    from aihub.reading import load
    from aihub.state.directory import State

    hub = load.load(Path(os.environ["AIHUB_HUB"]), target="lab")
    state = State(Path(os.environ["AIHUB_STATE_DIR"]))
    changes, unknown = probe.plan(hub, state, probe.read(hub, state))
    print(json.dumps({"changes": [c.summary for c in changes], "unknown": list(unknown)}))


if __name__ == "__main__":
    main()
