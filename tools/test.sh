#!/usr/bin/env bash
# Sets up, then runs every test on the default driver, and conformance once more on SwiftShader where that is there.
#
#   ./tools/test.sh                       # AFFEKT_REQUIRE=adapter,data makes missing ones failures
#   AFFEKT_TEST_MINUTES=90 ./tools/test.sh    # a hung driver is stopped after 30 minutes otherwise
set -euo pipefail
cd "$(dirname "$0")/.."

./tools/setup.sh

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
failed=0
summary=()

limited() {
    if command -v timeout >/dev/null 2>&1; then
        timeout --kill-after=10 "${AFFEKT_TEST_MINUTES:-30}m" "$@"
    else
        "$@"
    fi
}

# The numbers of all "test result:" lines of a log, added up.
trials() {
    awk '/^test result:/ { gsub(/[.;]/, ""); for (i = 2; i <= NF; i++) {
             if ($i == "passed") passed += $(i - 1)
             if ($i == "failed") failed += $(i - 1)
             if ($i == "ignored") ignored += $(i - 1) } }
         END { printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$1"
}

# The adapter that an unnamed choice takes; the tests have just built the command that knows.
adapter() {
    local affekt="${CARGO_TARGET_DIR:-target}/debug/affekt" first
    first=$("$affekt" adapters 2>/dev/null | sed -n '1s/^[0-9-]*  //p') || true
    echo "${first:-no adapter}" | sed 's/  (chosen)$//'
}

# Runs `cargo test` with the arguments, shows and keeps what it prints.
run() {
    local log="$logs/$1" begin=$SECONDS status=ok
    shift
    limited cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || { status=FAILED; failed=1; }
    if ! grep -q '^test result:' "$log"; then
        status=FAILED
        failed=1
    fi
    summary+=("$(adapter): $(trials "$log"), $((SECONDS - begin)) s: $status")
}

run default

if [ -z "${VK_DRIVER_FILES:-}" ]; then
    for icd in /usr/lib/chromium/vk_swiftshader_icd.json /usr/lib/chromium-browser/vk_swiftshader_icd.json \
        /opt/google/chrome/vk_swiftshader_icd.json; do
        if [ -e "$icd" ]; then
            echo "conformance on SwiftShader, $icd"
            export VK_DRIVER_FILES="$icd"
            run swiftshader --test conformance
            unset VK_DRIVER_FILES
            break
        fi
    done
fi

echo
echo "trials per driver:"
printf '  %s\n' "${summary[@]}"
exit "$failed"
