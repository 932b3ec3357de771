# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY toolhand.go ./
COPY tools.d ./tools.d
COPY cmd ./cmd
COPY internal ./internal
ARG VERSION=unknown
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath \
      -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" \
      -o /worker ./cmd/worker
# An empty directory to be owned by the user below, and so will its volume.
RUN mkdir -m 0700 /store

# The worker is one static binary. This base adds certificates, time zones and a
# user that is not root, but no shell: exec tools that are scripts, or need
# programs, take an image of their own,
#   FROM debian:stable-slim
#   COPY --from=toolhand /usr/bin/worker /usr/bin/worker
# with their programs and ca-certificates installed, and the lines below.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /worker /usr/bin/worker
COPY --from=build --chown=65532:65532 /store /var/lib/toolhand

# Configuration goes to /etc/toolhand/worker.yaml, manifests to
# /etc/toolhand/tools.d, a key file to wherever upstream.api_key_file says.
ENV TOOLHAND_TOOLS_DIR=/etc/toolhand/tools.d \
    TOOLHAND_LOG_FORMAT=json \
    STATE_DIRECTORY=/var/lib/toolhand
# The journal's promise (no call runs twice) holds as long as this volume lives.
VOLUME /var/lib/toolhand
WORKDIR /var/lib/toolhand
USER 65532:65532

# The worker drains on SIGTERM within shutdown.grace (30s): stop it with more
# patience than that (docker stop --time 40). As process 1 it reaps the orphans
# of its tools itself, so no init is needed.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/worker"]
CMD ["run"]
