"""The edges of the HTTP layer: broken bodies, parameters that contradict the path, what only the sources list."""

from __future__ import annotations

import socket
import ssl

import pytest
from pve_server import Server

JSON = {"Content-Type": "application/json"}
NO_JSON = "malformed JSON string, neither tag, array, object, number, string or atom"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"


@pytest.mark.parametrize(
    ("body", "what", "line"),
    [
        (None, f'{NO_JSON}, at character offset 0 (before "(end of string)")', 934),
        ("{", '\'"\' expected, at character offset 1 (before "(end of string)")', 934),
        ('{"a":1', ', or } expected while parsing object/hash, at character offset 6 (before "(end of string)")', 934),
        ('{"a":[1,2}', ', or ] expected while parsing array, at character offset 9 (before "}")', 934),
        ('{"a":1}x', 'garbage after JSON object, at character offset 7 (before "x")', 934),
        ("poolid=a&comment=long\ttext", f'{NO_JSON}, at character offset 0 (before "poolid=a&comment=lon...")', 934),
        ('{"é":x', f'{NO_JSON}, at character offset 6 (before "x")', 934),
        ('{"a":NaN}', f'{NO_JSON}, at character offset 5 (before "NaN}}")', 934),
        ('{"a":nul}', "'null' expected, at character offset 5 (before \"nul}\")", 934),
        ("[1]", "Not a HASH reference", 978),
        ('"x"', 'Can\'t use string ("x") as a HASH ref while "strict refs" in use', 978),
    ],
)
def test_json_that_cannot_be_read_is_a_bare_500(pve: Server, body: str | None, what: str, line: int) -> None:
    sent = None if body is None else body.encode()
    answer = pve.call("POST", "/pools", body=sent, headers=JSON)
    text = f"{what} at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {line}."
    assert (answer.status, answer.reason, answer.text) == (500, text, f"{text}\n")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_method_without_body_may_speak_of_json(pve: Server, method: str) -> None:
    assert pve.call("POST", "/pools", {"poolid": "edge-json"}).status in (200, 500)
    assert pve.call(method, "/pools/edge-json", headers=JSON).status == 200


def test_the_content_type_is_case_sensitive(pve: Server) -> None:
    answer = pve.call("POST", "/pools", body="{}", headers={"Content-Type": "Application/JSON"})
    assert (answer.status, answer.reason) == (506, "upload 'Content-Type 'Application/JSON' not implemented")
    ours = {"Content-Type": "application/json ; charset=utf-8"}
    assert pve.call("POST", "/pools", body="{}", headers=ours).errors.keys() == {"poolid"}


def raw(pve: Server, text: bytes) -> tuple[bytes, bytes]:
    """The status line and the body of what comes back for bytes."""
    context = ssl.create_default_context(cafile=pve.state / "pve-ssl.pem")
    with (
        socket.create_connection(("127.0.0.1", pve.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(text)
        answer = b"".join(iter(lambda: secure.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"BAD", b"HTTP/1.0 400 bad request", b"bad request"),
        (b"GET /nope HTTP/1.1", b"HTTP/1.1 500 no such file '/nope'", b"no such file '/nope'\n"),
    ],
)
def test_what_the_server_answers_outside_of_its_api(pve: Server, sent: bytes, status: bytes, body: bytes) -> None:
    assert raw(pve, sent + b"\r\nHost: x\r\n\r\n") == (status, body)


def test_another_http_is_not_supported(pve: Server) -> None:
    status, body = raw(pve, b"GET / HTTP/2.0\r\n\r\n")
    assert status.endswith(b" 506 http protocol version 2.0 not supported")
    assert body == b"http protocol version 2.0 not supported"


@pytest.mark.parametrize("path", ["/", "/cluster", "/cluster/qemu/cpu-flags"])
def test_a_directory_knows_its_parameters(pve: Server, path: str) -> None:
    answer = pve.call("GET", path, {"foo": 1})
    assert (answer.status, answer.errors) == (400, {"foo": UNKNOWN})


def test_a_variable_of_the_path_is_not_emptied(pve: Server) -> None:
    answer = pve.call("GET", "/nodes/pve/qemu/300/config", {"vmid": ""})
    assert answer.errors == {"vmid": "duplicate parameter (already defined in URI) with conflicting values!"}


def test_only_what_is_sent_to_its_node_asks_for_it(pve: Server) -> None:
    assert pve.call("GET", "/nodes/other/ceph").status == 200
    assert pve.call("GET", "/nodes/other/certificates").status == 200
    answer = pve.call("GET", "/nodes/other/storage/local/rrddata", {"timeframe": "hour"})
    assert answer.reason.startswith("hostname lookup 'other' failed")


@pytest.mark.parametrize(
    ("method", "path", "params", "field"),
    [
        ("POST", "/cluster/notifications/endpoints/gotify", {"name": "aa", "server": "b"}, "token"),
        ("GET", "/nodes/pve/disks/smart", {}, "disk"),
        ("POST", "/cluster/sdn/vnets/v1/subnets", {"subnet": "10.0.0.0/24"}, "type"),
        ("PUT", "/nodes/pve/subscription", {"key": "x"}, "key"),
    ],
)
def test_an_endpoint_without_a_handler_checks_what_it_is_sent(
    pve: Server, method: str, path: str, params: dict[str, str], field: str
) -> None:
    answer = pve.call(method, path, params)
    assert (answer.status, list(answer.errors)) == (400, [field])


def test_an_endpoint_without_a_handler_asks_for_privileges(pve: Server) -> None:
    pve.call("POST", "/access/users", {"userid": "edge@pve", "password": "edge-not-a-secret"})
    login = {"username": "edge@pve", "password": "edge-not-a-secret"}
    data = Server(pve.state, pve.port, pve.process).call("POST", "/access/ticket", login).data
    headers = {"Cookie": f"PVEAuthCookie={data['ticket']}", "CSRFPreventionToken": data["CSRFPreventionToken"]}
    weak = Server(pve.state, pve.port, pve.process, headers)
    answer = weak.call("POST", "/nodes/pve/termproxy", {})
    assert (answer.status, answer.reason) == (403, "Permission check failed (/nodes/pve, Sys.Console)")
