"""The node's TLS certificate: made once per state directory."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from . import store


def certificate_file(state: Path) -> Path:
    """Where the certificate is."""
    return state / "pve-ssl.pem"


def key_file(state: Path) -> Path:
    """Where its key is."""
    return state / "pve-ssl.key"


def fingerprint(state: Path) -> str:
    """The certificate's SHA-256 fingerprint in hex with colons."""
    der = ssl.PEM_cert_to_DER_cert(certificate_file(state).read_text())
    text = hashlib.sha256(der).hexdigest().upper()
    return ":".join(text[n : n + 2] for n in range(0, len(text), 2))


def ensure(state: Path, name: str, address: str) -> None:
    """Makes key and certificate unless they are there."""
    if certificate_file(state).exists() and key_file(state).exists():
        return
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "PVE Cluster Node"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Proxmox Virtual Environment (pvelab)"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(name)]
    names += [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys(("127.0.0.1", "::1", address))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=730))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # A server's, not an authority's: some clients refuse the latter from a server, even one they trust.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store.write(key_file(state), private)
    store.write(certificate_file(state), made.public_bytes(serialization.Encoding.PEM), 0o644)
