"""Compares the node's clock with ours: certificates, tokens and the times of tasks mislead when they are far apart."""

from __future__ import annotations

from datetime import UTC, datetime

from aihub.errors import PreconditionFailed

MOST = 300.0  # seconds


def check(host: str, date: str) -> None:
    """Raises PreconditionFailed when the Date header of an answer is far from our own time."""
    from email.utils import parsedate_to_datetime

    try:
        ahead = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return  # there is none, or none with a zone: nothing is known
    if abs(ahead) > MOST:
        raise PreconditionFailed(
            f"the clock of {host} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's",
            hint="set both by NTP (timedatectl on each shows which one is wrong), then run the same command again",
        )
