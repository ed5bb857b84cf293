"""Every secret of a hub can be replaced while it is in use; killed anywhere, the next run finishes it."""

from .run import Outcome, logins_at, pending, raise_first, resume, rotate
from .systems import Systems, of

__all__ = ["Outcome", "Systems", "logins_at", "of", "pending", "raise_first", "resume", "rotate"]
