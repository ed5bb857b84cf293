"""The HTTP layer: formats, status codes, reason phrases, who is let in."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pve_server import PASSWORD, Server


def test_a_result_is_wrapped_in_data(pve: Server) -> None:
    assert pve.call("GET", "/version").json.keys() == {"data"}


def test_an_error_is_in_the_reason_phrase_and_in_the_body(pve: Server) -> None:
    answer = pve.call("GET", "/nodes/pve/lxc/999/config")
    text = "Configuration file 'nodes/pve/lxc/999.conf' does not exist"
    assert (answer.status, answer.reason) == (500, text)
    assert answer.json == {"data": None, "message": f"{text}\n"}
    assert answer.headers["connection"] == "close"


def test_extjs_answers_200_with_success_0(pve: Server) -> None:
    answer = pve.call("GET", "/api2/extjs/nodes/pve/lxc/999/config")
    assert (answer.status, answer.json["success"], answer.json["status"]) == (200, 0, 500)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_an_unknown_path_is_501(pve: Server, method: str) -> None:
    answer = pve.call(method, "/nope")
    assert (answer.status, answer.reason) == (501, f"Method '{method} /nope' not implemented")


def test_an_unknown_method_is_501_without_a_body(pve: Server) -> None:
    answer = pve.call("PATCH", "/version")
    assert (answer.status, answer.reason, answer.text) == (501, "method 'PATCH' not available", "")


@pytest.mark.parametrize(
    ("path", "text"),
    [("/api2/yaml/version", "no formatter for uri /version, yaml"), ("/api2/JSON/version", "no such uri")],
)
def test_an_unknown_format_is_501(pve: Server, path: str, text: str) -> None:
    answer = pve.call("GET", path)
    assert (answer.status, answer.reason) == (501, text)


@pytest.mark.parametrize(
    ("form", "kind", "begins"),
    [
        ("extjs", "application/json;charset=UTF-8", '{"data":{'),
        ("htmljs", "text/html;charset=UTF-8", "{&quot;data&quot;:"),
        ("html", "text/html;charset=UTF-8", "<!DOCTYPE html>"),
        ("png", "image/png", ""),
    ],
)
def test_every_format_has_its_content_type(pve: Server, form: str, kind: str, begins: str) -> None:
    answer = pve.call("GET", f"/api2/{form}/version")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.text.startswith(begins)


def test_every_answer_carries_the_same_headers(pve: Server) -> None:
    good, wrong = pve.call("GET", "/version"), pve.call("GET", "/nope")
    for answer in (good, wrong):
        assert answer.headers["server"] == "pve-api-daemon/3.0"
        assert answer.headers["cache-control"] == "max-age=0"
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["expires"] == answer.headers["date"]
    assert (good.headers["connection"].lower(), wrong.headers["connection"]) == ("keep-alive", "close")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_long_answer_is_compressed_when_asked(pve: Server, coding: str) -> None:
    asked = {"Accept-Encoding": coding, **pve.headers}
    context = ssl.create_default_context(cafile=pve.state / "pve-ssl.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", pve.port, context=context, timeout=20)
    connection.request("GET", "/api2/json/access/roles", headers=asked)
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    assert response.getheader("content-encoding") == coding
    plain = zlib.decompress(raw, 31 if coding == "gzip" else 15)
    assert json.loads(plain)["data"][0]["roleid"]


def test_the_login_page_of_the_portal_is_where_strangers_are_sent(pve: Server) -> None:
    nobody = Server(pve.state, pve.port, pve.process)
    assert nobody.call("GET", "/access/domains").status == 200
    assert nobody.call("GET", "/access/ticket", {"anything": 1}).status == 200


def test_a_body_on_delete_is_refused(pve: Server) -> None:
    answer = pve.call("DELETE", "/pools/x", body="a=b")
    assert (answer.status, answer.reason) == (501, "Unexpected content for method 'DELETE'")


def test_a_foreign_content_type_is_506(pve: Server) -> None:
    answer = pve.call("POST", "/pools", body="x", headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.reason) == (506, "upload 'Content-Type 'text/plain' not implemented")


def test_json_bodies_and_booleans_are_understood(pve: Server) -> None:
    headers = {"Content-Type": "application/json"}
    body = '{"userid":"json@pve","enable":true}'
    assert pve.call("POST", "/access/users", body=body, headers=headers).status == 200
    assert pve.get("/access/users/json@pve")["enable"] == 1


def test_a_parameter_of_the_path_cannot_be_contradicted(pve: Server) -> None:
    answer = pve.call("GET", "/nodes/pve/status", {"node": "other"})
    assert answer.errors == {"node": "duplicate parameter (already defined in URI) with conflicting values!"}


def test_another_node_is_not_found(pve: Server) -> None:
    answer = pve.call("GET", "/nodes/other/status")
    assert answer.status == 500
    assert answer.reason.startswith("hostname lookup 'other' failed")


def test_plain_http_is_sent_to_https(pve: Server) -> None:
    with socket.create_connection(("127.0.0.1", pve.port)) as plain:
        plain.sendall(f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{pve.port}\r\n\r\n".encode())
        head = plain.recv(4096).decode()
    assert head.startswith("HTTP/1.1 301 Moved Permanently")
    assert f"Location: https://127.0.0.1:{pve.port}/x" in head


@pytest.mark.slow
def test_who_is_refused_gets_a_bare_401_after_three_seconds(pve: Server) -> None:
    nobody = Server(pve.state, pve.port, pve.process)
    reader = Server(pve.state, pve.port, pve.process, {"Cookie": pve.headers["Cookie"]})
    short = pve.as_token("root@pam!x=00000000-0000-0000-0000-000000000000")
    calls: dict[str, tuple[Server, tuple[str, str, dict[str, Any] | None]]] = {
        "No ticket": (nobody, ("GET", "/version", None)),
        "Permission denied - invalid csrf token": (reader, ("POST", "/pools", {"poolid": "nocsrf"})),
        "Authentication failed!": (short, ("GET", "/version", None)),
        "authentication failure": (nobody, ("POST", "/access/ticket", {"username": "root@pam", "password": "wrong"})),
    }
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        asked = {text: pool.submit(who.call, *call) for text, (who, call) in calls.items()}
        answers = {text: found.result() for text, found in asked.items()}
    assert time.monotonic() - begun > 2.9
    for text, answer in answers.items():
        assert (answer.status, answer.reason) == (401, text)
    assert answers.pop("authentication failure").data is None
    assert all(answer.text == "" and "content-type" not in answer.headers for answer in answers.values())


def test_a_ticket_serves_as_password(pve: Server) -> None:
    ticket = pve.call("POST", "/access/ticket", {"username": "root@pam", "password": PASSWORD}).data["ticket"]
    assert pve.call("POST", "/access/ticket", {"username": "root@pam", "password": ticket}).status == 200
