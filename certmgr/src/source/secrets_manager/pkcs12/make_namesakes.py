#!/usr/bin/env python3
"""Makes namesakes.p12.base64: ./make_namesakes.py (needs `cryptography`). Throwaway keys, passphrase changeit.

A leaf with two intermediates of one name; the one that has not signed it comes first.
"""
import base64, datetime as dt, os
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certificate(subject, key, issuer, signer, *extensions):
    b = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
    b = b.serial_number(x509.random_serial_number())
    b = b.not_valid_before(dt.datetime(2026, 11, 1)).not_valid_after(dt.datetime(2126, 11, 1))
    for extension in extensions:
        b = b.add_extension(extension, isinstance(extension, x509.BasicConstraints))
    return b.sign(signer, hashes.SHA256())


root, right, wrong, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
ca = x509.BasicConstraints(True, None)
intermediates = [certificate("Intermediate", key, "Root", root, ca) for key in (wrong, right)]
leaf = certificate("leaf", key, "Intermediate", right, x509.SubjectAlternativeName([x509.DNSName("a.test")]))
sealed = pkcs12.serialize_key_and_certificates(b"a", key, leaf, intermediates, ser.BestAvailableEncryption(b"changeit"))
with open("namesakes.p12.base64", "wb") as f:
    f.write(base64.encodebytes(sealed))
