"""`aihub secrets revoke GUEST`: ends a guest's access to the vault."""

from __future__ import annotations

from aihub.secrets import enrol

from ... import report
from ...errors import DONE, PreconditionFailed
from ...options import Options
from ...owners.run import find_target, opened, perform, take_lease
from . import alone


def run(options: Options) -> int:
    """Its secret-ids and tokens end; its services go on with what they have."""
    (guest,) = options.only
    with opened(options, "secrets revoke", report) as found:
        enrol.known(found.hub, guest)
        alone(found, "secrets revoke")
        perform(found, (find_target,))
        if found.hub.target.needs_people and not options.yes and not report.confirm(f"End every login of {guest}?"):
            raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")
        perform(found, (take_lease,))
        ended = enrol.revoke(found.hub, found.vault(), guest)
        report.say(f"{guest}: {ended} logins ended; what it has stays there, `aihub up` gives it a new login")
    return DONE
