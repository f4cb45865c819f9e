#!/bin/sh
# Install the Debian packages that are missing: `run` for the node, `test` for the tests, `bench` for peers.
set -eu

run="python3 python3-venv crun conmon catatonit containernetworking-plugins iptables iproute2 ca-certificates
     docker-registry busybox-static curl gpg gpg-agent mmdebstrap"
test="runc skopeo podman buildah umoci debootstrap nftables qemu-system-x86
      erofs-utils xfsprogs"

# What the peers of `make bench` are built with: crun and CRI-O are linked to these.
bench="build-essential pkg-config dpkg-dev libseccomp-dev libcap-dev libyajl-dev libsystemd-dev"

case "${1:-}" in
run) wanted=$run ;;
test) wanted="$run $test" ;;
bench) wanted="$run $test $bench" ;;
*) echo "usage: packages.sh run|test|bench" >&2 && exit 2 ;;
esac

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "error: these Debian packages are missing:$missing" >&2
    echo "hint: run as root, or: apt-get install$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
# A package's own service must not start because we installed its program.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=1
fi
trap '[ -z "$made" ] || rm -f "$policy"' EXIT
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
