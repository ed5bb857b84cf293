"""Fetches a file that a caller named by its URL, with the log lines and errors of wget, which PVE uses."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from .errors import failure

Say = Callable[[str], None]
TIMEOUT = 60
REDIRECTS = 20
CHUNK = 1 << 18


def fetch(url: str, target: Path, verify: bool, log: Say) -> None:
    """Writes what a URL answers to a file, or raises what PVE says of a failed download."""
    for _ in range(REDIRECTS + 1):
        log(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {url}")
        parts = urlsplit(url)
        connection = _connect(parts, verify, log)
        try:
            following = _answer(connection, parts, target, log)
        except (OSError, http.client.HTTPException) as error:
            raise failure("download failed: exit code 4") from error
        finally:
            connection.close()
        if following is None:
            return
        url = urljoin(url, following)
    log(f"{REDIRECTS} redirections exceeded.")
    raise failure("download failed: exit code 8")


def _connect(parts: SplitResult, verify: bool, log: Say) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    raw = _dial(host, port, log)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    connection.sock = raw
    if parts.scheme == "https":
        try:
            connection.sock = _context(verify).wrap_socket(raw, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise failure(f"download failed: {_distrust(host, error, log)}") from error
        except OSError as error:
            raise failure("download failed: Unable to establish SSL connection.") from error
    return connection


def _context(verify: bool) -> ssl.SSLContext:
    found = ssl.create_default_context()
    if not verify:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    return found


def _distrust(host: str, error: ssl.SSLCertVerificationError, log: Say) -> str:
    """The last line that wget prints of a certificate that it doesn't trust."""
    if "ostname mismatch" in str(error) or "IP address mismatch" in str(error):
        return f"The certificate's owner does not match hostname '{host}'"
    log(f"ERROR: The certificate of '{host}' is not trusted.")
    if "expired" in str(error):
        return f"ERROR: The certificate of '{host}' has expired."
    return f"ERROR: The certificate of '{host}' doesn't have a known issuer."


def _dial(host: str, port: int, log: Say) -> socket.socket:
    try:
        ipaddress.ip_address(host)
        shown = {host: f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    except ValueError:
        shown = {address: f"{host} ({host})|{address}|:{port}" for address in _resolve(host, port, log)}
    last = ""
    for address, text in shown.items():
        if last:
            log(last)
        try:
            found = socket.create_connection((address, port), timeout=TIMEOUT)
        except OSError as error:
            last = f"Connecting to {text}... failed: {os.strerror(error.errno or 110)}."
        else:
            log(f"Connecting to {text}... connected.")
            return found
    raise failure(f"download failed: {last}")


def _resolve(host: str, port: int, log: Say) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        log(f"Resolving {host} ({host})... failed: {error.strerror}.")
        raise failure(f"download failed: wget: unable to resolve host address '{host}'") from error
    addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
    log(f"Resolving {host} ({host})... {', '.join(addresses)}")
    return addresses


def _answer(connection: http.client.HTTPConnection, parts: SplitResult, target: Path, log: Say) -> str | None:
    """Stores the body of a good answer; where the server sends us elsewhere, returns that."""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", path, headers={"User-Agent": "Wget/1.25.0", "Accept": "*/*"})
    response = connection.getresponse()
    log(f"HTTP request sent, awaiting response... {response.status} {response.reason}")
    location = response.headers.get("Location")
    if response.status in (301, 302, 303, 307, 308) and location:
        log(f"Location: {location} [following]")
        return location
    if response.status != http.client.OK:
        log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} ERROR {response.status}: {response.reason}.")
        raise failure("download failed: exit code 8")
    kind = (response.headers.get("Content-Type") or "").partition(";")[0]
    log(f"Length: {response.headers.get('Content-Length', 'unspecified')}{f' [{kind}]' if kind else ''}")
    log(f"Saving to: '{target.name}'")
    with target.open("wb") as file:
        while chunk := response.read(CHUNK):
            file.write(chunk)
    log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} - '{target.name}' saved [{target.stat().st_size}]")
    return None


def head(url: str, verify: bool) -> http.client.HTTPMessage:
    """The headers of a URL; raises ConnectionError with the status line of a refusal, as LWP words it."""
    for _ in range(8):
        parts = urlsplit(url)
        connection = _plain_connection(parts, verify)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("HEAD", path, headers={"User-Agent": "Proxmox VE"})
            response = connection.getresponse()
        except socket.gaierror as error:
            text = f"500 Can't connect to {_place(parts)} ({error.strerror})"
            raise ConnectionError(text) from error
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ConnectionError(f"500 Can't connect to {_place(parts)} ({reason})") from error
        except http.client.HTTPException as error:
            raise ConnectionError("500 Server closed connection without sending any data back") from error
        finally:
            connection.close()
        location = response.headers.get("Location")
        if response.status in (301, 302, 303, 307, 308) and location:
            url = urljoin(url, location)
            continue
        if response.status != http.client.OK:
            raise ConnectionError(f"{response.status} {response.reason}")
        return response.headers
    raise ConnectionError(f"{response.status} {response.reason}")


def _place(parts: SplitResult) -> str:
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _plain_connection(parts: SplitResult, verify: bool) -> http.client.HTTPConnection:
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=30, context=_context(verify))
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
