#!/usr/bin/env bash
# Usage: deployment/container/build.sh BENTO:TAG    the image of the same name and tag
#
#   BACKEND   docker or podman (default: docker if it is there)
#   SBOM      file for the bill of materials of the image's packages, Python's and Debian's (CycloneDX,
#             JSON)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bento=$1
backend=${BACKEND:-$(command -v docker >/dev/null && echo docker || echo podman)}
sbom=${SBOM:+$(realpath "$SBOM")}

# The other format, which is podman's default, has no health checks.
export BUILDAH_FORMAT=docker
# BentoML reads the Dockerfile's template in a temporary folder, and refuses what is not below the
# current one.
cd "${TMPDIR:-/tmp}"
"$root/.venv/bin/bentoml" containerize "$bento" --image-tag "$bento" --backend "$backend" \
    --opt network=host
if [[ -n $sbom ]]; then
    inside() { "$backend" run --rm --network none --entrypoint "$1" "$bento" "${@:2}"; }
    inside pip freeze |
        "$root/.venv/bin/cyclonedx-py" requirements --output-reproducible --output-file "$sbom" -
    inside dpkg-query --show --showformat '${Package} ${Version} ${Architecture}\n' |
        "$root/.venv/bin/python" "$root/deployment/container/debian_packages.py" "$sbom"
fi
