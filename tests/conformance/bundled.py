#!/usr/bin/env python3
"""gantry-plugin check on a bundled plugin, in this process and in one of its own, in surroundings in which every check of
its role can run.

    bundled.py BUILD ROLE/NAME [ARGUMENT ...]    BUILD: the build's folder; arguments for gantry-plugin check stand for
                                              --isolation both, or none with GANTRY_TEST_EMULATED=1: its kernel loads no filters

Exits with 77 where the machine cannot have the surroundings.
"""
import contextlib
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import avahi  # noqa: E402
import engines  # noqa: E402

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
SHELL = ["/bin/busybox", "sh", "-c"]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def write_layout(folder, system="linux"):
    """An OCI image of one layer that holds busybox (of SylixOS: as ecsc packs it, below rootfs/); its manifest's digest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    def put_json(document):
        return put(json.dumps(document).encode())

    layer = io.BytesIO()
    below = "" if system == "linux" else "rootfs/"
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in (*(["rootfs"] if below else []), *(below + part for part in ("bin", "etc", "tmp", "proc", "sys", "dev"))):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        program = pathlib.Path(BUSYBOX).read_bytes()
        entry = tarfile.TarInfo(below + "bin/busybox")
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    oci = "application/vnd.oci.image."
    packed = {**put(layer.getvalue()), "mediaType": oci + "layer.v1.tar"}
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    config = {"architecture": architecture, "os": system, "config": {"Env": ["PATH=/bin"], "Entrypoint": SHELL},
              "rootfs": {"type": "layers", "diff_ids": [packed["digest"]]}}
    manifest = put_json({"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "layers": [packed],
                         "config": {**put_json(config), "mediaType": oci + "config.v1+json"}})
    index = {"schemaVersion": 2, "manifests": [{**manifest, "mediaType": oci + "manifest.v1+json"}]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return manifest["digest"]


def images(scratch):
    if BUSYBOX is None:
        skip("there is no busybox; apt-get install busybox-static")
    layout = scratch / "layout"
    within = "B=$GANTRY_ROOT/bin/busybox; "
    return {"layout": str(layout), "image": write_layout(layout),
            "sleeps": [*SHELL, within + "exec $B sleep 60"], "exits": [*SHELL, "exit 7"],
            "ignores_stop": [*SHELL, within + "trap '' TERM; while :; do $B sleep 0.05; done"]}


def remove_cgroups(name):
    """Those that an engine leaves empty when its last container is gone."""
    for tree in [pathlib.Path("/sys/fs/cgroup"), *pathlib.Path("/sys/fs/cgroup").iterdir()]:
        for folder in sorted((tree / name).rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            (tree / name).rmdir()


class World:
    """What a plugin finds around it; its tables are those of --config."""

    def __init__(self, build, scratch, stack):
        self.build, self.scratch, self.stack = build, scratch, stack
        self.tables, self.before = {}, []

    def discovery_static(self):
        self.tables["settings"] = {"controllers": ["10.0.0.1:3900", "[fd00::1]:3900"], "nodes": ["SNode1"]}

    def discovery_beacon(self):
        """A network of its own with a controller in it that answers: support/beacon.py, beyond a pair of links."""
        if os.geteuid() != 0:
            skip("a network of its own needs root")
        secret, ready = self.scratch / "secret", self.scratch / "ready"
        secret.write_text("a secret that is long enough\n")
        self.tables["settings"] = {"secret_file": "{folder}/secret"}
        self.tables["files"] = {"secret": secret.read_text()}
        answerer = pathlib.Path(__file__).resolve().parents[1] / "support" / "beacon.py"
        script = (f"ip link set lo up; ip link add here type veth peer name there; ip link set here up; "
                  f"ip link set there up; ip addr add 10.90.0.2/24 dev here; ip addr add fd90::2/64 dev here nodad; "
                  # The other end has a network of its own.
                  f"unshare --net {sys.executable} -c 'import time; time.sleep(600)' & other=$!; "
                  f"until ip link set there netns $other 2>/dev/null && ! ip link show there >/dev/null 2>&1; do sleep 0.01; "
                  f"done; in=\"nsenter --net=/proc/$other/ns/net\"; $in ip link set there up; "
                  f"$in ip addr add 10.90.0.1/24 dev there; $in ip addr add fd90::1/64 dev there nodad; "
                  f"while ip -6 addr show tentative | grep -q inet6 || $in ip -6 addr show tentative | grep -q inet6; "
                  f"do sleep 0.05; done; $in {sys.executable} {answerer} answer {secret} there 3900 >{ready} & "
                  f"until grep -q ready {ready}; do sleep 0.01; done; "
                  f'"$@"; status=$?; kill $other; exit $status')
        self.before = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"]

    def discovery_mdns(self):
        """A network with a real avahi-daemon, which announces a service that the plugin finds."""
        if os.geteuid() != 0:
            skip("a network and a D-Bus of its own need root")
        root, missing = avahi.programs(self.build)
        if missing:
            skip(missing)
        script = self.scratch / "world.sh"
        script.write_text(avahi.world(root, self.scratch, "3900"))
        self.before = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", script]

    def placement_least_loaded(self):
        pass

    placement_binpack = placement_spread = placement_least_loaded

    def placement_weighted(self):
        self.tables["settings"] = {"prefer": ["site=press-3", "disk=ssd"]}

    def probe_tcp(self):
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.tables["probe"] = {"healthy": f"127.0.0.1:{listener.getsockname()[1]}"}

    def probe_http(self):
        class Well(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Well)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.stack.callback(server.shutdown)
        self.tables["probe"] = {"healthy": f"127.0.0.1:{server.server_port}", "params": ["status=204"]}

    def probe_exec(self):
        """It asks the node's resource tree, which answers here what gantryd would."""
        self.tables["probe"] = {"healthy": "127.0.0.1:1", "params": ["command=exit 0"],
                                "tree": json.dumps({"exit_code": 0, "output": "well", "cut": False})}

    def probe_vsoa(self):
        server = subprocess.Popen([self.build / "tests" / "vsoa_tools_server", "secret"], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stack.callback(server.communicate)
        port = server.stdout.readline().split()[1]
        self.tables["probe"] = {"healthy": f"127.0.0.1:{port}", "params": ["password=secret"]}

    def directory_vsoa(self):
        self.tables["settings"] = {"listen": "127.0.0.1:0"}
        self.tables["directory"] = {"lookup": [str(self.build / "bin" / "vsoa"), "resolve", "{name}", "--pos",
                                               "127.0.0.1:{port}"]}

    def store_sqlite(self):
        self.tables["settings"] = {"path": "{folder}/store/state.db", "reserve": "1MiB"}

    def frontend_http(self):
        self.tables["settings"] = {"socket": "{folder}/api.sock", "group": ""}

    def transport_vsoa(self):
        self.tables["settings"] = {"secret_file": "{folder}/one"}
        self.tables["stranger"] = {"secret_file": "{folder}/another"}
        self.tables["files"] = {"one": "a secret that is long enough\n", "another": "another one, as long as that\n"}

    def runtime_process(self):
        self.tables["runtime"] = images(self.scratch)

    def runtime_docker(self):
        """Beside a real engine: GANTRY_ENGINE_KIND, podman (default) or docker."""
        if os.geteuid() != 0 or shutil.which("runc") is None or shutil.which("conmon") is None:
            skip("an engine needs root, runc and conmon")
        self.tables["settings"] = {"socket": str(self.scratch / "engine" / "engine.sock")}
        self.tables["runtime"] = images(self.scratch)
        self.before = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, engines.__file__,
                       os.environ.get("GANTRY_ENGINE_KIND", "podman"), self.build, self.scratch / "engine"]
        self.stack.callback(remove_cgroups, "libpod_parent")
        self.stack.callback(remove_cgroups, "gantry-engine")

    def runtime_sylixos_ecs(self):
        """A board that is this machine, with a stand-in for ecs. What a program's end says, and its grace, no known verb of
        ecs can, so those two checks have no program here."""
        if BUSYBOX is None:
            skip("there is no busybox; apt-get install busybox-static")
        board = self.scratch / "board"
        for part in ("bin", "tmp"):
            (board / part).mkdir(parents=True)
        here = pathlib.Path(__file__).resolve().parents[1]
        shutil.copy(here / "unit/plugins/runtime/sylixos-ecs/ecs-stand-in", board / "bin" / "ecs")
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        self.tables["settings"] = {"architecture": architecture, "ecs": str(board / "bin/ecs"), "folder": str(board / "apps"),
                                   "boot_folder": str(board / "tmp")}
        layout = self.scratch / "layout"
        self.tables["runtime"] = {"layout": str(layout), "image": write_layout(layout, "sylixos"), "sleeps": SHELL}

    def runtime_oci(self):
        if os.geteuid() != 0 or shutil.which("runc") is None or shutil.which("conmon") is None:
            skip("containers need root, runc and conmon")
        name = f"gantry-check-{os.getpid()}"
        self.tables["settings"] = {"cgroup_parent": name}
        self.tables["runtime"] = images(self.scratch)
        self.stack.callback(remove_cgroups, name)
        # Whatever is left running or mounted ends with its init.
        self.before = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def toml(tables):
    out = ""
    for name, table in tables.items():
        out += f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return out


def main():
    build, plugin = pathlib.Path(sys.argv[1]), sys.argv[2]
    with contextlib.ExitStack() as stack:
        # Short: a Unix socket's path has 107 bytes.
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gantry-")))
        world = World(build, scratch, stack)
        getattr(world, plugin.replace("/", "_").replace("-", "_"))()
        config = scratch / "world.toml"
        config.write_text(toml(world.tables))
        file = build / "lib" / "gantry" / "plugins" / f"{plugin}.so"
        done = subprocess.run([*world.before, build / "bin" / "gantry-plugin", "check", file, "--config", config,
                               *(sys.argv[3:] or ["--isolation", "none" if os.environ.get("GANTRY_TEST_EMULATED") else "both"])])
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
