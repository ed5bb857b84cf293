"""Fetches a file that a caller named by its URL, with the errors of wget, which PVE uses."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler

from .errors import failure

Say = Callable[[str], None]
TIMEOUT = 60
REDIRECTED = (
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPRedirectHandler,
)


def _open(url: str, verify: bool) -> http.client.HTTPResponse:
    """Asks by HTTP and HTTPS alone: no other scheme, no proxy."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(context=context), *(kind() for kind in REDIRECTED)):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "Wget/1.25.0"})  # noqa: S310 - see above
    found: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT)
    return found


def fetch(url: str, target: Path, verify: bool, log: Say) -> None:
    """Writes what a URL answers to a file, or raises what PVE says of a failed download."""
    log(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {url}")
    try:
        with _open(url, verify) as response:
            log(f"HTTP request sent, awaiting response... {response.status} {response.reason}")
            with target.open("wb") as file:
                shutil.copyfileobj(response, file)
    except HTTPError as error:
        log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} ERROR {error.code}: {error.reason}.")
        raise failure("download failed: exit code 8") from error
    except URLError as error:
        raise failure(f"download failed: {_wget_says(url, error.reason)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise failure("download failed: exit code 4") from error
    log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} - '{target.name}' saved [{target.stat().st_size}]")


def _wget_says(url: str, reason: object) -> str:
    host = urlsplit(url).hostname or ""
    if isinstance(reason, socket.gaierror):
        return f"wget: unable to resolve host address '{host}'"
    if isinstance(reason, ssl.SSLCertVerificationError):
        if "mismatch" in str(reason):
            return f"The certificate's owner does not match hostname '{host}'"
        expired = "has expired" if "expired" in str(reason) else "doesn't have a known issuer"
        return f"ERROR: The certificate of '{host}' {expired}."
    if isinstance(reason, ssl.SSLError):
        return "Unable to establish SSL connection."
    return f"Connecting to {_place(url)}... failed: {_why(reason)}."


def _why(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return str(reason.strerror)
    number = reason.errno if isinstance(reason, OSError) else None
    return os.strerror(number) if number and number > 0 else str(reason)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
