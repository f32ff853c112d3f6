#!/usr/bin/env bash
# Proves the container where there is neither a registry nor docker: builds a CPU Bento and its image
# with podman, runs it as on a server (no root, read-only, no capabilities), asks it for pictures,
# kills it, starts it again, runs it as OpenShift does (any user of group 0, a mounted folder of
# models, the environment of deployment/kserve's runtime) with the clients of KServe and Triton, and
# beside it the page's image (page.sh), and writes down sizes and times. For podman.sh's variables see
# there.
#
#   PORT    of the service (default: 3000); the next one is the page's
#   KEEP    keep the folder afterwards, with the base image for the next time
#
# Usage: deployment/container/proof.sh      (make container-test)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=deployment/container/podman.sh
. "$root/deployment/container/podman.sh"
export BENTOML_HOME=$WORK/bentoml BENTOML_DO_NOT_TRACK=True
port=${PORT:-3000}
url=http://127.0.0.1:$port
python=$root/.venv/bin/python
container=stable-diffusion-proof
# shellcheck source=deployment/container/page.sh
. "$root/deployment/container/page.sh"

say() { printf '%-48s %s\n' "$1" "${2-}"; }
seconds() { say "$1" "$((SECONDS - begun)) s"; }

clean() {
    podman rm --force --ignore --volumes "$container" "$page" >/dev/null 2>&1 || true
    [[ -n ${KEEP-} ]] || { podman system reset --force >/dev/null && rm -rf "$WORK"; }
}
trap clean EXIT

# run NAME IMAGE OPTION...: run an image as on a server, with more options of podman's
run() {
    podman run --detach --name "$1" --network host \
        --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges "${@:3}" "$2" \
        >/dev/null 2>>"$WORK/podman.log" # podman says there that it has no systemd for health checks
}

# Not what it measures, which is something else on a busy machine: with one number of threads a picture
# made again is the same to the last bit.
start() {
    run "$container" "$image" --env "PORT=$port" --env SD_ALLOW_ANONYMOUS=true \
        --env SD_THREADS=1 --env SD_MAX_PIXELS=2400000 "$@"
}

# wait_for NAME URL: until it is 200; the container has to be alive meanwhile
wait_for() {
    for ((try = 0; try < 600; try++)); do
        curl --silent --fail --output /dev/null "$2" && return
        [[ $(podman inspect --format '{{.State.Running}}' "$1") == true ]] || break
        sleep 0.5
    done
    podman logs "$1" | tail -n 30
    say "$1 does not get ready"
    return 1
}

# ready [PATH]: wait for the service
ready() { wait_for "$container" "$url${1-/readyz}"; }

# stop NAME SECONDS: send it a SIGTERM; it has so long
stop() {
    begun=$SECONDS
    podman stop --time "$2" "$1" >/dev/null 2>>"$WORK/podman.log"
    say "$1 after SIGTERM" "exit code $(podman inspect --format '{{.State.ExitCode}}' "$1")"
    seconds "stopped"
}

# picture NAME: ask both endpoints with the same seed
picture() {
    curl --silent --show-error --fail -X POST "$url/txt2img" -H 'Content-Type: application/json' \
        -d '{"prompt":"a red apple on a blue background","seed":7}' --output "$WORK/$1-text.png"
    curl --silent --show-error --fail -X POST "$url/img2img" -F "img=@$WORK/$1-text.png" \
        -F data='{"prompt":"a green apple on a blue background","seed":7}' --output "$WORK/$1-image.png"
}

inside() { podman exec "$container" "$@"; }

begun=$SECONDS
base_image
seconds "base image"

mkdir -p "$BENTOML_HOME"
image=$(cd "$root" && "$python" -m deployment.bento --base-image "$BASE_IMAGE" 2>"$WORK/bento.log")
begun=$SECONDS
BACKEND=podman "$root/deployment/container/build.sh" "$image" >"$WORK/build.log" 2>&1 ||
    { tail -n 30 "$WORK/build.log" && exit 1; }
seconds "image built"
say "image" "$(podman image inspect --format '{{.Size}}' "$image" | numfmt --to=si --suffix=B)"

# What changes with the code is uploaded again, and nothing else. (The version is in it, too.)
begun=$SECONDS
podman image inspect --format '{{json .RootFS.Layers}}' "$image" >"$WORK/layers-before"
image=$(cd "$root" && "$python" -m deployment.bento --base-image "$BASE_IMAGE" --version changed 2>>"$WORK/bento.log")
BACKEND=podman "$root/deployment/container/build.sh" "$image" >>"$WORK/build.log" 2>&1
podman image inspect --format '{{json .RootFS.Layers}}' "$image" >"$WORK/layers-after"
seconds "built again after a change of the code"
"$python" - "$WORK" <<'END'
import json, pathlib, sys
before, after = (json.loads(pathlib.Path(sys.argv[1], f"layers-{name}").read_text())
                 for name in ("before", "after"))
kept = sum(one == other for one, other in zip(before, after))
print(f"{'layers kept, of ' + str(len(after)):<48} {kept}")
END
begun=$SECONDS
start
ready
seconds "ready"
picture first
[[ $(inside id --user) != 0 ]]
! inside touch /home/bentoml/bento/written 2>/dev/null || exit 1
[[ $(inside python -c 'import torch; print(torch.version.cuda)') == None ]]
say "user, root file system, torch" "$(inside id --user), read-only, $(inside python -c 'import torch; print(torch.__version__)')"
podman healthcheck run "$container"
say "health check" "passes"
curl --silent --fail "$url/models" | "$python" -c 'import json, sys; print("version", json.load(sys.stdin)["version"])'

begun=$SECONDS
podman kill --signal KILL "$container" >/dev/null 2>>"$WORK/podman.log"
podman wait "$container" >/dev/null
podman start "$container" >/dev/null 2>>"$WORK/podman.log"
ready
seconds "ready again after SIGKILL"
picture second
cmp "$WORK/first-text.png" "$WORK/second-text.png"
say "the same picture as before" "yes"

stop "$container" 130

page_is_built
page_is_alone

# As KServe and OpenShift run it: what the storage initializer would have put into /mnt/models, the
# environment and the emptyDirs of the ServingRuntime, and a user that the image does not know.
podman rm --volumes "$container" >/dev/null 2>>"$WORK/podman.log"
(cd "$root" && "$python" -m models export embedded "$WORK/models" >/dev/null)
chmod -R a+rX "$WORK/models"
rm -rf "$WORK/state" && mkdir --mode 0777 "$WORK/state"
"$python" - "$root/deployment/kserve/base/runtime.yaml" >"$WORK/runtime.env" <<'END'
import sys, yaml
(container,) = yaml.safe_load(open(sys.argv[1]))["spec"]["containers"]
for variable in container["env"]:
    print(f"{variable['name']}={variable['value'].replace('{{.Name}}', 'embedded')}")
END
begun=$SECONDS
start --user 1000680000:0 --env-file "$WORK/runtime.env" --volume "$WORK/models:/mnt/models:ro" \
    --volume "$WORK/state:/var/lib/bentoml" --env SD_MODEL_CONTROL=true # Triton's client loads models
ready /v2/health/ready
seconds "ready as user 1000680000 of group 0"
[[ $(inside id --user):$(inside id --group) == 1000680000:0 ]]
! inside touch /home/bentoml/bento/written 2>/dev/null || exit 1
picture third
cmp "$WORK/first-text.png" "$WORK/third-text.png"
say "the same picture as before" "yes"
for client in rest triton; do
    address=$url
    [[ $client == rest ]] || address=127.0.0.1:$port
    "$root/.venv-kserve/bin/python" -I "$root/tests/integration/kserve_clients/$client.py" \
        "$address" "$WORK/first-text.png" >"$WORK/$client.json"
done
"$python" - "$WORK" <<'END'
import json, pathlib, sys
rest, triton = (json.loads(pathlib.Path(sys.argv[1], f"{name}.json").read_text())
                for name in ("rest", "triton"))
assert rest["v1"]["made"] == [rest["v2"]["image"]]
assert all(answer[name] for answer in (rest["v2"], triton) for name in ("live", "ready", "model_ready"))
assert all(triton["compressed"]) and triton["image"].startswith(b"\x89PNG".hex())
END
say "clients of KServe (v1, v2) and Triton" "pass"

page_serves
stop "$page" 10
stop "$container" 130
