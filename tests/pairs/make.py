#!/usr/bin/env python3
"""Makes the pairs of docs/certificate_pairs.md afresh, with throwaway keys: make.py FOLDER (needs `cryptography`, openssl 3).

FOLDER/kinds.json lists the kinds in the table's order; the files of each begin with its id.

- `chain`: a pair as a server may have it, for the host `ID.pairs.test` unless `host` says otherwise. ID.crt holds the
  chain in its order, ID.key the key, ID.roots what clients trust. `server: openssl`: rustls cannot sign with such a key.
- `form`: how a good pair may be written in `files`, its chain and its key. `only_key`: the chain is as always.
- `secret`: a secret in `format`, with the pair of the kind `like`, or with the PKCS#12 container in `files`.
- `acme`: what a CA's answer may look like; `like` is the kind with the same chain.

`why` says why clients differ, or why h2gate does other than they do.
"""
import datetime as dt, json, os, subprocess, sys
from base64 import b64encode, encodebytes
from ipaddress import ip_address, ip_network
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage, NameOID

if len(sys.argv) != 2:
    sys.exit(__doc__)
folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
now, day = dt.datetime.now(dt.timezone.utc).replace(microsecond=0), dt.timedelta(days=1)
kinds, groups = [], []
sha256, sha384, sha512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
PASSPHRASE = b"changeit"
SEALED = ser.BestAvailableEncryption(PASSPHRASE)


def p256():
    return ec.generate_private_key(ec.SECP256R1())


rsa_keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
common_name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])
dns = lambda *names: x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
oid = x509.ObjectIdentifier


class Ca:
    """Whoever signs: a name and a key, with a certificate for both."""

    def __init__(self, name, by=None, key=None, **options):
        self.name, self.key = (common_name(name) if isinstance(name, str) else name), key or p256()
        self.certificate = make(self.name, self.key, by or self, ca=True, **options)

    def leaf(self, kind, key=None, host=None, **options):
        key = key or p256()
        options.setdefault("names", dns(host or f"{kind}.pairs.test"))
        options.setdefault("usage", [Usage.SERVER_AUTH])
        return make(options.pop("subject", common_name("server")), key, self, **options), key


def usages(*set_):
    every = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{one: one in set_ for one in every.split()})


def make(subject, key, by, ca=None, names=None, usage=None, begins=now - 30 * day, ends=now + 300 * day, digest=sha256,
         extra=(), path_length=None, constraints=True, critical_names=False, issuer=None, serial=None, **signing):
    b = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or by.name).public_key(key.public_key())
    b = b.serial_number(serial or x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    if ca is not None and constraints:
        b = b.add_extension(x509.BasicConstraints(ca, path_length if ca else None), True)
    if names is not None:
        b = b.add_extension(names, critical_names)
    if usage:
        b = b.add_extension(x509.ExtendedKeyUsage(usage), False)
    for extension, critical in extra:
        b = b.add_extension(extension, critical)
    if isinstance(by.key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        digest = None
    return b.sign(by.key, digest, **signing)


def pem(*certificates):
    parts = [c if isinstance(c, bytes) else c.public_bytes(ser.Encoding.PEM) for c in certificates]
    return b"".join(parts)


def der(certificate):
    return certificate.public_bytes(ser.Encoding.DER)


def key_pem(key, form=ser.PrivateFormat.PKCS8, encryption=ser.NoEncryption()):
    return key if isinstance(key, bytes) else key.private_bytes(ser.Encoding.PEM, form, encryption)


def key_der(key, form=ser.PrivateFormat.PKCS8):
    return key.private_bytes(ser.Encoding.DER, form, ser.NoEncryption())


def write(file, data):
    with open(os.path.join(folder, file), "wb") as f:
        f.write(data)
    return file


def openssl(*words, given=b""):
    done = subprocess.run(["openssl", *words], cwd=folder, input=given, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {words}: {done.stderr.decode()}")
    return done.stdout


def group(title):
    groups.append(title)


def kind(id, what, sort, why="", **more):
    kinds.append({"id": id, "what": what, "sort": sort, "group": groups[-1], "why": why, **more})


def chain(id, what, certificates, key, roots, why="", **more):
    write(id + ".crt", pem(*certificates))
    write(id + ".key", key_pem(key))
    write(id + ".roots", pem(*roots))
    more.setdefault("host", id + ".pairs.test")
    kind(id, what, "chain", why, **more)


root, strange_root, old_root = Ca("Root"), Ca("Strange root"), Ca("Old root")
inter, strange = Ca("Intermediate", root), Ca("Strange intermediate", strange_root)
R, I = root.certificate, inter.certificate


def simple(id, what, why="", by=inter, above=(I,), roots=(R,), key=None, more={}, **options):
    """A leaf as asked, below the usual intermediate."""
    leaf, key = by.leaf(id, key, **options)
    chain(id, what, [leaf, *above], key, roots, why, **more)


def below(id, what, why="", more={}, leaf={}, **options):
    """A usual leaf below an intermediate as asked."""
    bound = Ca("Bound", root, **options)
    simple(id, what, why, by=bound, above=(bound.certificate,), more=more, **leaf)


# ---- chains -------------------------------------------------------------------------------------------------------
group("Chains")
simple("good", "leaf, intermediate")
simple("direct", "a leaf that the root has signed, alone", by=root, above=())
simple("with-root", "leaf, intermediate, root", above=(I, R))
simple("lone-leaf", "a leaf whose intermediate is missing", above=(),
       why="Nothing in it says that its issuer is no root. `trust` refuses it, and so does h2gate if what serves has the intermediate")
simple("root-for-intermediate", "leaf, root; the intermediate is missing", above=(R,))
simple("foreign-intermediate", "leaf, another CA's intermediate", above=(strange.certificate,))
namesake = Ca("Intermediate", root)
simple("namesake", "leaf, an intermediate of the right name and another key", above=(namesake.certificate,))
simple("namesake-first", "leaf, an intermediate of the right name and another key, the right one",
       above=(namesake.certificate, I), why="OpenSSL takes the first of the name. h2gate serves the one that signed")
simple("twice", "leaf, intermediate, intermediate", above=(I, I))
leaf, key = inter.leaf("leaf-twice")
chain("leaf-twice", "leaf, leaf, intermediate", [leaf, leaf, I], key, [R])
leaf, key = inter.leaf("all-twice")
chain("all-twice", "leaf, intermediate, leaf, intermediate", [leaf, I, leaf, I], key, [R])
low = Ca("Low intermediate", inter)
simple("swapped", "leaf, root's intermediate, leaf's intermediate", by=low, above=(I, low.certificate))
leaf, key = inter.leaf("leaf-last")
chain("leaf-last", "intermediate, leaf", [I, leaf], key, [R],
      "The first certificate must be the key's (RFC 8446 §4.4.2). h2gate finds it by the key")
simple("superfluous-last", "leaf, intermediate, another CA's intermediate", above=(I, strange.certificate))
simple("superfluous-first", "leaf, another CA's intermediate, intermediate", above=(strange.certificate, I))
cross = make(root.name, root.key, old_root, ca=True)
simple("cross-signed", "leaf, intermediate, the root signed by an older one; clients trust the root", above=(I, cross))
simple("cross-signed-old", "the same; clients trust the older root", above=(I, cross), roots=(old_root.certificate,))
expired_cross = make(root.name, root.key, old_root, ca=True, begins=now - 900 * day, ends=now - day)
simple("cross-expired", "the same, its cross-signature expired; clients trust the root", above=(I, expired_cross))
simple("cross-expired-old", "the same; clients trust the older root", above=(I, expired_cross), roots=(old_root.certificate,),
       why="What has expired is left out, and the rest is good for whoever trusts the root")
expired_inter = make(inter.name, inter.key, root, ca=True, begins=now - 900 * day, ends=now - day)
simple("renewed-intermediate", "leaf, expired intermediate, the same renewed", above=(expired_inter, I))
simple("expired-intermediate", "leaf, expired intermediate", above=(expired_inter,))
early_inter = make(inter.name, inter.key, root, ca=True, begins=now + day)
simple("early-intermediate", "leaf, an intermediate that is not valid yet", above=(early_inter,))
simple("expired", "an expired leaf", begins=now - 90 * day, ends=now - day)
simple("early", "a leaf that is not valid yet", begins=now + day)
simple("superfluous-many", "leaf, intermediate, nine other roots", above=(I, *(Ca(f"Other {n}").certificate for n in range(9))),
       why="Java takes ten certificates at most. h2gate, too: more are no chain but a trust store (`MAX_CERTIFICATES`)")


def deep(count):
    line = [root]
    for level in range(count):
        line.append(Ca(f"Level {level}", line[-1]))
    return line[-1], tuple(one.certificate for one in line[:0:-1])


for count, why in [(5, ""), (9, ""), (10, "Java takes ten certificates at most. h2gate, too (`MAX_CERTIFICATES`)")]:
    by, above = deep(count)
    simple(f"deep-{count}", f"a leaf below {count} intermediates", by=by, above=above, why=why)

# ---- what issuers allow -------------------------------------------------------------------------------------------
group("What issuers allow")
below("names-allowed", "name constraints that permit the name", extra=[(x509.NameConstraints([x509.DNSName("pairs.test")], None), True)])
below("names-not-permitted", "name constraints that permit other names", extra=[(x509.NameConstraints([x509.DNSName("other.test")], None), True)])
below("names-excluded", "name constraints that exclude the name", extra=[(x509.NameConstraints(None, [x509.DNSName("pairs.test")]), True)])
network = x509.IPAddress(ip_network("10.0.0.0/8"))
address = x509.IPAddress(ip_address("127.0.0.1"))
below("address-not-permitted", "name constraints that permit other addresses", extra=[(x509.NameConstraints([network], None), True)],
      leaf={"names": x509.SubjectAlternativeName([address])}, more={"host": "127.0.0.1"})
below("subject-not-permitted", "name constraints that permit other subjects",
      extra=[(x509.NameConstraints([x509.DirectoryName(common_name("other"))], None), True)])
below("mail-constraint", "name constraints on mail addresses", extra=[(x509.NameConstraints([x509.RFC822Name("other.test")], None), True)])
below("subject-permitted", "name constraints that permit the subject",
      extra=[(x509.NameConstraints([x509.DirectoryName(common_name("server"))], None), True)], why="Go knows no constraints of this kind")
bound_root = Ca("Bound root", extra=[(x509.NameConstraints([x509.DNSName("other.test")], None), True)])
under_bound = Ca("Under bound root", bound_root)
simple("root-constraint", "leaf, intermediate, a root whose name constraints do not permit the name", by=under_bound,
       above=(under_bound.certificate, bound_root.certificate), roots=(bound_root.certificate,), why="Java does not look at what a root allows")
short = Ca("Short", root, path_length=0)
under_short = Ca("Under short", short)
simple("path-length", "an intermediate below one that allows none", by=under_short, above=(under_short.certificate, short.certificate))
short_root = Ca("Short root", path_length=0)
under_short_root = Ca("Under short root", short_root)
simple("root-path-length", "an intermediate below a root that allows none", by=under_short_root,
       above=(under_short_root.certificate, short_root.certificate), roots=(short_root.certificate,), why="Java does not look at what a root allows")
below("issuer-for-clients", "an issuer whose extended key usage is clientAuth", usage=[Usage.CLIENT_AUTH], why="Java does not look at an issuer's")
below("issuer-for-any", "an issuer whose extended key usage is `any`", usage=[Usage.ANY_EXTENDED_KEY_USAGE], why="OpenSSL wants serverAuth by name")
not_ca = Ca("Not a CA", root, constraints=False)
below("issuer-no-constraints", "an issuer without basic constraints", constraints=False)
person, person_key = inter.leaf("person")
holder = Ca("server", inter, key=person_key)
holder.certificate = person
simple("issuer-no-ca", "a leaf that another leaf has signed", by=holder, above=(person, I))
below("issuer-no-signing", "an issuer whose key usage lacks keyCertSign", extra=[(usages("crl_sign"), True)])
unknown = x509.UnrecognizedExtension(oid("1.3.6.1.4.1.99999.1"), b"\x05\x00")
below("issuer-unknown-critical", "an issuer with an unknown critical extension", extra=[(unknown, True)],
      why="Whoever knows the extension may take it, and what is not known to h2gate may be known to clients")
below("issuer-unknown", "an issuer with an unknown extension", extra=[(unknown, False)])
simple("odd-key-identifier", "an authority key identifier of another key",
       extra=[(x509.AuthorityKeyIdentifier(bytes(20), None, None), False)], more={},
       why="OpenSSL believes the identifier, where the issuer has one", by=(identified := Ca("Identified", root, key=(k := p256()), extra=[
           (x509.SubjectKeyIdentifier.from_public_key(k.public_key()), False)])), above=(identified.certificate,))
printable = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Intermediate", _ASN1Type.PrintableString)])
simple("other-spelling", "the issuer's name in another character set", issuer=printable, why="Go compares names by their octets")

# ---- leaves -------------------------------------------------------------------------------------------------------
group("Leaves")
simple("no-usage", "no extended key usage", usage=None)
simple("any-usage", "extended key usage `any`", usage=[Usage.ANY_EXTENDED_KEY_USAGE], why="OpenSSL wants serverAuth by name")
simple("client-usage", "extended key usage clientAuth", usage=[Usage.CLIENT_AUTH])
simple("signing-usage", "key usage digitalSignature", extra=[(usages("digital_signature"), True)])
simple("rsa-no-signing", "RSA with key usage keyEncipherment alone", key=rsa_keys[0], extra=[(usages("key_encipherment"), True)],
       why="It cannot sign, and all suites here want that (RFC 8446 §4.4.2.2). OpenSSL and Go do not look")
simple("ec-no-signing", "ECDSA with key usage keyAgreement alone", extra=[(usages("key_agreement"), True)],
       why="It cannot sign, and all suites here want that (RFC 8446 §4.4.2.2). OpenSSL and Go do not look")
simple("leaf-is-ca", "CA:TRUE in a leaf", ca=True)
simple("unknown-critical", "an unknown critical extension", extra=[(unknown, True)])
simple("must-staple", "OCSP must-staple", extra=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)])
simple("no-names", "no alternative name; the common name is the host", names=None, subject=common_name("no-names.pairs.test"),
       why="Go looks at alternative names alone (RFC 9525 §6.1), as do browsers and other clients of today")
simple("mail-only", "a mail address as the only alternative name", names=x509.SubjectAlternativeName([x509.RFC822Name("a@pairs.test")]),
       subject=common_name("mail-only.pairs.test"),
       why="What the others take is the common name")
simple("address", "an address as the only alternative name", names=x509.SubjectAlternativeName([address]), more={"host": "127.0.0.1"})
simple("wildcard", "a wildcard that covers the host", names=dns("*.pairs.test"))
simple("wildcard-deep", "a wildcard two labels above the host", names=dns("*.pairs.test"),
       more={"host": "a.wildcard-deep.pairs.test", "domains": ["a.wildcard-deep.pairs.test"]})
simple("other-name", "another host's name", names=dns("other.test"), more={"domains": ["other-name.pairs.test"]})
simple("capitals", "the host in capitals", names=dns("CAPITALS.Pairs.Test"))
simple("underscore", "`_` in a name", host="under_score.pairs.test", more={"host": "under_score.pairs.test", "domains": ["under_score.pairs.test"]},
       why="For Java it is no name")
simple("odd-name", "a blank in one of the names", names=dns("a b.pairs.test", "odd-name.pairs.test"))
simple("no-subject", "no subject, critical alternative names", subject=common_name(""), critical_names=True)
simple("far-end", "valid until 9999-12-31", ends=dt.datetime(9999, 12, 31, 23, 59, 59))
simple("long-serial", "a serial number of 20 octets", serial=(1 << 158) + 1)
write("oddity.csr", openssl("req", "-new", "-key", write("oddity.key", key_pem(oddity := p256())), "-subj", "/CN=server"))
write("oddity.ca", pem(I) + key_pem(inter.key))
signed = lambda *words: pem(openssl("x509", "-req", "-in", "oddity.csr", "-CA", "oddity.ca", "-CAkey", "oddity.ca", "-days", "90", *words))
extensions = lambda id: ["-extfile", write(f"{id}.ext", f"subjectAltName=DNS:{id}.pairs.test\nextendedKeyUsage=serverAuth\n".encode())]
chain("version-1", "X.509 version 1; the common name is the host",
      [openssl("x509", "-req", "-in", write("v1.csr", openssl("req", "-new", "-key", "oddity.key", "-subj", "/CN=version-1.pairs.test")),
               "-CA", "oddity.ca", "-CAkey", "oddity.ca", "-set_serial", "7", "-days", "90"), I], oddity, [R],
      "Go looks at alternative names alone, which it cannot have. Today's libraries need not take it, and rustls does not")
chain("negative-serial", "a negative serial number", [signed("-set_serial", "-5", *extensions("negative-serial")), I], oddity, [R],
      "Go refuses to parse it (RFC 5280 §4.1.2.2)")
chain("serial-0", "serial number 0", [signed("-set_serial", "0", *extensions("serial-0")), I], oddity, [R])
self_key = p256()
alone = lambda id, **options: make(common_name(options.pop("common", id + ".pairs.test")), self_key,
                                   type("", (), {"name": common_name(id + ".pairs.test"), "key": self_key}), **options)
certificate = alone("self-signed", ca=True, names=dns("self-signed.pairs.test"))
chain("self-signed", "self-signed as by `openssl req -x509`, and trusted", [certificate], self_key, [certificate])
certificate = alone("self-signed-no-ca", ca=False, names=dns("self-signed-no-ca.pairs.test"))
chain("self-signed-no-ca", "self-signed with CA:FALSE, and trusted", [certificate], self_key, [certificate])
certificate = alone("self-signed-strange", ca=True, names=dns("self-signed-strange.pairs.test"))
chain("self-signed-strange", "self-signed, and not trusted", [certificate], self_key, [R], "Who trusts it is for clients to say: it serves with a warning")
certificate = alone("self-signed-no-names", ca=True)
chain("self-signed-no-names", "self-signed without alternative names, and trusted", [certificate], self_key, [certificate],
      "Go looks at alternative names alone")

# ---- keys and signatures ------------------------------------------------------------------------------------------
group("Keys and signatures")
simple("rsa-2048", "RSA 2048", key=rsa_keys[0])
simple("rsa-4096", "RSA 4096", key=rsa.generate_private_key(65537, 4096))
simple("rsa-1024", "RSA 1024", key=rsa.generate_private_key(65537, 1024), more={"server": "openssl"},
       why="Too short (Baseline Requirements §6.1.5). Debian's OpenSSL, and curl with it, refuse it; others of them may not")
simple("rsa-exponent-3", "RSA 2048 with the exponent 3", key=rsa.generate_private_key(3, 2048))
simple("p384", "ECDSA P-384", key=ec.generate_private_key(ec.SECP384R1()))
simple("p521", "ECDSA P-521", key=ec.generate_private_key(ec.SECP521R1()))
simple("p224", "ECDSA P-224", key=ec.generate_private_key(ec.SECP224R1()), more={"server": "openssl"})
simple("secp256k1", "ECDSA secp256k1", key=ec.generate_private_key(ec.SECP256K1()), more={"server": "openssl"})
simple("brainpool", "ECDSA brainpoolP256r1", key=ec.generate_private_key(ec.BrainpoolP256R1()), more={"server": "openssl"})
simple("ed25519", "Ed25519", key=ed25519.Ed25519PrivateKey.generate())
simple("ed448", "Ed448", key=ed448.Ed448PrivateKey.generate(), more={"server": "openssl"},
       why="Go knows no Ed448, nor does h2gate")
openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa-pss.key")
openssl("req", "-new", "-key", "rsa-pss.key", "-subj", "/CN=server", "-out", "rsa-pss.csr")
chain("rsa-pss", "an RSASSA-PSS key", [openssl("x509", "-req", "-in", "rsa-pss.csr", "-CA", "oddity.ca", "-CAkey", "oddity.ca", "-set_serial", "8",
      "-days", "90", *extensions("rsa-pss")), I], open(os.path.join(folder, "rsa-pss.key"), "rb").read(), [R],
      "Go knows no such keys, nor does rustls", server="openssl")


def signed_by(id, what, ca_key, why="", digest=sha256, **signing):
    ca = Ca(f"CA {id}", root, key=ca_key)
    simple(id, what, why, by=ca, above=(ca.certificate,), digest=digest, **signing)


pss = lambda digest, salt, mask=None: {"rsa_padding": padding.PSS(padding.MGF1(mask or digest), salt)}
signed_by("signed-rsa", "an ECDSA leaf, signed with RSA", rsa_keys[1])
signed_by("signed-rsa-sha512", "signed with RSA and SHA-512", rsa_keys[1], digest=sha512)
signed_by("signed-p256-sha512", "signed with P-256 and SHA-512", p256(), digest=sha512)
signed_by("signed-p384-sha256", "signed with P-384 and SHA-256", ec.generate_private_key(ec.SECP384R1()))
signed_by("signed-p384-sha512", "signed with P-384 and SHA-512", ec.generate_private_key(ec.SECP384R1()), digest=sha512)
signed_by("signed-p521-sha256", "signed with P-521 and SHA-256", ec.generate_private_key(ec.SECP521R1()))
signed_by("signed-ed25519", "signed with Ed25519", ed25519.Ed25519PrivateKey.generate())
signed_by("signed-ed448", "signed with Ed448", ed448.Ed448PrivateKey.generate(), "Go knows no Ed448")
signed_by("signed-brainpool", "signed with brainpoolP256r1", ec.generate_private_key(ec.BrainpoolP256R1()), "Go and Java know no such curves")
signed_by("signed-pss", "signed with RSA-PSS", rsa_keys[1], **pss(sha256, 32))
signed_by("signed-pss-salt-20", "signed with RSA-PSS, salt of 20 octets", rsa_keys[1], "Go knows salts as long as the hash", **pss(sha256, 20))
signed_by("signed-pss-mask", "signed with RSA-PSS, SHA-256 with a mask of SHA-384", rsa_keys[1], "Go knows masks of the same hash", **pss(sha256, 32, sha384))
weak = Ca("CA of 1024 bits", root, key=rsa.generate_private_key(65537, 1024))
simple("issuer-rsa-1024", "signed with RSA 1024", by=weak, above=(weak.certificate,),
       why="Too short (Baseline Requirements §6.1.5). Debian's OpenSSL, and curl with it, refuse it; others of them may not")
chain("signed-sha1", "signed with SHA-1", [signed("-sha1", "-set_serial", "9", *extensions("signed-sha1")), I], oddity, [R],
      "SHA-1 is broken. Java takes it from roots that are not its own")

# ---- files --------------------------------------------------------------------------------------------------------
leaf, key = inter.leaf("good")
other = p256()
CHAIN, KEY, one_line = pem(leaf, I), key_pem(key), lambda text: text.strip().replace(b"\n", b" ")
relabel = lambda text, old, new: text.replace(old + b"-----", new + b"-----")
sec1, pkcs1 = key_pem(key, ser.PrivateFormat.TraditionalOpenSSL), key_pem(rsa_keys[2], ser.PrivateFormat.TraditionalOpenSSL)
rsa_leaf, _ = inter.leaf("rsa", rsa_keys[2])
RSA = pem(rsa_leaf, I)
openssl_text = openssl("x509", "-text", given=pem(leaf))


def form(id, what, chain=None, key=None, why="", **more):
    """One file for both if `key` is None."""
    files = [write(id + ".chain", CHAIN if chain is None else chain), write(id + ".secret", KEY if key is None else key)]
    kind(id, what, "form", why, files=files, only_key=key is not None and chain in (None, RSA),
         host="rsa.pairs.test" if chain == RSA else "good.pairs.test", **more)


group("Files: how a pair is written")
TO_CONVERT = "h2gate names the command that converts it"
form("plain", "PEM as OpenSSL writes it")
form("crlf", "line breaks of Windows", CHAIN.replace(b"\n", b"\r\n"), KEY.replace(b"\n", b"\r\n"))
form("cr", "line breaks of old Macintosh", CHAIN.replace(b"\n", b"\r"), KEY.replace(b"\n", b"\r"), "Editors do so, and what is meant is plain")
form("no-last-break", "no line break at the end", CHAIN.rstrip(), KEY.rstrip())
form("byte-order-mark", "a byte order mark before the first line", b"\xef\xbb\xbf" + CHAIN, b"\xef\xbb\xbf" + KEY, "Editors on Windows write it")
form("text-around", "the text of `openssl x509 -text` around it", openssl_text + pem(I), b"Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n" + KEY)
form("dashes", "lines of dashes around it, as of `openssl s_client`", b"CONNECTED(00000003)\n---\nCertificate chain\n" + CHAIN + b"---\n")
blanks = lambda text, before, after: b"".join(before + line + after + b"\n" for line in text.splitlines())
form("blanks-after", "blanks at the ends of lines", blanks(CHAIN, b"", b"  "), blanks(KEY, b"", b"  "))
form("blanks-before", "blanks before each line, as copied from YAML", blanks(CHAIN, b"    ", b""), blanks(KEY, b"    ", b""), "What is meant is plain")
form("tab", "a tab after BEGIN", CHAIN.replace(b"BEGIN ", b"BEGIN\t"), KEY.replace(b"BEGIN ", b"BEGIN\t"), "What is meant is plain")
letters = lambda text: text.strip().replace(b"\n", b"\\n") + b"\n"
form("letters", "`\\n` in letters, and one true line break", letters(CHAIN), letters(KEY), "Forms and shells do so, and what is meant is plain")
long = lambda text: b"".join(b"\n" + line + b"\n" if line.startswith(b"-") else line for line in text.splitlines())
form("long-lines", "all of base64 in one line", long(CHAIN), long(KEY))
form("one-line-key", "the key on one line with its boundaries", None, one_line(KEY))
form("one-line-chain", "the chain on one line with its boundaries", one_line(CHAIN), None)
form("joined", "END and BEGIN on one line", pem(leaf).rstrip() + pem(I), None)
form("cut", "a chain cut off in its second certificate", CHAIN[: len(pem(leaf)) + 200], None,
     "Somebody is still writing. OpenSSL and Go serve the leaf alone")
form("empty", "an empty chain", b"", None)
form("huge", "400 kB of text before the chain", b"#" * 63 * 6400 + b"\n" + CHAIN, None, "At most 256 KiB are read (`MAX_PEM_BYTES`): more is a trust store, or another file")
form("combined", "one file for chain and key", CHAIN + KEY, CHAIN + KEY)
form("key-first", "one file, the key first", KEY + CHAIN, KEY + CHAIN)
form("old-label", "the label `X509 CERTIFICATE`", relabel(CHAIN, b" CERTIFICATE", b" X509 CERTIFICATE"), None, "OpenSSL takes it")
form("trusted-label", "the label `TRUSTED CERTIFICATE`", openssl("x509", "-trustout", given=pem(leaf)) + openssl("x509", "-trustout", given=pem(I)), None, TO_CONVERT)
form("sec1", "a SEC1 key", None, sec1)
form("sec1-parameters", "a SEC1 key after its parameters", None, openssl("ecparam", "-name", "prime256v1") + sec1)
form("pkcs1", "a PKCS#1 key", RSA, pkcs1)
form("pkcs1-mislabelled", "a PKCS#1 key under `PRIVATE KEY`", RSA, relabel(pkcs1, b"RSA PRIVATE KEY", b"PRIVATE KEY"), "The content decides, as for Go")
form("sec1-mislabelled", "a SEC1 key under `PRIVATE KEY`", None, relabel(sec1, b"EC PRIVATE KEY", b"PRIVATE KEY"), "The content decides, as for Go")
form("pkcs8-mislabelled", "a PKCS#8 key under `RSA PRIVATE KEY`", RSA, relabel(key_pem(rsa_keys[2]), b"PRIVATE KEY", b"RSA PRIVATE KEY"), "The content decides, as for Go")
explicit = openssl("ec", "-param_enc", "explicit", given=sec1)
form("explicit-curve", "an EC key that spells its curve out", None, explicit, "RFC 5480 §2.1.1 forbids it, and Go does not read it")
form("two-keys", "another key, then the right one", None, key_pem(other) + KEY)
form("right-key-first", "the right key, then another one", None, KEY + key_pem(other), "Which one is meant is not to be guessed")
form("key-twice", "the key twice", None, KEY + KEY)
form("other-key", "the key of another certificate", None, key_pem(other))
form("exchanged", "chain and key exchanged", KEY, CHAIN)
form("encrypted", "an encrypted key, without its passphrase", None, key_pem(key, encryption=SEALED))
form("encrypted-old", "a key encrypted as before PKCS#8", None, key_pem(key, ser.PrivateFormat.TraditionalOpenSSL, SEALED))
form("broken-key", "ten letters of the key changed", None, KEY.replace(KEY[60:70], b"AAAAAAAAAA"))
form("der", "DER", der(leaf), key_der(key), TO_CONVERT)
form("der-base64", "base64 of DER without boundaries", encodebytes(der(leaf)), encodebytes(key_der(key)), TO_CONVERT)
form("pem-base64", "PEM in base64 once more", encodebytes(CHAIN), encodebytes(KEY), TO_CONVERT)
write("plain.crt", CHAIN)
form("pkcs7", "a PKCS#7 chain in PEM", openssl("crl2pkcs7", "-nocrl", "-certfile", "plain.crt"), None, TO_CONVERT)
form("pkcs7-der", "a PKCS#7 chain in DER", openssl("crl2pkcs7", "-nocrl", "-certfile", "plain.crt", "-outform", "der"), None, TO_CONVERT)
form("openssh", "a key as OpenSSH writes it", None, key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption()), TO_CONVERT)
form("utf-16", "UTF-16", CHAIN.decode().encode("utf-16"), KEY.decode().encode("utf-16"))
form("html", "an HTML page", b"<!DOCTYPE html><html><body>503 Service Unavailable</body></html>\n", None)
form("jks", "a Java key store", b"\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01" + bytes(300), None)

# ---- PKCS#12 ------------------------------------------------------------------------------------------------------
group("PKCS#12 in a secret")


def encryption(passphrase=PASSPHRASE, scheme=pkcs12.PBES.PBESv2SHA256AndAES256CBC, mac=sha256):
    return ser.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(2048).key_cert_algorithm(scheme).hmac_hash(mac).build(passphrase)


def container(id, what, data, why="", passphrase="changeit", **more):
    kind(id, what, "secret", why, files=[write(id + ".p12", data)], format="pkcs12", passphrase=passphrase,
         secret=write(id + ".secret", more.pop("text", b64encode(data))), **more)


def exported(*words, certificates=CHAIN, key=KEY):
    write("export.pem", certificates + key)
    return openssl("pkcs12", "-export", "-in", "export.pem", "-passout", "pass:changeit", *words)


bags = lambda certificates, encryption=None, key=key, leaf=leaf: pkcs12.serialize_key_and_certificates(
    b"server", key, leaf, certificates, encryption or globals()["encryption"]())
container("p12-modern", "AES-256 and SHA-256, as of OpenSSL 3 and Java 17", bags([I]))
container("p12-lines", "the same in base64 of several lines", bags([I]), text=encodebytes(bags([I])))
container("p12-3des", "3DES and SHA-1, as of Windows and OpenSSL 1", bags([I], encryption(scheme=pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, mac=hashes.SHA1())))
container("p12-rc2", "RC2 and SHA-1, as of old Java and macOS", exported("-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"),
          "RC2 with 40 bits protects nothing; OpenSSL 3 and curl want `-legacy` for it")
container("p12-wrong", "the passphrase of another container", bags([I], encryption(b"another")))
container("p12-no-mac", "no integrity check", exported("-nomac"), "OpenSSL decrypts none without the check. A passphrase that does so is proof enough")
container("p12-plain", "neither encrypted nor with a passphrase", exported("-certpbe", "NONE", "-keypbe", "NONE", "-nomac"), passphrase="")
container("p12-root", "with the root", bags([I, R]))
container("p12-swapped", "a chain in another order", bags([I, low.certificate], leaf=(l := low.leaf("p12")) [0], key=l[1]), host="p12.pairs.test")
container("p12-namesake", "two intermediates of one name, the wrong one first", bags([namesake.certificate, I]))
container("p12-superfluous", "with another CA's intermediate", bags([strange.certificate, I]))
container("p12-no-key", "certificates alone", exported("-nokeys", key=b""))
container("p12-no-certificate", "a key alone", exported("-nocerts", certificates=b""))
container("p12-other-key", "the key of another certificate", pkcs12.serialize_key_and_certificates(b"server", other, None, [leaf, I], encryption()))
container("p12-cut", "cut off", bags([I])[:700])
container("p12-pem", "PEM instead", CHAIN + KEY, "OpenSSL finds out what it is. For h2gate `format` says so", text=CHAIN + KEY)

# ---- secrets ------------------------------------------------------------------------------------------------------
group("JSON and PEM in a secret")


def secret(id, what, data, why="", format="json", like="good"):
    """One that cannot be used has a reason, and is not like anything that clients could be asked about."""
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    more = {} if why else {"like": like}
    kind(id, what, "secret", why, secret=write(id + ".secret", data), format=format, **more)


text = lambda data: data.decode()
both = {"certificate": text(CHAIN), "private_key": text(KEY)}
secret("json", "the fields `certificate` and `private_key`", both)
secret("json-more", "other fields beside them", {"a": [1, {"b": None}], **both, "z": 1.5})
secret("json-mark", "a byte order mark before it", b"\xef\xbb\xbf" + json.dumps(both).encode())
secret("json-letters", "`\\n` in letters, once too often escaped", {"certificate": text(letters(CHAIN)), "private_key": text(letters(KEY))})
secret("json-chain-field", "the leaf in `certificate`, its intermediate in `chain`", {"certificate": text(pem(leaf)), "private_key": text(KEY), "chain": text(pem(I))}, like="lone-leaf")
secret("json-chain-other", "the leaf in `certificate`, its intermediate in a field of another name",
       {"certificate": text(pem(leaf)), "private_key": text(KEY), "my_ca": text(pem(I))}, like="lone-leaf")
secret("json-base64", "PEM in base64 in the fields", {"certificate": text(b64encode(CHAIN)), "private_key": text(b64encode(KEY))}, TO_CONVERT)
secret("json-other-names", "other names of fields", {"cert": text(CHAIN), "key": text(KEY)}, "h2gate names the fields that are there; `fields` says which ones to take")
secret("json-null", "null for a key", {"certificate": text(CHAIN), "private_key": None}, "There is no key")
secret("json-string", "JSON in quotes", json.dumps(json.dumps(both)).encode(), "h2gate says so")
secret("json-cut", "cut off", json.dumps(both).encode()[:-40], "h2gate says so")
secret("json-twice", "a field twice", b'{"certificate": "", ' + json.dumps(both).encode()[1:], "What it means is not defined (RFC 8259 §4)")
secret("json-one-line", "the key on one line", {"certificate": text(CHAIN), "private_key": text(one_line(KEY))}, "h2gate says that line breaks are missing")
secret("pem", "PEM of chain and key", CHAIN + KEY, format="pem")
secret("pem-json", "JSON where PEM is configured", both, "`format` says what it is", format="pem")

# ---- ACME ---------------------------------------------------------------------------------------------------------
group("A CA's answer")
for id, what, like, why in [
    ("acme-good", "leaf, intermediate", "good", ""),
    ("acme-lone-leaf", "a leaf whose intermediate is missing", "lone-leaf", "A CA may issue from its root, and what it lacks nobody is still writing"),
    ("acme-with-root", "leaf, intermediate, root", "with-root", ""),
    ("acme-twice", "leaf, intermediate, intermediate", "twice", ""),
    ("acme-leaf-last", "intermediate, leaf", "leaf-last", ""),
    ("acme-superfluous", "leaf, another CA's intermediate, intermediate", "superfluous-first", ""),
    ("acme-foreign", "leaf, another CA's intermediate", "foreign-intermediate", ""),
    ("acme-crlf", "line breaks of Windows", "good", ""),
    ("acme-text", "text around the certificates", "good", ""),
    ("acme-other-leaf", "a certificate for another key", "", "It is not what was ordered"),
    ("acme-other-name", "a certificate for another name", "other-name", ""),
    ("acme-expired", "an expired certificate", "expired", ""),
    ("acme-cut", "cut off in the leaf", "", "There is no certificate in it"),
    ("acme-html", "an HTML page", "", "There is no certificate in it"),
]:
    kind(id, what, "acme", why, **({"like": like} if like else {}))

write("strange.pem", pem(strange.certificate))
write("kinds.json", json.dumps(kinds, indent=1).encode())
