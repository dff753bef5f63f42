#!/bin/sh
# The fixtures of other formats, made anew: ./make.sh (needs openssl 3, ssh-keygen, keytool). Throwaway keys.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# SEC1 without the parameters before it.
{ cat "$work/cert.pem"; openssl ec -in "$work/key.pem" 2>/dev/null; } > sec1_alone.pem

openssl crl2pkcs7 -nocrl -certfile "$work/cert.pem" -out chain.p7b
openssl crl2pkcs7 -nocrl -certfile "$work/cert.pem" -outform der -out chain.p7b.der
base64 "$work/cert.pem" > chain.pem.base64
ssh-keygen -q -t ecdsa -b 256 -N '' -C '' -f "$work/ssh"
cp "$work/ssh" openssh_key.pem
keytool -genkeypair -storetype JKS -keystore "$work/store.jks" -storepass changeit -keypass changeit -alias a \
    -keyalg EC -dname CN=localhost 2>/dev/null
cp "$work/store.jks" store.jks

# A leaf that a root of version 1 has signed. No -extfile: openssl writes version 1 then.
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Root of version 1" -keyout "$work/root.key" \
    -out "$work/root.csr" 2>/dev/null
openssl x509 -req -in "$work/root.csr" -signkey "$work/root.key" -days 36500 -out "$work/root.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=a.test -keyout "$work/leaf.key" \
    -out "$work/leaf.csr" 2>/dev/null
echo subjectAltName=DNS:a.test > "$work/leaf.ext"
openssl x509 -req -in "$work/leaf.csr" -CA "$work/root.pem" -CAkey "$work/root.key" -CAcreateserial -days 36500 \
    -extfile "$work/leaf.ext" -out "$work/leaf.pem" 2>/dev/null
cat "$work/leaf.pem" "$work/root.pem" "$work/leaf.key" > root_of_version_1.pem
