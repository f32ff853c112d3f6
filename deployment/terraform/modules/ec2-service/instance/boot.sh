#!/bin/bash
# First boot: from the bare AMI to a service whose /readyz is 200. Can be run again.
# Tells the Auto Scaling group how it went; on a failure the group replaces the instance.
# The log is cloud-init's: on the console, and in CloudWatch as INSTANCE/boot.
set -Eeuo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
models=/var/lib/stable-diffusion/models
instance_store=/opt/dlami/nvme
agent=/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl
current="find out which instance this is"

begin() {
    current=$1
    echo "stable-diffusion boot: $current"
}

# retry COMMAND...: five times, with 5, 10, 20 and 40 seconds in between
retry() {
    local pause
    for pause in 5 10 20 40; do
        "$@" && return
        echo "stable-diffusion boot: failed, again in $pause s: $1 ${2-}"
        sleep "$pause"
    done
    "$@"
}

# report CONTINUE|ABANDON: an instance that was booted again has nothing to report any more
report() {
    local answer
    answer=$(aws autoscaling complete-lifecycle-action --region "$AWS_REGION" \
        --auto-scaling-group-name "$ASG_NAME" --lifecycle-hook-name ready \
        --instance-id "$instance" --lifecycle-action-result "$1" 2>&1) ||
        [[ $answer == *"No active Lifecycle Action"* ]] || {
        echo "$answer"
        return 1
    }
}

# The brake: an image that does not boot would cost a GPU for ever. What is being rolled out goes back;
# without that the group launches nothing until the next roll-out.
brake() {
    local since failures
    ((BOOT_FAILURES > 0)) || return 0
    since=$(date --utc --date '-1 hour' +%Y-%m-%dT%H:%M:%S)
    failures=$(aws autoscaling describe-scaling-activities --region "$AWS_REGION" \
        --auto-scaling-group-name "$ASG_NAME" --no-paginate --max-records 100 --output text \
        --query "length(Activities[?StartTime>='$since' && contains(not_null(StatusMessage, ''), 'abandoned')])") || return
    ((failures + 1 >= BOOT_FAILURES)) || return 0
    echo "stable-diffusion boot: $((failures + 1)) boots have failed within an hour"
    if aws autoscaling rollback-instance-refresh --region "$AWS_REGION" --auto-scaling-group-name "$ASG_NAME"; then
        echo "stable-diffusion boot: the roll-out goes back"
    else
        aws autoscaling suspend-processes --region "$AWS_REGION" \
            --auto-scaling-group-name "$ASG_NAME" --scaling-processes Launch || return
        echo "stable-diffusion boot: the group launches nothing until the next roll-out"
    fi
}

finish() {
    local status=$?
    if ((status != 0)); then
        echo "stable-diffusion boot: FAILED to $current (status $status); asking for a replacement"
        # The agent sends the log every five seconds.
        sleep 15
        brake || echo "stable-diffusion boot: the group goes on trying"
        report ABANDON || echo "stable-diffusion boot: not reported; the hook's time limit will do it"
    fi
    exit "$status"
}

login() {
    local password
    password=$(aws ecr get-login-password --region "$REGISTRY_AREA") || return
    docker login --username AWS --password-stdin "$REGISTRY" <<<"$password"
}

# Now, as there is no time for it when a spot instance has to go.
find_target_group() {
    aws elbv2 describe-target-groups --region "$AWS_REGION" --names "$TARGET_GROUP" \
        --query 'TargetGroups[0].TargetGroupArn' --output text >/etc/stable-diffusion/target-group
}

wait_until_ready() {
    local restarts
    # What came before counts, too: the group's patience began with the instance.
    for ((second = SECONDS; second < START_SECONDS; second += 5)); do
        if curl --silent --fail --max-time 5 --output /dev/null "http://127.0.0.1:$PORT/readyz"; then
            return
        fi
        restarts=$(systemctl show --property NRestarts --value stable-diffusion)
        if ((restarts >= 5)); then
            echo "stable-diffusion boot: the service has ended $restarts times; its log has the reason"
            return 1
        fi
        sleep 5
    done
    echo "stable-diffusion boot: /readyz did not answer 200 within $START_SECONDS s"
    return 1
}

instance=
trap finish EXIT
instance=$(cat /var/lib/cloud/data/instance-id)

begin "see Amazon Linux 2023"
grep --quiet '^PLATFORM_ID="platform:al2023"' /etc/os-release

begin "stop what an AMI that was made of an instance has started"
systemctl stop stable-diffusion-watch stable-diffusion-drain stable-diffusion

packages=()
command -v docker >/dev/null || packages+=(docker)
[[ -x $agent ]] || packages+=(amazon-cloudwatch-agent)
if ((${#packages[@]} > 0)); then
    begin "install ${packages[*]}"
    # The AMI's other repositories are on the internet, which need not be there.
    retry dnf install --assumeyes --quiet --repo amazonlinux "${packages[@]}"
fi

begin "start the CloudWatch agent"
"$agent" -a fetch-config -m ec2 -s -c file:/etc/stable-diffusion/cloudwatch-agent.json

if [[ $GPUS == true ]]; then
    begin "see a GPU"
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
fi

begin "start docker"
systemctl enable --now docker

if [[ -n $REGISTRY ]]; then
    begin "log in to $REGISTRY"
    retry login
fi

begin "pull $IMAGE"
retry docker pull --quiet "$IMAGE"
[[ -z $REGISTRY ]] || docker logout "$REGISTRY"

mkdir -p "${models%/*}"
if mountpoint --quiet "$instance_store"; then
    mkdir -p "$instance_store/models"
    ln -sfn "$instance_store/models" "$models"
else
    mkdir -p "$models"
fi
if [[ -n $MODEL_SOURCE ]]; then
    begin "copy the models from $MODEL_SOURCE"
    retry aws s3 sync --region "$AWS_REGION" --no-progress --only-show-errors "$MODEL_SOURCE/" "$models/"
    [[ -n $(ls -A "$models/") ]]
fi

begin "find the target group"
retry find_target_group

begin "start the service"
systemctl daemon-reload
systemctl enable --now stable-diffusion stable-diffusion-drain

begin "become ready"
wait_until_ready

begin "report to the Auto Scaling group"
retry report CONTINUE
systemctl enable --now stable-diffusion-watch
echo "stable-diffusion boot: done"
