# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by proof.sh, whose variables and functions it uses: the image of the page (docs/ui.md), run
# as the service's is. It may write to /tmp and nowhere else.
page=stable-diffusion-page-proof
page_url=http://127.0.0.1:$((port + 1))

page_is_built() {
    begun=$SECONDS
    BACKEND=podman BASE_IMAGE=$BASE_IMAGE make --directory "$root" --silent ui-container \
        >"$WORK/page-build.log" 2>&1 || { tail -n 30 "$WORK/page-build.log" && exit 1; }
    page_image=$(tail -n 1 "$WORK/page-build.log")
    seconds "the page's image built"
    say "the page's image" "$(podman image inspect --format '{{.Size}}' "$page_image" | numfmt --to=si --suffix=B)"
}

# The service is away: the page is there, and says so.
page_is_alone() {
    begun=$SECONDS
    run "$page" "$page_image" --user 1000680000:0 --read-only-tmpfs=false \
        --env "SD_URL=$url" --env "UI_PORT=$((port + 1))"
    wait_for "$page" "$page_url/livez"
    seconds "the page is there, without a service"
    [[ $(curl --silent --output /dev/null --write-out '%{http_code}' "$page_url/readyz") == 503 ]]
    podman healthcheck run "$page"
    say "the page's health check" "passes"
}

# In Chromium a picture is made on it, which the API has made before.
page_serves() {
    wait_for "$page" "$page_url/readyz"
    [[ $(podman exec "$page" id --user):$(podman exec "$page" id --group) == 1000680000:0 ]]
    for folder in /app /run /var/tmp; do
        ! podman exec "$page" touch "$folder/written" 2>/dev/null || exit 1
    done
    command -v chromedriver >/dev/null || { say "a picture made on the page" "not tried: no chromedriver" && return; }
    (cd "$root" && "$python" - "$page_url" "$WORK/first-text.png") <<'END'
import io, sys
from PIL import Image
from tests.e2e.browser import started
from tests.e2e.ui.visitor import visitor

with started() as browser, visitor(browser, sys.argv[1]) as somebody:
    somebody.open()
    (made,) = somebody.make(seed=7)
assert Image.open(io.BytesIO(made)).tobytes() == Image.open(sys.argv[2]).tobytes()
END
    say "a picture made on the page is the API's" "yes"
}
