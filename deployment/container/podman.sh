# shellcheck shell=bash
# Sourced by the scripts here: a podman that needs no registry, no daemon and no systemd, with all
# that it stores under $WORK. It wants root, and Debian's packages podman, buildah, runc, debootstrap.
#
#   WORK           the folder (default: /var/tmp/stable-diffusion-containers)
#   BUILD_VOLUMES  what is mounted into every container, space-separated: HOST:CONTAINER:ro. Behind a
#                  proxy these are its certificate and a pip.conf.

WORK=${WORK:-/var/tmp/stable-diffusion-containers}
mkdir -p "$WORK"

volumes=
for volume in ${BUILD_VOLUMES:-}; do
    volumes+="\"$volume\", "
done

cat >"$WORK/containers.conf" <<END
[containers]
netns = "host"
volumes = [${volumes%, }]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
cat >"$WORK/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$WORK/storage"
runroot = "$WORK/run"
END
export CONTAINERS_CONF=$WORK/containers.conf CONTAINERS_STORAGE_CONF=$WORK/storage.conf
export BUILDAH_ISOLATION=chroot BUILDAH_FORMAT=docker

# An image to start from, made of Debian's packages where no registry is at hand: $BASE_IMAGE.
BASE_IMAGE=localhost/python:3.11-bookworm
base_image() {
    podman image exists "$BASE_IMAGE" && return
    rm -rf "$WORK/rootfs"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        bookworm "$WORK/rootfs" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$WORK/debootstrap.log"
    rm -rf "$WORK"/rootfs/var/cache/apt/archives/*.deb
    tar --create --directory "$WORK/rootfs" --one-file-system . | podman import --quiet - "$BASE_IMAGE" >/dev/null
    rm -rf "$WORK/rootfs"
}
