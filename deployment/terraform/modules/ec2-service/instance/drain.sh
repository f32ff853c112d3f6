#!/bin/bash
# stable-diffusion-drain.service: ends the service in order when the instance is about to go, be it
# by the Auto Scaling group or by an interruption of a spot instance. First no more requests come, then
# those that are here end, then the jobs.
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

# How many requests are being responded to; none where nobody says.
requests() {
    curl --silent --fail --max-time 5 "http://127.0.0.1:$PORT/metrics" |
        awk '/^bentoml_api_server_request_in_progress/ && !/endpoint="\/(metrics|livez|readyz|healthz)"/ { sum += $NF }
            END { print sum + 0 }' || echo 0
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
systemctl stop stable-diffusion-watch
# While the service ends it refuses new work, and fast: the load balancer would prefer it.
aws elbv2 deregister-targets --region "$AWS_REGION" --targets "Id=$instance" \
    --target-group-arn "$(cat /etc/stable-diffusion/target-group)" ||
    echo "the load balancer still sends requests, until its check fails"
sleep 10
if [[ -z $interruption ]]; then
    # What has come may take as long as it always may. A spot instance has not got that time.
    for ((second = 0; second < PATIENCE; second += 5)); do
        [[ $(requests) != 0 ]] || break
        sleep 5
    done
fi
systemctl stop stable-diffusion

# The group may not be waiting yet. Where it never does (an interruption) this ends with the instance.
for ((second = 0; second < PATIENCE; second += 5)); do
    if aws autoscaling complete-lifecycle-action --region "$AWS_REGION" \
        --auto-scaling-group-name "$ASG_NAME" --lifecycle-hook-name drained \
        --instance-id "$instance" --lifecycle-action-result CONTINUE; then
        exit 0
    fi
    sleep 5
done
echo "the Auto Scaling group does not wait for it"
