#!/usr/bin/env bash
# Usage: deployment/eks/install.sh gpu|cpu
#
# Puts all that runs in the cluster of deployment/eks into it: charts, nodes' pools, and the service.
# May be run again, after a change of anything.
#
#   IMAGE        image of the service with Ray (required; docs/deploy-eks.md)
#   HOSTNAME     its name in the certificate and in DNS (required)
#   CERTIFICATE  ARN of the certificate in ACM (required)
#   SCHEME       internal (default) or internet-facing
#   CIDRS        networks that may reach it, comma-separated (default: 10.0.0.0/8)
#   PAGE_IMAGE, PAGE_HOSTNAME
#                image and name of the page (docs/ui.md; default: there is none). The certificate has
#                that name as well
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deployment/eks/functions.sh
source "$here/functions.sh"

GATEWAY_API=v1.6.3

flavour=${1:-}
[[ $flavour == gpu || $flavour == cpu ]] || fail "usage: install.sh gpu|cpu"
: "${IMAGE:?is the image, REGISTRY/REPOSITORY:TAG}"
: "${HOSTNAME:?is the name of the service, such as pictures.example.com}"
: "${CERTIFICATE:?is the ARN of its certificate in ACM}"
scheme=${SCHEME:-internal}
cidrs=${CIDRS:-10.0.0.0/8}
[[ $scheme == internal || $scheme == internet-facing ]] || fail "SCHEME must be internal or internet-facing, got $scheme"
[[ $CERTIFICATE == arn:aws*:acm:* ]] || fail "CERTIFICATE must be the ARN of a certificate in ACM, got $CERTIFICATE"
[[ $IMAGE == *:* && $IMAGE != *:latest ]] || fail "IMAGE must have a tag that does not move, got $IMAGE"
page_image=${PAGE_IMAGE:-}
[[ -z $page_image || ($page_image == *:* && $page_image != *:latest) ]] || fail "PAGE_IMAGE must have a tag that does not move, got $page_image"
[[ -z $page_image || -n ${PAGE_HOSTNAME:-} ]] || fail "PAGE_HOSTNAME must be the name of the page, such as studio.example.com"
need terraform aws kubectl helm openssl

# What kubectl makes of a folder, with the names of this cluster in the places of the examples'.
rendered() {
    kubectl kustomize "$1" | sed \
        -e "s|registry.example.com/stable_diffusion_fp[0-9]*:[0-9.]*|$IMAGE|" \
        -e "s|registry.example.com/stable_diffusion_ui:[0-9.]*|$page_image|" \
        -e "s|studio.example.com|${PAGE_HOSTNAME:-}|" \
        -e "s|s3://example-models/models|$(output model_source)|" \
        -e "s|role: pictures-engine-node|role: $(output engine_node_role)|" \
        -e "s|karpenter.sh/discovery: pictures|karpenter.sh/discovery: $cluster|" \
        -e "s|Deployment: pictures|Deployment: $cluster|" \
        -e "s|arn:aws:acm:us-east-1:123456789012:certificate/example|$CERTIFICATE|" \
        -e "s|pictures.example.com|$HOSTNAME|" \
        -e "s|scheme: internal|scheme: $scheme|" \
        -e "s|inbound-cidrs: 10.0.0.0/8|inbound-cidrs: $cidrs|"
}

# What a release gets beside its file of values.
settings() {
    case $1 in
    karpenter)
        printf -- '--set=%s\n' "settings.clusterName=$cluster" \
            "settings.interruptionQueue=$(output interruption_queue)"
        ;;
    aws-load-balancer-controller)
        printf -- '--set=%s\n' "clusterName=$cluster" "region=$region" "vpcId=$(output vpc_id)"
        ;;
    esac
}

install_chart() {
    local release=$1 in=$2 chart=$3 version=$4 repository=$5 source=() values=() more
    if [[ $repository == oci://* ]]; then
        source=("$repository/$chart")
    else
        source=("$chart" --repo "$repository")
    fi
    [[ ! -f $here/values/$release.yaml ]] || values=(--values "$here/values/$release.yaml")
    mapfile -t more < <(settings "$release")
    say "chart $release $version"
    helm upgrade --install "$release" "${source[@]}" --version "$version" \
        --namespace "$in" --create-namespace --wait --timeout 10m "${values[@]}" "${more[@]}"
}

# Made once, and never shown: Ray's token and Redis' password.
make_secrets() {
    local password
    if ! kubectl --namespace "$namespace" get secret ray-token >/dev/null 2>&1; then
        openssl rand -hex 32 | tr -d '\n' |
            kubectl --namespace "$namespace" create secret generic ray-token --from-file=auth_token=/dev/stdin
    fi
    if ! kubectl --namespace "$namespace" get secret redis >/dev/null 2>&1; then
        password=$(openssl rand -hex 32)
        kubectl apply --filename - <<SECRET
apiVersion: v1
kind: Secret
metadata: {name: redis, namespace: $namespace}
stringData:
  password: $password
  redis.conf: |
    dir /data
    appendonly yes
    requirepass $password
SECRET
    fi
}

connect
say "custom resources of the Gateway API $GATEWAY_API"
kubectl apply --server-side --filename \
    "https://github.com/kubernetes-sigs/gateway-api/releases/download/$GATEWAY_API/standard-install.yaml"
kubectl apply --filename "$here/cluster/storage.yaml"
while read -r release in chart version repository <&3; do
    install_chart "$release" "$in" "$chart" "$version" "$repository"
done 3< <(charts)
say "pools of nodes, and how gateways are made"
rendered "$here/cluster" | kubectl apply --filename -

say "the service"
kubectl apply --filename "$here/../kuberay/base/namespace.yaml"
make_secrets
kubectl --namespace monitoring create configmap stable-diffusion-dashboard \
    --from-file="$here/../grafana/stable-diffusion.json" --dry-run=client --output yaml |
    kubectl label --local --filename - grafana_dashboard=1 --dry-run=client --output yaml |
    kubectl apply --server-side --filename -
rendered "$here/../kuberay/overlays/$flavour" | kubectl apply --filename -
if [[ -n $page_image ]]; then
    say "the page"
    rendered "$here/../kuberay/page" | kubectl apply --filename -
fi
kubectl --namespace "$namespace" wait rayservice/stable-diffusion --for=condition=Ready --timeout=30m
say "https://$HOSTNAME is to be a CNAME of:"
kubectl --namespace "$namespace" get ingress stable-diffusion \
    --output 'jsonpath={.status.loadBalancer.ingress[0].hostname}{"\n"}'
if [[ -n $page_image ]]; then
    kubectl --namespace "$namespace" rollout status deployment/page --timeout=10m
    say "https://$PAGE_HOSTNAME is to be a CNAME of:"
    kubectl --namespace "$namespace" get ingress page \
        --output 'jsonpath={.status.loadBalancer.ingress[0].hostname}{"\n"}'
fi
