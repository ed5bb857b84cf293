"""Errors as Proxmox VE words them: status, message (also the HTTP reason phrase) and errors by field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..backend import BackendError

T = TypeVar("T")
VERIFICATION = "Parameter verification failed.\n"


class ApiError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, errors: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors

    @property
    def text(self) -> str:
        """The message with its status and errors, as a task log or a nested message shows it."""
        lines = self.message if self.status == 500 else f"{self.status} {self.message}"
        for name, found in (self.errors or {}).items():
            lines += f"{name}: {found}\n"
        return lines.strip()

    def __str__(self) -> str:
        return self.text


class PlainError(ApiError):
    """An error that the HTTP server itself gives: its text is the body, without JSON around it."""


FAILURES = (ApiError, BackendError, OSError)  # what a task may end with


def failure(text: str) -> ApiError:
    """A 500 with PVE's text."""
    return ApiError(500, text + "\n")


def bad(**fields: str) -> ApiError:
    """A 400 that names fields; a double underscore in a name stands for a dash."""
    return ApiError(400, VERIFICATION, {name.replace("__", "-"): text for name, text in fields.items()})


def bad_field(name: str, text: str) -> ApiError:
    """A 400 for one field, whatever its name."""
    return ApiError(400, VERIFICATION, {name: text})


def denied(what: str = "") -> ApiError:
    """A 403 as every failed permission check gives it."""
    return ApiError(403, f"Permission check failed ({what})\n" if what else "Permission check failed\n")


def refuse_if(wrong: object, error: str | Exception) -> None:
    """Raises an error, or the 500 with PVE's text, when something is wrong."""
    if wrong:
        raise failure(error) if isinstance(error, str) else error


def existing(found: T | None, error: str | Exception) -> T:
    """What was found; raises the error, or the 500 with PVE's text, when that is None."""
    refuse_if(found is None, error)
    assert found is not None
    return found


@contextmanager
def prefixed(failed: str) -> Iterator[None]:
    """Turns every refusal from within into a 500 whose text begins with what failed."""
    try:
        yield
    except ApiError as error:
        raise failure(f"{failed}{error.text}") from None
