"""The adapter against a small HTTPS server that misbehaves on demand."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aihub.errors import HubError, PreconditionFailed, TaskFailed, Unreachable
from aihub.proxmox import client as proxmox
from aihub.proxmox.client import Landed, Proxmox
from aihub.proxmox.errors import AccessRefused, Changed, Lost, RefusedByProxmox, Untrusted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN = "hub-x@pve!hub=11111111-2222-3333-4444-555555555555"
UPID = "UPID:pve:{:08X}:00001000:65000000:vzcreate:110:hub-x@pve!hub:"


def make_certificate(directory, name):
    """A server certificate signed by a CA of its own, as a PVE node has it: (certificate, key) paths."""
    now = datetime.datetime.now(datetime.UTC)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def sign(subject, public, *, root):
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name} CA")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), False)
            .sign(authority, hashes.SHA256())
        )

    certificate = sign(f"{name}.example", key.public_key(), root=False)
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / f"{name}.pem", directory / f"{name}.key"


class Answer(Exception):
    """What the server is to answer instead of data: status, reason and body, or nothing at all."""

    def __init__(self, status: int = 0, reason: str = "", body: bytes = b"") -> None:
        self.status, self.reason, self.body = status, reason, body


class Server:
    """Answers with what `reply(method, path, body)` returns or raises."""

    def __init__(self, certificate, key) -> None:
        self.calls: list[tuple[str, str]] = []
        self.reply: Callable[[str, str, str], object] = lambda *_: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                outer.calls.append((self.command, self.path))
                outer.headers = dict(self.headers)
                try:
                    data, status, reason = outer.reply(self.command, self.path, body), 200, "OK"
                    content = json.dumps({"data": data}).encode()
                except Answer as answer:
                    status, reason, content = answer.status, answer.reason, answer.body
                if not status:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status, reason)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    return {name: make_certificate(directory, name) for name in ("node", "other")}


@pytest.fixture
def server(certificates):
    found = Server(*certificates["node"])
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def px(server, certificates, monkeypatch):
    monkeypatch.setattr(proxmox, "PAUSE", 0.001)
    monkeypatch.setattr(proxmox, "LOOK_PAUSE", 0.001)
    return Proxmox("127.0.0.1", server.port, TOKEN, certificates["node"][0], timeout=5)


def never() -> Landed | None:
    raise AssertionError("nothing was lost, nobody needs to look")


def test_the_pinned_certificate_is_trusted_whatever_its_name_and_its_issuer(px, server):
    server.reply = lambda *_: {"version": "9.2"}
    assert px.get("/version") == {"version": "9.2"}
    assert server.headers["Authorization"] == f"PVEAPIToken={TOKEN}"


def test_another_certificate_is_refused_before_the_token_is_sent(server, certificates):
    stranger = Proxmox("127.0.0.1", server.port, TOKEN, certificates["other"][0])
    with pytest.raises(Untrusted) as caught:
        stranger.get("/version")
    assert caught.value.exit_code == 4
    assert not server.calls


def test_a_certificate_of_the_same_issuer_is_still_another_one(px, server, monkeypatch):
    monkeypatch.setitem(vars(px), "fingerprint", "00" * 32)
    with pytest.raises(Untrusted):
        px.get("/version")
    assert not server.calls


def test_no_pinned_certificate_is_a_precondition(tmp_path):
    with pytest.raises(PreconditionFailed, match="no pinned certificate"):
        Proxmox("127.0.0.1", 1, TOKEN, tmp_path / "none.pem").get("/version")


def test_proxies_of_the_environment_are_not_used(px, server, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert px.get("/version") is None


def test_the_token_is_in_no_text_of_the_client(px):
    assert "11111111" not in repr(px)


def test_booleans_are_ones_and_zeros_and_none_is_left_out(px, server):
    seen = []
    server.reply = lambda method, path, body: seen.append(body)
    px.write("post", "/nodes/pve/lxc", {"onboot": True, "start": False, "pool": None, "n": 3}, landed=never)
    assert seen == ["onboot=1&start=0&n=3"]


def test_parameters_of_a_delete_are_in_the_query(px, server):
    px.write("delete", "/nodes/pve/lxc/110", {"purge": True}, landed=never)
    assert server.calls == [("DELETE", "/api2/json/nodes/pve/lxc/110?purge=1")]


@pytest.mark.parametrize(
    ("status", "reason", "body", "kind", "text"),
    [
        (500, "short", b'{"data":null,"message":"long\\nand more\\n"}', RefusedByProxmox, "long\nand more"),
        (500, "only a reason", b'{"data":null}', RefusedByProxmox, "only a reason"),
        (
            400,
            "Parameter verification failed.",
            b'{"errors":{"cores":"bad"},"data":null}',
            RefusedByProxmox,
            "cores: bad",
        ),
        (401, "No ticket", b"", AccessRefused, "No ticket"),
        (403, "Permission check failed (/vms/1, VM.Allocate)", b"{}", AccessRefused, "VM.Allocate"),
        (500, "detected modified configuration - file changed by other user? Try again.", b"{}", Changed, "modified"),
        (500, "checksum mismatch (file change by other user?)", b"{}", Changed, "checksum"),
        (501, "Method 'GET /nope' not implemented", b"[1]", RefusedByProxmox, "not implemented"),
    ],
)
def test_an_error_carries_what_proxmox_said(px, server, status, reason, body, kind, text):
    def reply(*_):
        raise Answer(status, reason, body)

    server.reply = reply
    with pytest.raises(kind) as caught:
        px.get("/x")
    assert text in caught.value.what
    assert caught.value.where == "GET /x"
    assert len(server.calls) == 1, "an answer that is a no is not asked for again"


def test_the_fields_in_error_can_be_told_apart(px, server):
    def reply(*_):
        raise Answer(400, "Parameter verification failed.", b'{"errors":{"vmid":"VM 110 already exists"}}')

    server.reply = reply
    with pytest.raises(RefusedByProxmox) as caught:
        px.get("/cluster/nextid", vmid=110)
    assert caught.value.fields == {"vmid": "VM 110 already exists"}


def flaky(times: int, fault: Answer):
    """Fails `times` times, then answers "fine"."""
    left = [times]

    def reply(*_):
        if left[0]:
            left[0] -= 1
            raise fault
        return "fine"

    return reply


FAULTS = [
    Answer(),
    Answer(595, "Errors during connection"),
    Answer(500, "can't lock file - got timeout"),
    Answer(503, "x"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=["reset", "595", "lock timeout", "503"])
def test_a_read_is_tried_again(px, server, fault):
    server.reply = flaky(2, fault)
    assert px.get("/x") == "fine"
    assert len(server.calls) == 3


def test_a_read_is_not_tried_for_ever(px, server):
    server.reply = flaky(100, Answer())
    with pytest.raises(Unreachable):
        px.get("/x")
    assert len(server.calls) == proxmox.READ_TRIES


@pytest.mark.parametrize("fault", FAULTS, ids=["reset", "595", "lock timeout", "503"])
def test_a_write_whose_answer_was_lost_is_not_sent_again_when_it_took_effect(px, server, fault):
    server.reply = flaky(1, fault)
    assert px.write("post", "/x", {}, landed=lambda: Landed("UPID:x")) == "UPID:x"
    assert len(server.calls) == 1


def test_a_write_that_did_not_take_effect_is_sent_again(px, server):
    server.reply = flaky(1, Answer())
    assert px.write("post", "/x", {}, landed=lambda: None) == "fine"
    assert len(server.calls) == 2


def test_a_write_is_not_tried_for_ever(px, server):
    server.reply = flaky(100, Answer())
    with pytest.raises(Lost):
        px.write("post", "/x", {}, landed=lambda: None)
    assert len(server.calls) == proxmox.WRITE_TRIES


def test_a_write_that_never_left_is_sent_again_without_a_look(certificates, monkeypatch):
    monkeypatch.setattr(proxmox, "PAUSE", 0.001)
    px = Proxmox("127.0.0.1", 1, TOKEN, certificates["node"][0])
    with pytest.raises(Lost) as caught:
        px.write("post", "/x", {}, landed=never)
    assert not caught.value.sent


def test_a_slow_answer_is_looked_for_longer(px, server, monkeypatch):
    monkeypatch.setattr(px, "timeout", 0.05)

    def slow(*_):
        time.sleep(0.2)
        return "late"

    server.reply = slow
    looks = []

    def landed() -> Landed | None:
        looks.append(1)
        return Landed("found") if len(looks) > 10 else None

    assert px.write("post", "/x", {}, landed=landed) == "found"


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b'{"other": 1}', b'"text"', b"\xff\xfe", b"null"])
@pytest.mark.parametrize("status", [200, 500])
def test_no_garbage_gets_through_as_data_or_as_a_foreign_exception(px, server, body, status):
    def reply(*_):
        raise Answer(status, "reason", body)

    server.reply = reply
    with pytest.raises(HubError):
        px.get("/x")


def listing(ended: dict[int, str]):
    """A task list in which task n has ended with ended[n]."""

    def reply(method, path, body):
        if path.split("?")[0].endswith("/log"):
            return [{"n": 1, "t": "first"}, {"n": 2, "t": "TASK ERROR: no space"}]
        if path.endswith("/status"):
            number = int(path.split(":")[2], 16) if ":" in path else int(path.split("%3A")[2], 16)
            done = number in ended
            return {"status": "stopped" if done else "running", **({"exitstatus": ended[number]} if done else {})}
        return [{"upid": UPID.format(n), "endtime": 1, "status": s} for n, s in ended.items()]

    return reply


@pytest.mark.parametrize("status", ["OK", "WARNINGS: 2"])
def test_a_task_with_warnings_is_a_success(px, server, status):
    server.reply = listing({1: status})
    assert px.tasks.wait(UPID.format(1)).status == status


def test_a_failed_task_shows_its_status_and_the_end_of_its_log(px, server):
    server.reply = listing({1: "no space"})
    with pytest.raises(TaskFailed, match=r"(?s)vzcreate ended with: no space.*first.*TASK ERROR"):
        px.tasks.wait(UPID.format(1))


def test_a_task_that_hangs_is_reported_with_its_id_and_not_stopped(px, server):
    server.reply = listing({})
    with pytest.raises(TaskFailed, match="not over yet") as caught:
        px.tasks.wait(UPID.format(1), timeout=0.3)
    assert caught.value.where == UPID.format(1)
    assert {method for method, _ in server.calls} == {"GET"}


def test_many_tasks_are_waited_for_with_one_poll(px, server):
    ended: dict[int, str] = {}
    server.reply = listing(ended)
    threads = [threading.Thread(target=px.tasks.wait, args=(UPID.format(n),)) for n in range(1, 17)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    ended |= dict.fromkeys(range(1, 17), "OK")
    for thread in threads:
        thread.join(5)
    assert not [t for t in threads if t.is_alive()]
    # At most eight polls in this time; sixteen waiters that ask each for themselves would need over a hundred.
    lists = [path for _, path in server.calls if "/tasks?" in path]
    assert len(lists) <= 10
    assert len(server.calls) < 40


@pytest.mark.slow
def test_the_pause_between_polls_grows(px, server):
    server.reply = listing({})
    with pytest.raises(TaskFailed):
        px.tasks.wait(UPID.format(1), timeout=1.5)
    assert len(server.calls) <= 7


def test_a_task_unknown_for_a_moment_is_asked_for_again(px, server):
    ended: dict[int, str] = {1: "OK"}
    first = [True]

    def reply(method, path, body):
        if first[0]:
            first[0] = False
            raise Answer(400, "Parameter verification failed.", b'{"errors":{"upid":"no such task"}}')
        return listing(ended)(method, path, body)

    server.reply = reply
    assert px.tasks.wait(UPID.format(1)).good
