#!/usr/bin/env bash
# Usage: deployment/eks/simulate.sh [ramp|burst|diurnal [SECONDS]]
#
# Drives the service and draws replicas and nodes against load, while it prints pods and nodes as they
# come and go.
#
#   URL       of the service (default: https:// and the host of its Ingress)
#   API_KEY   the key of the load, where the service has keys
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deployment/eks/functions.sh
source "$here/functions.sh"

profile=${1:-ramp}
duration=${2:-900}
[[ $profile == ramp || $profile == burst || $profile == diurnal ]] || fail "the profile is ramp, burst or diurnal, got $profile"
[[ $duration =~ ^[1-9][0-9]*$ ]] || fail "the duration is in seconds, got $duration"

need terraform aws kubectl
connect
url=${URL:-https://$(kubectl --namespace "$namespace" get ingress stable-diffusion --output 'jsonpath={.spec.rules[0].host}')}

kubectl --namespace "$namespace" get pods --selector ray.io/group=engine --watch-only --output-watch-events &
pods=$!
kubectl get nodes --selector stable-diffusion/pool --watch-only --output-watch-events &
nodes=$!
trap 'kill "$pods" "$nodes" 2>/dev/null || true; rm -f "$KUBECONFIG"' EXIT

cd "$here/../.."
"${PYTHON:-.venv/bin/python}" -m benchmarks simulate --url "$url" --profile "$profile" --duration "$duration"
