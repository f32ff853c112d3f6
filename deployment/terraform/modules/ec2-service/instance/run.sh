#!/bin/bash
# The container of stable-diffusion.service. Secrets are read at each start, and kept in memory only.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
instance=$(cat /var/lib/cloud/data/instance-id)
keys=/run/stable-diffusion

# secret ssm:NAME|secretsmanager:NAME: its value
secret() {
    case $1 in
        ssm:*) aws ssm get-parameter --region "$AWS_REGION" --with-decryption \
            --name "${1#*:}" --query Parameter.Value --output text ;;
        secretsmanager:*) aws secretsmanager get-secret-value --region "$AWS_REGION" \
            --secret-id "${1#*:}" --query SecretString --output text ;;
    esac
}

options=(
    --rm --name stable-diffusion
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

if [[ -n $API_KEYS ]]; then
    # In memory, for the container's user alone.
    install --directory --mode 0711 "$keys"
    (umask 077 && secret "$API_KEYS" >"$keys/api-keys")
    [[ -s $keys/api-keys ]]
    chown 1034 "$keys/api-keys"
    options+=(--volume "$keys:/run/secrets:ro")
fi

for secret in $SECRETS; do
    variable=${secret%%=*}
    value=$(secret "${secret#*=}")
    export "$variable=$value"
    # Without a value docker takes that of its own environment.
    options+=(--env "$variable")
done

exec docker run "${options[@]}" "$IMAGE"
