#!/bin/sh
# Installs a software Vulkan driver (Mesa's lavapipe) where no adapter is found, and a linker where there is none, which
# Rust's toolchain does not bring; does nothing where both are there.
#
#   ./tools/setup.sh
set -eu

found() {
    # The command knows best, if it has been built.
    for affekt in "$(dirname "$0")"/../target/release/affekt "$(dirname "$0")"/../target/debug/affekt; do
        if [ -x "$affekt" ]; then
            "$affekt" adapters >/dev/null 2>&1
            return
        fi
    done
    # Otherwise: the loader, and a driver that tells it where it is.
    loader=""
    for file in /usr/lib/*/libvulkan.so.1 /usr/lib64/libvulkan.so.1 /usr/lib/libvulkan.so.1 \
        /usr/local/lib/libvulkan.so.1; do
        [ -e "$file" ] && loader="$file"
    done
    [ -n "$loader" ] || return 1
    if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ]; then
        return 0
    fi
    for file in /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json \
        "${XDG_DATA_HOME:-$HOME/.local/share}"/vulkan/icd.d/*.json; do
        [ -e "$file" ] && return 0
    done
    return 1
}

case "$(uname -s)" in
    Linux) ;;
    # Metal and DX12 come with the system.
    *) exit 0 ;;
esac

missing=""
packages=""
if ! found; then
    missing="Vulkan driver"
    packages="mesa-vulkan-drivers libvulkan1"
fi
if ! command -v cc >/dev/null 2>&1; then
    missing="${missing:+$missing and no }linker"
    packages="$packages gcc libc6-dev"
fi
if [ -z "$missing" ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: no $missing found; install what is missing:" >&2
    echo "  Fedora      dnf install mesa-vulkan-drivers vulkan-loader gcc" >&2
    echo "  Arch        pacman -S vulkan-swrast vulkan-icd-loader gcc" >&2
    echo "  openSUSE    zypper install libvulkan_lvp libvulkan1 gcc" >&2
    echo "  Alpine      apk add mesa-vulkan-swrast vulkan-loader gcc musl-dev" >&2
    exit 1
fi

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: no $missing found; as root: apt-get install $packages" >&2
        exit 1
    fi
    sudo="sudo"
fi

echo "setup: no $missing found; installing $packages" >&2
# The lists of a fresh machine are empty, those of an old one stale.
$sudo apt-get update -q >&2
# shellcheck disable=SC2086 # several packages
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages >&2
