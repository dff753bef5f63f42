# Build:  docker build -t h2gate .      (or: buildah build -t h2gate .)
# Run:    docker run -p 8443:8443 -v $PWD/config:/etc/h2gate:ro -v h2gate-state:/var/lib/h2gate h2gate

FROM rust:1.95-bookworm AS build
WORKDIR /src
# The pinned toolchain is the image's own; rustup must not fetch another.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY Cargo.toml Cargo.lock rust-toolchain.toml clippy.toml ./
COPY http2 http2
COPY certstore certstore
COPY proto proto
COPY certmgr certmgr
COPY gateway gateway
COPY demo demo
COPY h2gate h2gate
COPY tests tests
RUN cargo build --release --locked -p h2gate && strip target/release/h2gate && mkdir -m 0700 /state

FROM debian:bookworm-slim
COPY --from=build /src/target/release/h2gate /usr/local/bin/h2gate
# Whom CAs' directories and AWS are believed by; slim images have none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# What must outlive the process. A volume that is new takes owner and mode from here.
COPY --from=build --chown=65532:65532 /state /var/lib/h2gate
VOLUME /var/lib/h2gate
# No shell, package or other file is needed at run time; the root file system may be read-only.
# Free memory goes back to the system within 100 ms instead of a second (the allocator's own setting).
ENV MIMALLOC_PURGE_DELAY=100
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["/usr/local/bin/h2gate"]
CMD ["run", "-c", "/etc/h2gate/h2gate.yaml"]
