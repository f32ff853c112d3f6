# What install.sh, cleanup.sh and simulate.sh share; they have set here, the folder of deployment/eks.
# shellcheck shell=bash disable=SC2034,SC2154

namespace=stable-diffusion

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "$program is not installed"
    done
}

output() {
    terraform -chdir="$here" output -raw "$1"
}

# A kubeconfig of this run's own: no command can reach another cluster.
connect() {
    cluster=$(output cluster_name) || fail "there is no cluster: terraform apply comes first"
    region=$(output region)
    KUBECONFIG=$(mktemp)
    export KUBECONFIG
    trap 'rm -f "$KUBECONFIG"' EXIT
    aws eks update-kubeconfig --name "$cluster" --region "$region" --kubeconfig "$KUBECONFIG" >/dev/null
}

# The lines of charts.txt, without comments.
charts() {
    grep --invert-match --extended-regexp '^(#|$)' "$here/charts.txt"
}
