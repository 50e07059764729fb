#!/usr/bin/env bash
# Builds docker/pypi.Dockerfile without a container daemon, runs the image as its own user, has it
# answer, reports its size, and leaves nothing behind. Needs root, buildah, debootstrap and curl.
# Where there is a daemon (Docker or podman), the same image comes from
#   docker build -f docker/pypi.Dockerfile -t countersign .
#
# Arguments go to `buildah bud`, for networks whose package index needs certificates or settings:
#   docker/build_and_try.sh --volume /etc/ssl/certs:/etc/ssl/certs:ro
# COUNTERSIGN_HTTP_PORT, COUNTERSIGN_GRPC_PORT and COUNTERSIGN_METRICS_PORT choose other ports.
set -euo pipefail
cd "$(dirname "$0")/.."

START_LIMIT_S=120
url=127.0.0.1:${COUNTERSIGN_HTTP_PORT:-8000}
ports=(
  --env COUNTERSIGN_ALLOW_ANYONE=1 # to listen on all interfaces, as the image does
  --env "COUNTERSIGN_HTTP_PORT=${COUNTERSIGN_HTTP_PORT:-8000}"
  --env "COUNTERSIGN_GRPC_PORT=${COUNTERSIGN_GRPC_PORT:-8001}"
  --env "COUNTERSIGN_METRICS_PORT=${COUNTERSIGN_METRICS_PORT:-8002}"
)

work=$(mktemp -d --suffix=-countersign)
mkfifo "$work/stop"
exec 3<>"$work/stop"
container=

buildah() { command buildah --root "$work/storage" --runroot "$work/run" "$@"; }
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }
clean() {
  exec 3>&- # the end of its input: the container stops the server
  wait || true
  [ -z "$container" ] || buildah rm "$container" >/dev/null
  rm -rf "$work"
}
trap clean EXIT

quietly debootstrap --variant=minbase \
  --include=python3,python3-venv,libpython3.11,ca-certificates bookworm "$work/base"
# as in Debian's own container images: no package lists, logs, documentation, translations
rm -rf "$work"/base/var/{cache/apt,lib/apt/lists,log}/* "$work"/base/usr/share/{doc,man,locale}/*
printf 'FROM scratch\nADD . /\n' >"$work/Dockerfile"
quietly buildah bud --isolation chroot -f "$work/Dockerfile" -t bookworm "$work/base"
say "built the base"

quietly buildah bud --isolation chroot --network host --format docker -f docker/pypi.Dockerfile \
  --build-arg BASE=localhost/bookworm -t countersign "$@" .
say "built the image, $(buildah images --format '{{.Size}}' countersign)"
container=$(buildah from countersign)
root=$(buildah mount "$container")
(cd "$root" && du -sm countersign/* opt/venv/lib/python3*/site-packages/* | sort -rn | head -12)
buildah umount "$container" >/dev/null

began=$SECONDS
# shellcheck disable=SC2016  # the container's shell expands it
buildah run --isolation chroot --network host "${ports[@]}" "$container" -- \
  sh -c 'id; exec 4<&0; { read -r _ <&4; kill -TERM $$; } & exec python -m server' <"$work/stop" 3>&- &
until python3 -m server ready --url "$url" 2>"$work/log"; do
  if [ $((SECONDS - began)) -gt $START_LIMIT_S ] || ! kill -0 $! 2>/dev/null; then
    cat "$work/log" >&2
    exit 1
  fi
  sleep 0.5
done
say "the samples' answers are right, after $((SECONDS - began)) s"

{ printf '{"image": "' && base64 -w0 server/samples/captcha_plain.png && printf '"}'; } |
  curl -sS --fail-with-body -d @- "$url/v2/models/captcha_reader/generate"
echo
exec 3>&-
wait $!
say "stopped, exit status 0"
