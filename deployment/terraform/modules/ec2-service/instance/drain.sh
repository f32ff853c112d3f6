#!/bin/bash
# stable-diffusion-drain.service: ends the service in order when the instance is about to go, be it
# by the Auto Scaling group or by an interruption of a spot instance.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
instance=$(cat /var/lib/cloud/data/instance-id)
metadata=http://169.254.169.254/latest

# metadata PATH: nothing if there is no such thing (yet)
metadata() {
    local token
    token=$(curl --silent --fail --max-time 2 --request PUT "$metadata/api/token" \
        --header "X-aws-ec2-metadata-token-ttl-seconds: 60") || return 0
    curl --silent --fail --max-time 2 --header "X-aws-ec2-metadata-token: $token" \
        "$metadata/meta-data/$1" || return 0
}

while true; do
    state=$(metadata autoscaling/target-lifecycle-state)
    interruption=$(metadata spot/instance-action)
    if [[ $state == Terminated || -n $interruption ]]; then
        break
    fi
    sleep 5
done

echo "the instance is going: ${interruption:-$state}"
systemctl stop stable-diffusion
aws autoscaling complete-lifecycle-action --region "$AWS_REGION" \
    --auto-scaling-group-name "$ASG_NAME" --lifecycle-hook-name drained \
    --instance-id "$instance" --lifecycle-action-result CONTINUE ||
    echo "the Auto Scaling group does not wait for it"
