"""A container registry of the lab that answers under the real registries' names, by a certificate of the lab's CA."""

from __future__ import annotations

import fcntl
import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import appliance, images, namespace, node
from .appliance import NETWORK, PUSH_NETWORK, Appliance
from .errors import LabError
from .lab import Config, Lab, cache, private
from .process import run, say, wait_for
from .root import Root
from .rootfs import Recipe

NAME = "registry"
ADDRESS = str(NETWORK[2])
"""Where it answers to everybody, and gives without taking."""
PUSH_ADDRESS = str(PUSH_NETWORK[2])
"""Where it takes images, too: on a bridge that the builder alone is a port of."""
_DAYS = 825
# Two processes, since whoever breaks into the one that everybody reaches must be able to write nothing: other labs of
# the machine read the same files. The other is reached from the bridge that the builder is on.
_READER, _WRITER = "127.0.0.1:5000", "127.0.0.1:5001"
_CONFIG = """version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/registry/labs/LAB}
  delete: {enabled: true}
  maintenance: MAINTENANCE
http:
  addr: "ADDRESS"
  # Ollama's client asks every answer where a blob is; "#" is this very URL. The registry overwrites it where it knows.
  headers: {Location: ["#"]}
"""
_READS = "{readonly: {enabled: true}, uploadpurging: {enabled: false}}"
_WRITES = "{uploadpurging: {enabled: true, age: 24h, interval: 24h, dryrun: false}}"
_UNIT = """[Unit]
Description=Container registry of the lab
[Service]
ExecStart=/usr/bin/docker-registry serve /etc/lab-registry.yml
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""
_WRITER_UNIT = _UNIT.replace("lab-registry.yml", "lab-registry-push.yml").replace("of the lab", "of the lab: pushes")
# As root, since the files are root's, but as one that may do nothing else.
_CONFINED = """[Service]
CapabilityBoundingSet=
NoNewPrivileges=yes
"""
_HEAD = f"""
map "$server_addr $request_method" $refused {{
  default 1;
  "~ (GET|HEAD)$" 0;
  "~^{re.escape(PUSH_ADDRESS)} " 0;
}}
map $server_addr $registry {{
  default {_READER};
  {PUSH_ADDRESS} {_WRITER};
}}
ssl_certificate /etc/lab-tls/server.crt;
ssl_certificate_key /etc/lab-tls/server.key;
client_max_body_size 0;
proxy_request_buffering off;
proxy_buffering off;
proxy_http_version 1.1;
proxy_redirect off;
proxy_read_timeout 900;
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-Proto https;
server {{
  listen 443 ssl default_server;
  if ($refused) {{ return 403; }}
  location / {{ proxy_pass http://$registry; }}
}}
"""


def virtual_host(name: str) -> str:
    """nginx's part for one registry: its repositories lie below its own name, so that two registries never mix."""
    return f"""server {{
  listen 443 ssl;
  server_name {name};
  if ($refused) {{ return 403; }}
  location = /v2/ {{ proxy_pass http://$registry; }}
  location /v2/{name}/ {{ proxy_pass http://$registry; }}
  location /v2/ {{ rewrite ^/v2/(.*)$ /v2/{name}/$1 break; proxy_pass http://$registry; }}
}}
"""


def recipe() -> Recipe:
    """The registry's root file system."""
    commands = (
        "systemctl disable docker-registry.service 2>/dev/null || true; rm -f /etc/nginx/sites-enabled/default",
        "systemctl enable lab-registry.service nginx.service",
    )
    files = {"etc/systemd/system/lab-registry.service": _UNIT}
    return Recipe("trixie", ("docker-registry", "nginx"), files, commands)


def ensure(lab: Lab, config: Config, resolver: str) -> None:
    """Starts the registry, with the images of this machine, and waits until it answers."""
    names = config.registry_names
    certificate, key = server_certificate([*names, "localhost"], [ADDRESS, "127.0.0.1"])
    images.prepare(lab)
    kept = _CONFIG.replace("LAB", lab.name)
    reads = kept.replace("MAINTENANCE", _READS).replace("ADDRESS", _READER)
    writes = kept.replace("MAINTENANCE", _WRITES).replace("ADDRESS", _WRITER)

    def settle(root: Root) -> None:
        root.folder("etc/lab-tls", 0o700)
        root.write("etc/lab-tls/server.crt", certificate.read_text())
        root.write("etc/lab-tls/server.key", key.read_text(), 0o600)
        root.write("etc/lab-registry.yml", reads)
        root.write("etc/lab-registry-push.yml", writes)
        units = "etc/systemd/system"
        root.write(f"{units}/lab-registry.service.d/confined.conf", f"{_CONFINED}ReadOnlyPaths=/var/lib/registry\n")
        root.write(f"{units}/lab-registry-push.service", _WRITER_UNIT)
        root.write(f"{units}/lab-registry-push.service.d/confined.conf", _CONFINED)
        root.link(f"{units}/multi-user.target.wants/lab-registry-push.service", f"/{units}/lab-registry-push.service")
        root.write("etc/nginx/conf.d/lab.conf", _HEAD + "".join(virtual_host(name) for name in names))
        root.folder("var/lib/registry", 0o755)

    mounts = [f"{images.storage()} var/lib/registry none bind 0 0"]
    settings = f"{certificate}\n{mounts}\n{reads}{writes}{_CONFINED}{_HEAD}{names}"
    if not appliance.unchanged(lab, NAME, settings):
        node.containers(lab).stop(NAME)
    appliance.ensure(lab, Appliance(NAME, ADDRESS, recipe(), settle, PUSH_ADDRESS, mounts), resolver)
    appliance.remember(lab, NAME, settings)
    if not wait_for(lambda: _answers(lab), 60, 0.2):
        raise LabError("the lab's registry does not answer within 60 s", hint=f"see {lab.log('lxc-registry')}")
    say("registry", f"answers at {ADDRESS}")


def _answers(lab: Lab) -> bool:
    argv = ["openssl", "s_client", "-quiet", "-connect", f"{ADDRESS}:443"]
    request = f"GET /v2/ HTTP/1.0\r\nHost: {ADDRESS}\r\n\r\n".encode()
    try:
        answer = run(namespace.plain(lab, ["timeout", "3", *argv]), stdin=request, check=False, timeout=10)
    except LabError:
        return False
    return b" 200 OK" in answer.stdout


def as_json(config: Config) -> dict[str, Any]:
    """For `pvelab status`."""
    return {"address": ADDRESS, "names": list(config.registry_names), "ca": str(authority()[0])}


def authority() -> tuple[Path, Path]:
    """The lab CA's certificate and key, made once per cache."""
    folder = private(private(cache()) / "ca")
    certificate, key = folder / "ca.crt", folder / "ca.key"
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not certificate.exists():
            _key(key)
            subject = "/O=pvelab/CN=CA of the labs on this machine"
            argv = ["openssl", "req", "-x509", "-key", str(key), "-subj", subject, "-days", "3650", "-sha256"]
            argv += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
            part = certificate.with_suffix(".part")
            run([*argv, "-out", str(part)])
            part.rename(certificate)
    return certificate, key


def server_certificate(names: Sequence[str], addresses: Sequence[str]) -> tuple[Path, Path]:
    """A certificate of the lab CA for these names and addresses; renewed a month before its end."""
    ca, ca_key = authority()
    alternatives = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    digest = hashlib.sha256((ca.read_text() + alternatives).encode()).hexdigest()[:16]
    certificate, key = ca.with_name(f"server-{digest}.crt"), ca.with_name(f"server-{digest}.key")
    current = ["openssl", "x509", "-checkend", str(30 * 86400), "-noout", "-in", str(certificate)]
    if certificate.exists() and run(current, check=False).returncode == 0:
        return certificate, key
    _key(key)
    with tempfile.TemporaryDirectory(dir=ca.parent) as work:
        request, extensions = Path(work) / "request", Path(work) / "extensions"
        extensions.write_text(
            f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
        )
        run(["openssl", "req", "-new", "-key", str(key), "-subj", "/O=pvelab/CN=lab registry", "-out", str(request)])
        argv = ["openssl", "x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-sha256"]
        argv += ["-set_serial", str(int(digest, 16)), "-days", str(_DAYS), "-extfile", str(extensions)]
        run([*argv, "-out", str(Path(work) / "crt")])
        (Path(work) / "crt").rename(certificate)
    return certificate, key


def _key(path: Path) -> None:
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path)])
    path.chmod(0o600)
