#!/bin/bash
# The clients' keys, from where they are kept into a file in memory. The service sees when it changes.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/stable-diffusion/deployment.env
folder=/run/stable-diffusion
[[ -n $API_KEYS ]] || exit 0

install --directory --mode 0711 "$folder"
umask 077
/opt/stable-diffusion/secret "$API_KEYS" >"$folder/api-keys.new"
[[ -s $folder/api-keys.new ]]
# The container's user, and nobody else.
chown 1034 "$folder/api-keys.new"
mv "$folder/api-keys.new" "$folder/api-keys"
