#!/bin/busybox sh
# checkpoint.sh BUILD: gantry checkpoint and restore, through all of gantryd. The image is /counter.tar.
set -u
build=$1
mkdir -p /etc/gantry /run/gantry
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >/etc/gantry/secret
chmod 600 /etc/gantry/secret
cat >/etc/gantry/gantry.toml <<END
state_dir = "/var/lib/gantry"
[plugins]
path = ["$build/lib/gantry/plugins"]
[node]
name = "vm"
[controller]
listen = "127.0.0.1:3900"
[discovery.static]
controllers = ["127.0.0.1:3900"]
[placement.least-loaded]
[runtime.oci]
[transport.vsoa]
secret_file = "/etc/gantry/secret"
[store.sqlite]
path = "/var/lib/gantry/state.db"
[frontend.http]
socket = "/run/gantry/api.sock"
END
cat >/counter.toml <<'END'
[service]
name = "counter"
image = "counter:1.0"
[placement]
mode = "dynamic"
nodes = ["vm"]
[resources]
memory = "64MiB"
[container]
args = ["/busybox", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; /busybox sleep 0.2; done"]
END

gantry() { "$build/bin/gantry" "$@"; }

fail() {
  echo "FAILED: $*"
  gantry ps
  gantry logs counter.0 --tail 3
  tail -40 /gantryd.log
  exit 1
}

begin() {
  "$build/bin/gantryd" --config /etc/gantry/gantry.toml >>/gantryd.log 2>&1 &
  pid=$!
  for _ in $(seq 120); do
    gantry nodes 2>/dev/null | grep -q ready && return
    sleep 0.5
  done
  fail "gantryd does not answer"
}

# Waits until `gantry ps` shows the instance so.
shows() {
  for _ in $(seq 60); do
    gantry ps | grep counter.0 | grep -q "$1" && return
    sleep 0.5
  done
  fail "gantry ps does not show: $1"
}

last() { gantry logs counter.0 --tail 1; }

begin
gantry image import /counter.tar >/said 2>&1 || fail "the image: $(cat /said)"
gantry deploy --timeout 2m /counter.toml >/said 2>&1 || fail "the service: $(cat /said)"
sleep 2
gantry checkpoint counter.0 || fail "gantry checkpoint"
gantry ps
shows 'paused.*checkpointed, [0-9.]* MiB on disk'
stood=$(last)
ps | grep -q '[b]usybox sleep 0.2' && fail "its processes are still there"
kill -9 "$pid"
begin
shows 'paused.*checkpointed, [0-9.]* MiB on disk'
[ "$(last)" = "$stood" ] || fail "it has gone on by itself, from $stood to $(last)"
gantry restore counter.0 || fail "gantry restore"
shows ready
sleep 2
[ "$(last)" -gt "$stood" ] || fail "it does not go on from $stood"
gantry logs counter.0 >/log
[ "$(cat /log)" = "$(seq "$(wc -l </log)")" ] || fail "it has not counted on from $stood: $(tail -5 /log)"
gantry events --limit 200 | grep -q 'counter.0 on vm is restored' || fail "no event"
gantry restore counter.0 && fail "what is used up is restored again"
gantry checkpoint counter.0 || fail "gantry checkpoint, once more"
gantry restart --wait counter.0 || fail "gantry restart of a checkpointed instance"
[ "$(last)" -lt "$stood" ] || fail "it has not begun anew"
gantry checkpoint counter.0 || fail "gantry checkpoint of the next container"
gantry rm --wait counter || fail "gantry rm"
left=$(find /var/lib/gantry -name 'checkpoint*' -o -path '*/containers/*')
[ -z "$left" ] || fail "left: $left"
kill "$pid"
wait "$pid"
echo "gantry checkpoint and restore: they work; it stood still at $stood"
