#!/usr/bin/python3
"""The lab's `pvesh`: speaks to the emulated Proxmox VE API of this lab as root@pam. Not Proxmox' own program."""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

PASSWORD = Path("/etc/pve/priv/lab-root-password")
CERTIFICATE = Path("/etc/pve/local/pve-ssl.pem")
METHODS = {"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE", "ls": "GET"}
FORMATS = ("text", "json", "json-pretty")


class CallRefused(Exception):
    """The API said no."""


class Api:
    """One connection to the API, logged in as root@pam."""

    def __init__(self) -> None:
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        # The file holds exactly the certificate of this lab's API; the loopback address is in no certificate of PVE.
        context.check_hostname = False
        self._context = context
        self._headers: dict[str, str] = {}
        password = PASSWORD.read_text().strip()
        login = self.call("POST", "/access/ticket", [("username", "root@pam"), ("password", password)])
        self._headers = {
            "Cookie": "PVEAuthCookie=" + quote(login["ticket"], safe=""),
            "CSRFPreventionToken": login["CSRFPreventionToken"],
        }

    def call(self, method: str, path: str, parameters: Iterable[tuple[str, str]] = ()) -> Any:
        """One request; raises CallRefused with what PVE's own pvesh would print."""
        encoded = urlencode(list(parameters))
        target = "/api2/json" + quote(path, safe="/:@!,+=")
        headers, body = dict(self._headers), None
        if method in ("GET", "DELETE"):
            target += "?" + encoded if encoded else ""
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = encoded
        connection = http.client.HTTPSConnection("127.0.0.1", 8006, context=self._context, timeout=120)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        answer = json.loads(content) if content.startswith(b"{") else {}
        if response.status >= 400:
            raise CallRefused(_complaint(response.status, response.reason, answer))
        return answer.get("data")


def _complaint(status: int, reason: str, answer: dict[str, Any]) -> str:
    text = str(answer.get("message") or reason).strip()
    lines = [f"{status} {text}" if status == 400 else text]
    lines += [f"{key}: {str(value).strip()}" for key, value in (answer.get("errors") or {}).items()]
    return "\n".join(lines)


def parameters(words: list[str]) -> list[tuple[str, str]]:
    """`--key value`, `--key=value` and `-key value` as pairs; a key may come more than once."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            raise CallRefused(f"400 too many arguments: {word}")
        key, equals, value = word.lstrip("-").partition("=")
        if not equals:
            if not rest:
                raise CallRefused(f"400 Parameter verification failed.\n{key}: the option has no value")
            value = rest.pop(0)
        found.append((key, value))
    return found


def follow(api: Api, upid: str) -> None:
    """Prints a task's log until it ends, as PVE's pvesh does by running the task itself."""
    node, shown = upid.split(":")[1], 0
    base = f"/nodes/{node}/tasks/{upid}"
    while True:
        status = api.call("GET", base + "/status")
        for line in api.call("GET", base + "/log", [("start", str(shown)), ("limit", "5000")]):
            if line["t"] != "no content":
                shown += 1
                if not line["t"].startswith(("TASK OK", "TASK ERROR", "TASK WARNINGS")):
                    say(line["t"])
        if status["status"] == "stopped":
            break
        time.sleep(0.1)
    result = status.get("exitstatus", "unexpected status")
    if result != "OK" and not result.startswith("WARNINGS"):
        raise CallRefused(result)


def say(text: str) -> None:
    """Writes one line to stdout."""
    sys.stdout.write(text + "\n")


def show(data: Any, form: str) -> None:
    """Prints a result; a result of nothing prints nothing."""
    if data is None:
        return
    if form == "json":
        say(json.dumps(data, separators=(",", ":"), sort_keys=True))
    elif form == "json-pretty":
        say(json.dumps(data, indent=3, sort_keys=True))
    elif isinstance(data, list):
        for item in data:
            say("  ".join(f"{key}={item[key]}" for key in sorted(item)) if isinstance(item, dict) else str(item))
    elif isinstance(data, dict):
        for key in sorted(data):
            say(f"{key}: {data[key]}")
    else:
        say(str(data))


def main(argv: list[str]) -> int:
    """Runs one command; 0 done, 255 refused (as PVE's pvesh), with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="pvesh", description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=sorted(METHODS))
    parser.add_argument("path")
    parser.add_argument("--output-format", default="text", choices=FORMATS)
    parser.add_argument("--noproxy", action="store_true", help="accepted; one node has nothing to proxy to")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    known, rest = parser.parse_known_args(argv)
    try:
        wanted = parameters(rest)
        api = Api()
        data = api.call(METHODS[known.command], "/" + known.path.strip("/"), wanted)
        if known.command != "get" and isinstance(data, str) and data.startswith("UPID:"):
            follow(api, data)
        if not known.quiet:
            show(data, known.output_format)
    except CallRefused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 255
    except OSError as error:
        sys.stderr.write(f"the lab's API at https://127.0.0.1:8006 does not answer: {error}\n")
        return 255
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
