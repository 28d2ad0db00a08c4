# Dormouse without a broker: docker build -t dormouse .
# DORMOUSE_SERVICE_ROLES says what it does (worker, index, api, webhooks, console); a worker is the default.
FROM rust:1-slim-bookworm AS build
WORKDIR /dormouse
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY crates crates
COPY src src
# what is built once stays for the next image
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/dormouse/target \
    cargo build --release --locked --bin dormouse \
    && strip -o /usr/local/bin/dormouse target/release/dormouse

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --shell /usr/sbin/nologin dormouse \
    # for the file of an index: a volume that is mounted here becomes the user's own
    && install --directory --owner=dormouse --group=dormouse /var/lib/dormouse
COPY --from=build /usr/local/bin/dormouse /usr/local/bin/dormouse
USER dormouse
# the defaults are 127.0.0.1, which nobody outside of the container reaches. With the role api it starts only if
# DORMOUSE_API_CERT_FILE and DORMOUSE_API_KEY_FILE, or DORMOUSE_API_TRUSTED_PROXIES, are set
ENV DORMOUSE_HTTP_LISTEN=0.0.0.0:15790 DORMOUSE_API_LISTEN=0.0.0.0:15791
EXPOSE 15790 15791
# not ready: no broker, an alarm of the broker, or stopping; the process itself is alive all the same
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/15790 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["dormouse"]
CMD ["run"]
