#!/usr/bin/env python3
"""Makes the fixtures that are signed with what our generator cannot: ./make_signed.py (needs `cryptography`).

signed_*.pem: a leaf, the self-signed CA that signed it, and the leaf's key. list_*.pem: a CA and its revocation list.
not_signed_*.pem: the same, by another key of the CA's name. issuer_*.pem: a leaf that names its issuer oddly, the
issuer, and the leaf's key. Throwaway keys.
"""
import datetime as dt, os
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

os.chdir(os.path.dirname(os.path.abspath(__file__)))
begins, ends = dt.datetime(2026, 11, 1), dt.datetime(2126, 11, 1)


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certificate(subject, key, issuer, signer, digest, ca, **pss):
    b = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
    b = b.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    if ca:
        b = b.add_extension(x509.BasicConstraints(True, None), True)
    else:
        b = b.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), False)
    return b.sign(signer, digest, **pss)


def pem(*certificates):
    return b"".join(c.public_bytes(ser.Encoding.PEM) for c in certificates)


def write(file, data):
    with open(file, "wb") as f:
        f.write(data)


def revocation_list(issuer, key, digest, **pss):
    b = x509.CertificateRevocationListBuilder().issuer_name(name(issuer)).last_update(begins).next_update(ends)
    return b.add_extension(x509.CRLNumber(1), False).sign(key, digest, **pss)


def pss(digest, salt, mask=None):
    return {"rsa_padding": padding.PSS(padding.MGF1(mask or digest), salt)}


def issuer_named_oddly(file, name_of_issuer, *extensions):
    root, issuer, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    b = x509.CertificateBuilder().subject_name(name("Issuer")).issuer_name(name("Root")).public_key(issuer.public_key())
    b = b.serial_number(77).not_valid_before(begins).not_valid_after(ends).add_extension(x509.BasicConstraints(True, None), True)
    ca = b.add_extension(x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()), False).sign(root, hashes.SHA256())
    b = x509.CertificateBuilder().subject_name(name("leaf")).issuer_name(name_of_issuer).public_key(leaf_key.public_key())
    b = b.serial_number(78).not_valid_before(begins).not_valid_after(ends)
    b = b.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), False)
    for extension in extensions:
        b = b.add_extension(extension or x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
    leaf = b.sign(issuer, hashes.SHA256())
    private = leaf_key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    write(f"issuer_{file}.pem", pem(leaf, ca) + private)


printable = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Issuer", _ASN1Type.PrintableString)])
by_serial = lambda serial: x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(name("Root"))], serial)
issuer_named_oddly("right_key", name("Issuer"), None)
issuer_named_oddly("right_serial", name("Issuer"), by_serial(77))
issuer_named_oddly("other_key", name("Issuer"), x509.AuthorityKeyIdentifier(bytes(20), None, None))
issuer_named_oddly("other_serial", name("Issuer"), by_serial(79))
issuer_named_oddly("other_spelling", printable, None)

rsa_key = rsa.generate_private_key(65537, 2048)
sha256, sha384, sha512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
for kind, key, digest, options in [
    ("p256_sha512", ec.generate_private_key(ec.SECP256R1()), sha512, {}),
    ("p384_sha512", ec.generate_private_key(ec.SECP384R1()), sha512, {}),
    ("p521_sha256", ec.generate_private_key(ec.SECP521R1()), sha256, {}),
    ("pss_sha256", rsa_key, sha256, pss(sha256, 32)),
    ("pss_sha384", rsa_key, sha384, pss(sha384, 48)),
    ("pss_salt_20", rsa_key, sha256, pss(sha256, 20)),
    ("pss_mask_sha384", rsa_key, sha256, pss(sha256, 32, sha384)),
    ("ed448", ed448.Ed448PrivateKey.generate(), None, {}),
    ("brainpool", ec.generate_private_key(ec.BrainpoolP256R1()), sha256, {}),
]:
    ca = certificate("CA", key, "CA", key, digest, True, **options)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate("leaf", leaf_key, "CA", key, digest, False, **options)
    private = leaf_key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    write(f"signed_{kind}.pem", pem(leaf, ca) + private)
    write(f"list_{kind}.pem", pem(ca, revocation_list("CA", key, digest, **options)))
    if kind == "p384_sha512":
        other = ec.generate_private_key(ec.SECP384R1())
        namesake = certificate("CA", other, "CA", other, digest, True)
        write(f"not_signed_{kind}.pem", pem(leaf, namesake) + private)
