"""A home around a lab: hosts in the node's LAN, in other private ranges, and one with a public address.

They are one network namespace behind the node's LAN bridge that answers on every address and port given to it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.attacks import frames
from tests.lab.cli import Cli

PUBLIC = "9.9.9.9"  # as the lab sees it: nothing leaves the machine
LAN = ("192.168.1.20", "192.168.1.21")
ELSEWHERE = ("10.77.0.9", "172.20.0.9", "100.64.7.9", "169.254.169.254", "192.0.0.9", "198.18.0.9", "203.0.113.9")
PORTS = (443, 445, 8443)

_ANSWER = """
import json, socketserver, sys, threading
addresses, ports = json.loads(sys.argv[1])
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        if isinstance(self.request, tuple):
            self.request[1].sendto(b"here", self.client_address)
        else:
            self.request.sendall(b"here")
socketserver.ThreadingTCPServer.allow_reuse_address = True
every = [kind((address, port), Answer) for address in addresses for port in ports
         for kind in (socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer)]
for one in every:
    threading.Thread(target=one.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""

REACH = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def answers(place):
    address, port, kind = place
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as link:
        link.settimeout(2)
        try:
            link.connect((address, port))
            if kind == "udp":
                link.send(b"?")
            return kind == "any" or link.recv(16) == b"here"
        except OSError:
            return False
places = json.loads(sys.argv[1])[0]
with ThreadPoolExecutor(len(places)) as pool:
    found = zip(places, pool.map(answers, places))
    print(json.dumps([f"{address}:{port}/{kind}" for (address, port, kind), there in found if there]))
"""
"""Which of these places answer; `any` is one that need not be of this home."""


@contextmanager
def around(hub: Cli) -> Iterator[None]:
    """The home is there; afterwards it never was."""
    netns = hub.world()["netns"]
    own = f"{netns}-home"
    every = (*LAN, *ELSEWHERE, PUBLIC)

    def there(*words: str, check: bool = True) -> None:
        subprocess.run(["nsenter", f"--net=/run/netns/{netns}", "ip", *words], check=check, capture_output=True)

    subprocess.run(["ip", "netns", "add", own], check=True)
    server = None
    try:
        there("link", "add", "home0", "type", "veth", "peer", "name", "eth0", "netns", own)
        there("link", "set", "home0", "master", "vmbr0", "up")
        there("link", "set", "vmbr0", "up")
        inner = ["ip", "-n", own]
        for words in ("link set lo up", "link set eth0 up", "route add 192.168.1.0/24 dev eth0"):
            subprocess.run([*inner, *words.split()], check=True)
        for address in every:
            subprocess.run([*inner, "address", "add", f"{address}/32", "dev", "eth0"], check=True)
            there("route", "replace", f"{address}/32", "dev", "vmbr0")
        command = ["ip", "netns", "exec", own, sys.executable, "-c", _ANSWER, json.dumps([every, PORTS])]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        if server is not None:
            server.communicate()
        there("link", "del", "home0", check=False)
        for address in every:
            there("route", "del", f"{address}/32", "dev", "vmbr0", check=False)
        subprocess.run(["ip", "netns", "del", own], check=True)


def reached(hub: Cli, guest: str, places: Sequence[tuple[str, int, str]]) -> set[str]:
    """The places that answer a machine of the hub, as ADDRESS:PORT/KIND."""
    return set(json.loads(hub.on(guest, f"python3 - {frames.argument(list(places))}", REACH)))
