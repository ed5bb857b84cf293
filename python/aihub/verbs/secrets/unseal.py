"""`aihub secrets unseal`: opens a sealed vault with shares that somebody types, or with those of the recovery kit."""

from __future__ import annotations

from collections.abc import Sequence

from aihub.secrets import kits
from aihub.vault import bringup
from aihub.vault import client as vaults

from ... import report
from ...errors import DONE, InvalidInput, PreconditionFailed
from ...options import Options
from ...owners.run import find_target, opened, perform


def run(options: Options) -> int:
    """Open it, or say that it is; nothing of a share is printed."""
    if (options.kit is None) != (options.identity is None):
        raise InvalidInput(
            "--kit and --identity belong together", hint="aihub secrets unseal --kit FILE --identity KEY"
        )
    with opened(options, "secrets unseal", report) as found:
        perform(found, (find_target,))
        with vaults.connected(found.hub, found.state) as vault:
            if vault.wait(lambda health: health.initialised, bringup.ANSWER).sealed:
                bringup.unseal(vault, _shares(options), report.say)
            else:
                report.say("the vault is open")
    return DONE


def _shares(options: Options) -> Sequence[str]:
    if options.kit and options.identity:
        root, _ = kits.opened(options.kit, options.identity)
        return root.shares[: bringup.THRESHOLD]
    typed = [share for n in range(bringup.THRESHOLD) if (share := report.ask_secret(f"Share {n + 1}: "))]
    if len(typed) < bringup.THRESHOLD:
        raise PreconditionFailed(
            f"{bringup.THRESHOLD} shares are needed, typed on a terminal",
            hint="aihub secrets unseal --kit FILE --identity KEY",
        )
    return typed
