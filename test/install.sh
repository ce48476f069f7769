#!/bin/sh
# Installs the Debian packages that the integration tests run against.
# QUORATE_PACKAGES names more of them, for benchmarks.
# Idempotent: what is there already is neither upgraded nor touched, and no service is started.
set -eu

packages="
	jq iproute2 nftables procps util-linux curl
	postgresql-15 patroni python3-psycopg2 python3-etcd
	etcd-server etcd-client
	fence-agents python3-requests python3-pexpect python3-pycurl
	snmpd snmp openipmi ipmitool
	dnsutils nsd knot knot-dnsutils ldnsutils unbound
	corosync corosync-qdevice corosync-qnetd pacemaker pacemaker-cli-utils libnss3-tools libxml2-utils openssl
	${QUORATE_PACKAGES:-}
"

missing=""
for p in $packages; do
	status=$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true)
	[ "$status" = "install ok installed" ] || missing="$missing $p"
done
if [ -z "$missing" ]; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "test/install.sh: these packages are missing:$missing; run it as root to install them" >&2
	exit 1
fi

# A policy of our own keeps the packages' services from starting; one that the
# machine's owner has put there stays, whatever it says.
policy=/usr/sbin/policy-rc.d
made=""
running_before=$(mktemp)
running_after=$(mktemp)
finish() {
	rm -f "$running_before" "$running_after"
	if [ -n "$made" ]; then rm -f "$policy"; fi
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

if [ ! -e "$policy" ]; then
	made=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

# One line per running server of these packages.
servers() {
	for name in etcd postgres patroni nsd knotd gdnsd unbound snmpd snmptrapd ipmi_sim ipmievd corosync corosync-qdevic corosync-qnetd pacemakerd; do
		pgrep -x "$name" || true
	done | sort
}
servers >"$running_before"

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is meant to be split
install() { apt-get install -y -qq --no-install-recommends --no-upgrade $missing; }
if ! install; then
	apt-get update -qq
	install
fi

# Under systemd the packages enable their units; the tests start their own
# processes, so units that this installation enabled are disabled again.
if [ -d /run/systemd/system ]; then
	for unit in etcd patroni postgresql nsd knot gdnsd unbound snmpd openipmi ipmitool ipmievd corosync corosync-qdevice corosync-qnetd pacemaker; do
		case " $missing " in
		*" $unit"*) systemctl disable --now "$unit" >/dev/null 2>&1 || true ;;
		esac
	done
fi

servers >"$running_after"
started=$(comm -13 "$running_before" "$running_after")
if [ -n "$started" ]; then
	echo "test/install.sh: the installation started servers; stopping these pids: $started" >&2
	kill $started 2>/dev/null || true
fi
