"""Brings secrets to guests: files in memory under /run/hub/STACK, over the stdin of one ssh."""

from __future__ import annotations

from typing import Any

from .model.resolved import Hub, Instance
from .paths import State
from .probe import ask
from .render import secret_files
from .secretstore import Secrets

_ROOT = "/run/hub"


def generate(hub: Hub, secrets: Secrets) -> None:
    """Makes every secret of the hub that has no value yet."""
    for ref in hub.secrets:
        secrets.ensure(ref)


def deliver(hub: Hub, state: State, guest: str, secrets: Secrets) -> list[str]:
    """Writes the secret files of a guest's instances; returns the paths that changed, never a value."""
    generate(hub, secrets)
    wanted: list[dict[str, Any]] = [{"path": _ROOT, "mode": "0711"}]
    for instance in hub.on(guest):
        wanted += _files(hub, instance, secrets)
    if len(wanted) == 1:
        return []
    answer = ask(state, guest, {"action": "place", "memory": "/run", "wanted": wanted})
    return [str(path) for path in answer["changed"] if path.count("/") > _ROOT.count("/") + 1]


def _files(hub: Hub, instance: Instance, secrets: Secrets) -> list[dict[str, Any]]:
    folder, owner = f"{_ROOT}/{instance.stack.name}", f"{instance.stack.uid}:{instance.stack.uid}"
    files = {
        name: text if kind == "text" else secrets.get(instance.name, text)
        for name, (kind, text) in secret_files(hub, instance).items()
    }
    return [
        {"path": folder, "mode": "0500", "owner": owner, "only": sorted(files)},
        *(
            {"path": f"{folder}/{name}", "content": text, "mode": "0400", "owner": owner}
            for name, text in files.items()
        ),
    ]
