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
