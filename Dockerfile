# The production image: the binary without its sandbox, on a base that has glibc, CA roots and no shell.
#
#     docker build --tag pulse .

# For trying it out; what is deployed names both by digest (deploy/image.yaml).
# Both are Debian 12: the binary links to the glibc of the first and runs on that of the second.
ARG BUILD_IMAGE=rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS dependencies
WORKDIR /pulse
# The dependencies are compiled for empty crates, so that their layer stays while only the source changes.
COPY Cargo.toml Cargo.lock ./
COPY crates/account-reader/Cargo.toml crates/account-reader/
COPY crates/sandbox/Cargo.toml crates/sandbox/
RUN mkdir src crates/account-reader/src crates/sandbox/src \
 && touch src/lib.rs crates/account-reader/src/lib.rs crates/sandbox/src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --locked --release --package alpaca-pulse --no-default-features

FROM dependencies AS build
# Of which commit the sources are: no repository comes with them. Part of the version, in `pulse --version` and `ops/last_pulse`.
ARG PULSE_COMMIT=
COPY build.rs ./
COPY crates/account-reader/src crates/account-reader/src
COPY src src
# Files keep their time, and cargo takes what is older than the empty crate's build for built.
RUN touch crates/account-reader/src/lib.rs src/lib.rs src/main.rs \
 && cargo build --locked --release --package alpaca-pulse --no-default-features

FROM ${RUNTIME_IMAGE}
COPY --from=build /pulse/target/release/pulse /pulse
# The base image's own; by number, for whoever brings another base.
USER 65532:65532
ENTRYPOINT ["/pulse"]
CMD ["sync"]
