"""Every secret of a hub can be replaced while it is in use; killed anywhere, the next run finishes it."""

from .reach import Reach, of
from .run import Outcome, logins_at, pending, raise_first, resume, rotate

__all__ = ["Outcome", "Reach", "logins_at", "of", "pending", "raise_first", "resume", "rotate"]
