#!/usr/bin/env bash
# The whole way by bentoctl, without AWS: generate, build, push, apply and destroy, against moto (a
# server that responds as AWS does), a registry on this machine, and podman. Nothing may be left.
#
# Wants root, Debian's podman, buildah, runc, debootstrap and docker-registry, Terraform with a mirror
# of the AWS provider (TF_PLUGIN_DIR), `make bentoctl-tools` and `make deploy-tools`. The variables of
# ../container/podman.sh count, and PORT (default: 3000): this one and the next are used.
#
# Usage: deployment/bentoctl/proof.sh      (make bentoctl-test)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=deployment/container/podman.sh
. "$root/deployment/container/podman.sh"
port=${PORT:-3000}
registry=$((port + 1))
aws=http://127.0.0.1:$port
tools=$root/.venv-deploy/bin/python
mock=$root/tests/e2e/deployment/mock_aws.py
bento=stable_diffusion_fp32:proof
host=123456789012.dkr.ecr.us-east-1.amazonaws.com
folder=$WORK/bentoctl
programs=()

clean() {
    ((${#programs[@]} == 0)) || kill "${programs[@]}" 2>/dev/null || true
    rm -rf "$folder"
}
trap clean EXIT
rm -rf "$folder"
mkdir -p "$folder/deployment" "$folder/registry"

cat >"$folder/registries.conf" <<END
[[registry]]
location = "$host"
insecure = true
END
cat >"$folder/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $folder/registry}}
http: {addr: 127.0.0.1:$registry}
END
export CONTAINERS_REGISTRIES_CONF=$folder/registries.conf
docker-registry serve "$folder/registry.yml" >"$folder/registry.log" 2>&1 &
programs+=($!)
# bentoctl pushes through docker's socket, which podman can be. Where it would ask the registry of AWS,
# by HTTP as it is called insecure, it is told that the one here is the proxy.
HTTP_PROXY=http://127.0.0.1:$registry podman system service --time 0 "unix://$folder/docker.sock" >"$folder/podman.log" 2>&1 &
programs+=($!)
mkfifo "$folder/hold"
"$tools" "$mock" serve "$port" <"$folder/hold" >"$folder/aws.log" 2>&1 &
programs+=($!)
exec 9>"$folder/hold"
until grep --quiet ready "$folder/aws.log"; do sleep 0.5; done

export AWS_ENDPOINT_URL=$aws AWS_ACCESS_KEY_ID=mock AWS_SECRET_ACCESS_KEY=mock
export AWS_DEFAULT_REGION=us-east-1 NO_PROXY=127.0.0.1
export BENTOML_HOME=$WORK/bentoml BENTOML_DO_NOT_TRACK=True BENTOCTL_HOME=$folder/home
unset BENTOML_CONFIG # the service's, which bentoctl's older BentoML has no use for
export DOCKER_HOST=unix://$folder/docker.sock
export PATH=$root/deployment/bentoctl/podman:$root/.venv-bentoctl/bin:$PATH
[[ -z ${TF_PLUGIN_DIR-} ]] || export TF_CLI_ARGS_init="-plugin-dir=$TF_PLUGIN_DIR"

mkdir -p "$BENTOML_HOME"
(cd "$root" && .venv/bin/python -m deployment.bento --base-image "$BASE_IMAGE" --version "${bento#*:}" 2>"$folder/bento.log")
base_image
before=$("$tools" "$mock" inventory "$aws")

cd "$folder/deployment"
sed -e 's/instance_type: .*/instance_type: c6i.2xlarge/; s/enable_gpus: .*/enable_gpus: false/' \
    "$root/deployment/bentoctl/deployment_config.yaml" >deployment_config.yaml
bentoctl operator install "$root/deployment/bentoctl/operator"
bentoctl generate
bentoctl build --bento-tag "$bento"
grep image_uri bentoctl.tfvars
bentoctl apply --auto-approve
during=$("$tools" "$mock" inventory "$aws")
podman rmi --force "$host/stable-diffusion:${bento#*:}" >/dev/null
HTTP_PROXY=http://127.0.0.1:$registry podman pull --quiet "$host/stable-diffusion:${bento#*:}"
terraform output
bentoctl destroy --auto-approve
after=$("$tools" "$mock" inventory "$aws")

[[ $during != "$before" ]] || { echo "error: nothing was made" >&2 && exit 1; }
[[ $after == "$before" ]] || {
    printf 'error: something is left\n%s\n%s\n' "$before" "$after" >&2
    exit 1
}
echo "nothing is left"
