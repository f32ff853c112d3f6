#!/bin/bash
# stable-diffusion-watch.service: asks for another instance where the service is not ready for minutes.
# A restart of the container takes less, and only keeps the load balancer away. Every five minutes it
# also looks whether the clients' keys have changed, and every minute whether a GPU is broken.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
instance=$(cat /var/lib/cloud/data/instance-id)
folder=/run/stable-diffusion-watch
limit=300

# What the driver has said since the last time (Xids), but for what a program does to itself: 13, 31,
# 43 and 45. An alarm waits for lines that begin so.
gpu_faults() {
    [[ $GPUS == true ]] || return 0
    install --directory "$folder"
    journalctl --dmesg --quiet --output cat --cursor-file "$folder/kernel" |
        awk -v group="$ASG_NAME" '/NVRM: Xid/ && !/\): (13|31|43|45),/ { print "gpu-fault:", group, $0 }'
}

absent=0
for ((turn = 1; absent < limit; turn++)); do
    sleep 15
    ((turn % 4 != 0)) || gpu_faults || echo "the kernel's log cannot be read"
    ((turn % 20 != 0)) || /opt/stable-diffusion/keys || echo "the keys stay as they are"
    if curl --silent --fail --max-time 10 --output /dev/null "http://127.0.0.1:$PORT/readyz"; then
        absent=0
    else
        absent=$((absent + 15))
    fi
done
echo "the service has not been ready for $limit s; asking for another instance"
# A failure of this ends the program, and systemd starts it again.
aws autoscaling set-instance-health --region "$AWS_REGION" --instance-id "$instance" \
    --health-status Unhealthy --no-should-respect-grace-period
