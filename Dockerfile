# The daemon in a distroless image: no shell, no package manager, not root.
#   docker build -t sentinelops .
#   docker run --rm sentinelops demo --once

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# The toolchain file would fetch what the image already has.
COPY Cargo.toml Cargo.lock ./
COPY migrations migrations
COPY src src
# The cache mounts keep dependencies compiled between builds; the binary must leave them before the layer ends.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist --bin sentinelops \
    && install -D target/dist/sentinelops /out/usr/local/bin/sentinelops \
    && install -d -o 65532 -g 65532 -m 0700 /out/var/lib/sentinelops

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out /
COPY config.yaml LICENSE /etc/sentinelops/
WORKDIR /var/lib/sentinelops
VOLUME /var/lib/sentinelops
EXPOSE 8080 9201
STOPSIGNAL SIGTERM
# There is no curl here: the command asks the daemon's API, with the token of the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD \
    ["/usr/local/bin/sentinelops", "incidents", "list", "--json", "--url", "http://127.0.0.1:8080"]
ENTRYPOINT ["/usr/local/bin/sentinelops"]
CMD ["run", "--config", "/etc/sentinelops/config.yaml"]
