#!/bin/bash
# secret ssm:NAME|secretsmanager:NAME: prints the value.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
case $1 in
    ssm:*) aws ssm get-parameter --region "$AWS_REGION" --with-decryption \
        --name "${1#*:}" --query Parameter.Value --output text ;;
    secretsmanager:*) aws secretsmanager get-secret-value --region "$AWS_REGION" \
        --secret-id "${1#*:}" --query SecretString --output text ;;
esac
