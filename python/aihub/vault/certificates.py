"""The hub's own root authority and the certificates that it signs itself; the only importer of cryptography.

The root's key exists here while the vault is brought up, and then in the recovery kit alone. It may sign names of the
hub's domain and nothing else: whoever trusts it trusts it for no other site.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aihub.errors import HubError

ROOT_DAYS = 3652
LISTENER_DAYS = 730
CLOCKS = timedelta(hours=1)  # how far another machine's clock may be behind ours


@dataclass(frozen=True)
class Authority:
    """The root: certificate and key, both PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Issued:
    """A certificate with its chain (leaf first, no root) and key, PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Facts:
    """What a certificate says."""

    names: tuple[str, ...]
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime

    @property
    def left(self) -> float:
        """The part of its life that is still to come; 0 or less when it is over."""
        whole = self.not_after - self.not_before
        return (self.not_after - datetime.now(UTC)) / whole


def new_root(hub: str, domain: str) -> Authority:
    """A fresh root authority for a domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{hub} root of {domain}"[:64])])
    builder = _builder(name, name, key.public_key(), ROOT_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_may_sign(), critical=True)
    builder = builder.add_extension(_only(domain), critical=True)
    return Authority(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def sign_intermediate(root: Authority, request: str, domain: str) -> str:
    """The certificate of the vault's intermediate; it signs leaves only, and lives as long as the root."""
    wanted = x509.load_pem_x509_csr(request.encode())
    if not wanted.is_signature_valid:
        raise HubError("the vault's certificate request is not signed by its own key", hint="aihub up")
    issuer = x509.load_pem_x509_certificate(root.certificate.encode())
    builder = _builder(wanted.subject, issuer.subject, wanted.public_key(), ROOT_DAYS, end=issuer.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_may_sign(), critical=True)
    builder = builder.add_extension(_only(domain), critical=True)
    return _pem(_signed(builder, root, issuer))


def listener(root: Authority, name: str, *, days: int = LISTENER_DAYS, start: datetime | None = None) -> Issued:
    """The vault's own server certificate, straight from the root: the vault needs nothing that it issues."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(root.certificate.encode())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= 64 else [])
    builder = _builder(subject, issuer.subject, key.public_key(), days, start=start)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return Issued(_pem(_signed(builder, root, issuer)), _key_pem(key))


def facts(pem: str) -> Facts:
    """What the first certificate of a PEM text says. Raises HubError when there is none."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())[0]
    except ValueError as error:
        raise HubError(f"not a certificate: {error}") from None
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        said = tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        said = ()
    return Facts(
        names=said,
        issuer=found.issuer.rfc4514_string(),
        serial=f"{found.serial_number:x}",
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )


def signed_by(pem: str, issuer: str) -> bool:
    """Whether the first certificate of `pem` was signed by that of `issuer`."""
    leaf = x509.load_pem_x509_certificate(pem.encode())
    try:
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(issuer.encode()))
    except Exception:  # ValueError, TypeError or InvalidSignature, by what does not fit
        return False
    return True


def belongs(root: Authority) -> bool:
    """Whether key and certificate of a root are one pair."""
    key = load_pem_private_key(root.key.encode(), None)
    return key.public_key() == x509.load_pem_x509_certificate(root.certificate.encode()).public_key()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: object,
    days: int,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> x509.CertificateBuilder:
    begin = start or datetime.now(UTC) - CLOCKS
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key)  # type: ignore[arg-type]
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(end or begin + timedelta(days=days))
    return builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key),  # type: ignore[arg-type]
        critical=False,
    )


def _signed(builder: x509.CertificateBuilder, root: Authority, issuer: x509.Certificate) -> x509.Certificate:
    key = load_pem_private_key(root.key.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise HubError("the root's key is not the kind that aihub makes")
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    return builder.add_extension(authority, critical=False).sign(key, hashes.SHA256())


def domain_of(root: str) -> str:
    """The one domain that a root certificate vouches for; empty when it says none."""
    found = x509.load_pem_x509_certificate(root.encode())
    try:
        constraints = found.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ""
    return next((one.value for one in constraints.permitted_subtrees or () if isinstance(one, x509.DNSName)), "")


def _only(domain: str) -> x509.NameConstraints:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    return x509.NameConstraints([x509.DNSName(domain)], [x509.IPAddress(network) for network in everything])


def _may_sign() -> x509.KeyUsage:
    return _usage(key_cert_sign=True, crl_sign=True)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
