"""`aihub secrets revoke GUEST`: ends a guest's access to the vault."""

from __future__ import annotations

from aihub.secrets import enrol

from ... import report
from ...errors import DONE, PreconditionFailed
from ...options import Options
from ...steps import reach
from ...steps.run import opened, perform
from . import alone


def run(options: Options) -> int:
    """Its secret-ids and tokens end; its services go on with what they have."""
    (guest,) = options.only
    with opened(options, "secrets revoke") as found:
        enrol.known(found.hub, guest)
        alone(found, "secrets revoke")
        perform(found, (reach.find_lab, reach.be_trusted, reach.take_lease))
        if options.target != "lab" and not options.yes and not report.confirm(f"End every login of {guest}?"):
            raise PreconditionFailed("not confirmed: nothing was changed", hint="the same command with --yes")
        ended = enrol.revoke(found.hub, found.vault(), guest)
        report.say(f"{guest}: {ended} logins ended; what it has stays there, `aihub up` gives it a new login")
    return DONE
