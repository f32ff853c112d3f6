#!/usr/bin/env bash
# Usage: deployment/eks/cleanup.sh
#
# Takes down what install.sh has put into the cluster, in the order in which it may go, and sees that
# nothing in AWS is left that Terraform does not know: load balancer, instances, disks. Then
# `terraform destroy` may follow. May be run again.
#
#   WAIT   seconds for each thing to go (default: 900)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deployment/eks/functions.sh
source "$here/functions.sh"

wait=${WAIT:-900}

need terraform aws kubectl helm
connect

delete() {
    say "delete $*"
    kubectl delete --ignore-not-found --wait --timeout "${wait}s" "$@"
}

# Who would do it is not there (any more): nothing to delete.
delete_custom() {
    local kind=$1
    shift
    if kubectl get crd "$kind" >/dev/null 2>&1; then
        delete "$kind" "$@"
    fi
}

# The load balancer first, as long as its controller is there; then what runs; then its nodes, as
# long as Karpenter is there; then the operators.
delete --namespace "$namespace" ingress --all
delete_custom rayjobs.ray.io --namespace "$namespace" --all
delete_custom rayservices.ray.io --namespace "$namespace" --all
delete_custom rayclusters.ray.io --namespace "$namespace" --all
delete_custom nodepools.karpenter.sh --all
delete_custom nodeclaims.karpenter.sh --all
delete_custom ec2nodeclasses.karpenter.k8s.aws --all
delete namespace "$namespace"
# Disks of claims go with their namespaces, as long as the driver is there.
while read -r release in _ <&3; do
    say "chart $release"
    helm uninstall "$release" --namespace "$in" --ignore-not-found --wait --timeout "${wait}s"
done 3< <(charts | tac)
delete namespace monitoring istio-system kuberay-operator

# What AWS has left with this cluster's tags.
left() {
    aws elbv2 describe-load-balancers --region "$region" \
        --query "LoadBalancers[?VpcId=='$(output vpc_id)'].LoadBalancerArn" --output text
    aws ec2 describe-instances --region "$region" \
        --filters "Name=tag:aws:eks:cluster-name,Values=$cluster" Name=tag-key,Values=karpenter.sh/nodepool \
        Name=instance-state-name,Values=pending,running,stopping,shutting-down,stopped \
        --query 'Reservations[].Instances[].InstanceId' --output text
    aws ec2 describe-volumes --region "$region" \
        --filters "Name=tag:kubernetes.io/cluster/$cluster,Values=owned" Name=tag-key,Values=kubernetes.io/created-for/pvc/name \
        --query 'Volumes[].VolumeId' --output text
    aws ec2 describe-security-groups --region "$region" \
        --filters "Name=tag:elbv2.k8s.aws/cluster,Values=$cluster" \
        --query 'SecurityGroups[].GroupId' --output text
}

deadline=$((SECONDS + wait))
while rest=$(left) || fail "AWS did not say what is left"; rest=$(grep --only-matching '[^[:space:]]\+' <<<"$rest" || true); [[ -n $rest ]]; do
    ((SECONDS < deadline)) || fail "left in AWS, and in the way of terraform destroy: ${rest//$'\n'/ }"
    say "still there: ${rest//$'\n'/ }"
    sleep 10
done
say "nothing is left but what Terraform has made; to destroy that:"
say "    terraform -chdir=$here destroy -var-file=..."
