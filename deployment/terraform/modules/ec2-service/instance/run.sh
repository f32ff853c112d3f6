#!/bin/bash
# The container of stable-diffusion.service. Secrets are read at each start, and kept in memory only.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
instance=$(cat /var/lib/cloud/data/instance-id)

options=(
    --rm --init --name stable-diffusion
    --publish "$PORT:3000"
    --env-file /etc/stable-diffusion/container.env
    --volume /var/lib/stable-diffusion/models:/models:ro
    --read-only --tmpfs /tmp
    --cap-drop ALL --security-opt no-new-privileges --pids-limit 4096
    --stop-timeout "$STOP_SECONDS"
    --log-driver awslogs --log-opt "awslogs-region=$AWS_REGION"
    --log-opt "awslogs-group=$LOG_GROUP" --log-opt "awslogs-stream=$instance/service"
    --log-opt mode=non-blocking --log-opt max-buffer-size=4m
)
[[ $GPUS != true ]] || options+=(--gpus all)

/opt/stable-diffusion/keys
[[ -z $API_KEYS ]] || options+=(--volume /run/stable-diffusion:/run/secrets:ro)

for secret in $SECRETS; do
    variable=${secret%%=*}
    value=$(/opt/stable-diffusion/secret "${secret#*=}")
    export "$variable=$value"
    # Without a value docker takes that of its own environment.
    options+=(--env "$variable")
done

exec docker run "${options[@]}" "$IMAGE"
