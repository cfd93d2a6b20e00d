"""TLS for the lab: an authority of its own and a certificate for its address.

The authority's key follows from the secret, so a client that trusts the authority of one
life trusts the next. The server's key is new in each life and touches the disk only for
the moment in which the ssl module, which takes files only, reads it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
import ssl
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe-lab authority")])
_SERVER: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe-lab")])
_BACKDATED: Final = dt.timedelta(days=1)
_VALID: Final = dt.timedelta(days=7)
_CURVE: Final = ec.SECP256R1()


def server_context(secret: str, host: str, ca_out: Path) -> ssl.SSLContext:
    """The server's context; writes the authority's certificate to `ca_out` (OSError)."""
    digest = hashlib.sha384(b"probe-lab/ca/" + secret.encode()).digest()
    ca_key = ec.derive_private_key(
        int.from_bytes(digest, "big") % (_CURVE.group_order - 1) + 1, _CURVE
    )
    ca = _authority(ca_key)
    key = ec.generate_private_key(_CURVE)
    leaf = _leaf(ca_key, key, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory() as folder:  # readable by us alone
        chain = Path(folder, "chain.pem")
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(pem + leaf.public_bytes(Encoding.PEM))
        context.load_cert_chain(chain)
    # In one step, so that a client never reads half a certificate.
    part = ca_out.with_name(f"{ca_out.name}.{os.getpid()}.part")
    part.write_bytes(ca.public_bytes(Encoding.PEM))
    part.replace(ca_out)
    return context


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _begin(
    subject: x509.Name, public: ec.EllipticCurvePublicKey, ca_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_AUTHORITY)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
    )


def _authority(ca_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return (
        _begin(_AUTHORITY, ca_key.public_key(), ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, SHA256())
    )


def _leaf(
    ca_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey, host: str
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        addresses.add(ipaddress.ip_address(host))
    except ValueError:
        if host != "localhost":
            names.append(x509.DNSName(host))
    names += [x509.IPAddress(address) for address in sorted(addresses, key=str)]
    return (
        _begin(_SERVER, key.public_key(), ca_key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, SHA256())
    )
