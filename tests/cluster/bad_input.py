"""What bad input gets, with a real gantryd: a clear error, and nothing lost. scenarios.py plays these."""
import hashlib
import hmac
import random
import shutil
import signal
import socket
import struct
import subprocess

from fleet import *  # noqa: F403
import axis  # noqa: E402
import layouts  # noqa: E402
from hosts import ended  # noqa: E402

CONFIG_STATUS = 78  # what gantryd ends with: docs/configuration.md


def expect_words(what, text, *words):
    """Every one of `words` is in the text."""
    missing = [word for word in words if word not in text]
    if missing:
        raise Failure(f"{what}: expected {missing} in: {text}")


# --- images ---

def files_below(*folders):
    return {path: path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()}


def bad_images():
    """An image that climbs out, is truncated or has the wrong digest is refused, and nothing of it is stored."""
    with fleet(nodes=["SNode1"]) as c:
        up(c)
        controller, good = c.controller(), c.dir / "image"
        target = c.dir / "climbed"
        cases = {
            "climbs": (layouts.climbing(good, c.dir / "climbs", f"../../../../../..{target}"), "climbs out"),
            "absolute": (layouts.climbing(good, c.dir / "absolute", str(target)), "absolute name"),
            "truncated": (layouts.truncated(good, c.dir / "truncated"), "truncated"),
            "cut": (layouts.cut_blob(good, c.dir / "cut"), "wrong size"),
            "wrong": (layouts.wrong_digest(good, c.dir / "wrong"), "wrong digest"),
        }
        store, images = controller.dir / "state" / "images", controller.get("/v1/images")["items"]
        before = files_below(store)
        for name, (layout, words) in cases.items():
            bad_layer = layout.manifest["layers"][0]["digest"]
            done = controller.cli("image", "import", str(layout.folder), "--name", f"{name}:1.0", check=False)
            expect(f"{name}: exit status", 65, done.returncode)
            expect_words(name, done.stderr, bad_layer, words)
            expect(f"{name}: images", images, controller.get("/v1/images")["items"])
            expect(f"{name}: files of the store", before, files_below(store))
        past_the_check(c, cases["climbs"][0], "climbs out")
        past_the_check(c, cases["truncated"][0], "truncated")
        expect("the file that a layer aimed at", False, target.exists())
        deploy(c, manifest())
        c.wait_ready("axis_server", "SNode1")


def past_the_check(c, layout, words):
    """A client that does not look brings it into the store: the node does, says so and unpacks nothing."""
    controller, name = c.controller(), layout.folder.name
    for digest, data in layout.blobs().items():
        status, answer = controller.api("PUT", f"/v1/blobs/{digest}", data)
        expect(f"PUT of {digest}: {answer}", 200, status)
        status, _ = controller.api("PUT", f"/v1/blobs/{digest.replace('sha256:', 'sha256:0')[:71]}", data)
        expect("PUT of a blob under another digest", 400, status)
    expect("PUT of the image", 200, controller.api("PUT", f"/v1/images/{name}:1.0", {"digest": digest})[0])
    deploy(c, manifest(name, nodes=["SNode1"], image=f"{name}:1.0", port=None))
    event = c.wait_event("image-failed", 10, node="SNode1", image=digest)
    expect_words("the node's event", event["text"], layout.manifest["layers"][0]["digest"], words)
    expect("attempts to run it", 0, c.instances(name)[0]["attempt"])
    unpacked = list((c.hosts["SNode1"].dir / "state").rglob("layers/sha256/*/fine"))
    expect("what was unpacked of it", [], unpacked)
    controller.cli("rm", name, "--wait")


def no_such_image():
    """An image that does not exist is refused at deploy, at the manifest's line."""
    with fleet(nodes=["SNode1"], image=False) as c:
        up(c)
        file = c.dir / "none.toml"
        file.write_text('[service]\nname = "none"\nimage = "nosuch:1.0"\n[placement]\nnodes = ["SNode1"]\n')
        done = c.controller().cli("deploy", str(file), check=False)
        expect("exit status", 65, done.returncode)
        expect_words("the refusal", done.stderr, f"{file}:3:1: service.image", "nosuch:1.0", "gantry image import")
        expect("services", [], c.controller().get("/v1/services")["items"])


# --- the database ---

def damaged(data, how, chance):
    data = bytearray(data)
    if how == "header":
        data[:100] = chance.randbytes(100)
    elif how == "pages":
        data[4096:] = chance.randbytes(len(data) - 4096)
    elif how == "half":
        del data[len(data) // 2:]
    elif how == "empty":
        data.clear()
    elif how == "newer":
        data[60:64] = (99).to_bytes(4, "big")  # SQLite's user_version, which is the schema's
    return bytes(data)


def bad_database():
    """A corrupt or newer database is refused with words and left byte for byte; the containers run on, nothing moves."""
    chance = random.Random(7)
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        place, before = c.wait_ready("axis_server")[0], processes(c)
        controller = c.controller()
        controller.kill_daemon(signal.SIGTERM)
        path = controller.dir / "state" / "state.db"
        good = path.read_bytes()
        for how, words in {"header": "damaged", "pages": "damaged", "half": "damaged", "empty": "is empty",
                           "newer": "newer version"}.items():
            bad = damaged(good, how, chance)
            path.write_bytes(bad)
            said = controller.log.stat().st_size
            controller.start_daemon()
            expect(f"{how}: exit status", CONFIG_STATUS, ended(controller.daemon, 10, "gantryd on a bad database"))
            expect_words(how, controller.log.read_text()[said:], str(path), words, "left untouched")
            expect(f"{how}: the database is what it was", True, path.read_bytes() == bad)
            expect(f"{how}: processes", before, processes(c))
            expect(f"{how}: bytes in its log", 0, sum(file.stat().st_size for file in path.parent.glob("state.db-wal")))
        path.write_bytes(good)
        controller.start_daemon()
        wait_for(controller.ready, 15, "the controller answers on its good database")
        c.wait_nodes(["SNode1", "SNode2"])
        stays(lambda: processes(c) == before, 3, lambda: f"nothing moves: {processes(c)}")
        expect("epoch", place["epoch"], c.instances("axis_server")[0]["epoch"])


# --- plugins ---

def bad_plugin_folder(c):
    """probe/text.so is no ELF file, probe/newer.so is of a newer border."""
    folder = c.dir / "more" / "probe"
    folder.mkdir(parents=True)
    (folder / "text.so").write_text("#!/bin/sh\n")
    whole = (c.build / "lib/gantry/plugins/probe/tcp.so").read_bytes()
    expect("places that say the plugin's border", 1, whole.count(b"\nabi: 1.1\n"))
    (folder / "newer.so").write_bytes(whole.replace(b"\nabi: 1.1\n", b"\nabi: 3.1\n"))
    for path in (folder.parent, folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder.parent


def bad_plugins():
    """A plugin that is missing, no ELF file or of a newer border is refused with its reason; a required one ends gantryd."""
    with fleet(nodes=["SNode1"], image=False) as c:
        host = c.hosts["SNode1"]
        reasons = {"gone": "no gone.so in", "text": "not an ELF file", "newer": "built for SDK 3.1"}
        host.settings["plugins"] = bad_plugin_folder(c)
        host.settings["lines"] = [f"[probe.{name}]" for name in reasons]
        host.write_config()
        up(c)
        shown = {plugin["name"]: plugin for plugin in host.get("/v1/plugins")["items"]}
        table, log = host.cli("plugins").stdout, host.log.read_text()
        for name, reason in reasons.items():
            expect(f"state of {name}", "refused", shown[name]["state"])
            expect_words(f"{name} in the API", shown[name]["reason"], reason)
            expect_words("gantry plugins", table, reason)
            expect_words("the log", log, f"probe.{name}", reason)
        expect("the others", "running", shown["tcp"]["state"])
        for name, reason in reasons.items():
            host.kill_daemon(signal.SIGTERM)
            host.settings["lines"] = [f"[probe.{name}]", "required = true"]
            host.write_config()
            said = host.log.stat().st_size
            host.start_daemon()
            expect(f"required {name}: exit status", CONFIG_STATUS, ended(host.daemon, 10, "gantryd without a plugin"))
            expect_words(f"required {name}", host.log.read_text()[said:], f"{host.dir}/gantry.toml:", f"probe.{name}", reason)


# --- neighbours ---

def bad_neighbours():
    """A node with the wrong secret and a second node under one name are turned away with words, logged once a minute."""
    with fleet(image=False) as c:
        up(c)
        wrong = c.dir / "wrong.secret"
        wrong.write_text("a secret that nobody else knows")
        wrong.chmod(0o600)
        stranger = c.add("Stranger", secret=str(wrong)).start()
        for tries in range(1, 5):
            wait_for(lambda: stranger.log.read_text().count("the secrets differ") == tries, 10,
                     lambda: f"refusal {tries} in the stranger's log: {stranger.log_tail()}")
            stranger.kill_daemon()
            stranger.start_daemon()
        c.wait_event("connection-refused", 15)
        refused = [e["text"] for e in c.events() if e["kind"] == "connection-refused"]
        expect("events about four refusals within seconds", 1, len(refused))
        expect_words("the event", refused[0], stranger.address, "the secrets differ")
        expect("lines about it", 1, c.controller().log.read_text().count(f"connection from {stranger.address} refused"))
        expect("stranger", None, c.node("Stranger"))
        twin = c.add("Twin")
        text = (twin.dir / "gantry.toml").read_text().replace('name = "Twin"', 'name = "SNode1"')
        (twin.dir / "gantry.toml").write_text(text)
        twin.start()
        c.wait_event("name-taken", 15)
        expect("address", c.hosts["SNode1"].address, c.node("SNode1")["address"])


def impossible_wish():
    """A manifest that asks for more than any node has is pending, with a reason per node."""
    with fleet() as c:
        up(c)
        deploy(c, manifest(resources={"cpu": 4000, "memory": "100TiB"}))
        c.wait_event("pending", 5, service="axis_server")
        reasons = {p["node"]: p["reason"] for p in c.instances("axis_server")[0]["pending"]}
        expect("nodes with a reason", {"SNode1", "SNode2"}, set(reasons))


# --- packets ---

def packet(kind, url=b"", param=b"", data=b"", magic=0x29, url_len=None, param_len=None, data_len=None):
    """A VSOA packet, whose header may lie about lengths."""
    def length(given, part):
        return len(part) if given is None else given
    body = url + param + data
    pad = -len(body) % 4
    header = struct.pack("!BBBBIHHII", magic, kind, pad << 6, 0, 1, 0, length(url_len, url), length(param_len, param),
                         length(data_len, data))
    return header + body + bytes(pad)


SERVINFO, RPC, DATAGRAM = 0, 1, 5


def nonsense(chance):
    """What a stranger may send instead of packets, by what is wrong with it."""
    return {
        "random bytes": b"\xff" + chance.randbytes(4000),
        "another protocol": b"GET / HTTP/1.1\r\nHost: gantry\r\n\r\n",
        "another magic number": packet(SERVINFO, magic=0x39),
        "data_len 0xffffffff": packet(RPC, b"/axis", data=b"x", data_len=0xffffffff),
        "every length at its greatest": packet(RPC, b"/axis", url_len=0xffff, param_len=0xffffffff,
                                               data_len=0xffffffff),
        "one byte above 256 KiB": packet(RPC, data_len=262144 - 20 + 1),
        "truncated header": packet(SERVINFO)[:13],
        "truncated body": packet(SERVINFO, param=b'{"passwd":"123456"}')[:25],
    }


def ends_connection(address, port, what, data):
    """Sends it and closes our side: the other side ends the connection."""
    with socket.create_connection((address, port), timeout=5) as connection:
        try:
            connection.sendall(data)
            if what.startswith("truncated"):
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except TimeoutError:
            raise Failure(f"{what} to {address}:{port}: the connection is still open after 5 s") from None
        except OSError:
            pass  # reset: ended as well


def cluster_key(c):
    """The transport's key: HKDF-SHA256 without salt (plugins/transport/vsoa/README.md)."""
    pseudorandom = hmac.new(bytes(32), c.secret.read_bytes(), hashlib.sha256).digest()
    return hmac.new(pseudorandom, b"gantry/1 transport psk\x01", hashlib.sha256).hexdigest()


def insider(c, what, data):
    """One who knows the secret says it inside TLS: the controller ends that connection."""
    command = ["openssl", "s_client", "-quiet", "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", "-psk_identity",
               "gantry/1", "-psk", cluster_key(c), "-connect", f"{c.controller_address}:3900"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        try:
            client.stdin.write(data)
            client.stdin.flush()
            ended(client, 10, f"the connection of an insider who sent {what}")
            return client.stdout.read()
        finally:
            client.kill()


def garbage():
    """Garbage, oversized and truncated packets end their own connection; nodes, service and client do not notice."""
    seed = int.from_bytes(random.randbytes(4), "big")
    print(f"seed {seed}")
    bad = nonsense(random.Random(seed))
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        place, before = c.wait_ready("axis_server")[0], processes(c)
        server = c.hosts[place["node"]].address
        sessions = {name: c.node(name)["session"] for name in ("SNode1", "SNode2")}
        after = c.events()[-1]["number"]
        client = axis.Client(c.build, f"{c.controller_address}:{c.position_port}")
        try:
            first = axis.roll(client.wait("/axis", 20)[1])
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for what, data in bad.items():
                ends_connection(server, 3002, what, data)
                ends_connection(c.controller_address, 3900, what, data)
                datagrams.sendto(data, (server, 3002))
                datagrams.sendto(data, (c.controller_address, 54))
            login = packet(SERVINFO, param=b'{"protocol":"gantry/1"}')
            for what, data in bad.items():
                if not what.startswith("truncated"):
                    insider(c, what, data)
                    insider(c, f"{what} after its login", login + data)
            for what, frame in {"no frame": b"nonsense", "a length beyond the message": b"\xff\xff\xff\xff{}",
                                "broken JSON": struct.pack("!I", 2) + b"{{",
                                "nobody's message": struct.pack("!I", 16) + b'{"v":1,"m":"no"}'}.items():
                insider(c, what, login + packet(DATAGRAM, b"/control", data=frame))
            heard = [*client.arrived(), client.wait("/axis", 5)[1]]
        finally:
            client.end()
        expect("lines of the client that are no data", [], [line for line in heard if not line.startswith("/axis")])
        expect("counters it received", list(range(first + 1, first + 1 + len(heard))), [axis.roll(line) for line in heard])
        expect("processes", before, processes(c))
        expect("sessions", sessions, {name: c.node(name)["session"] for name in sessions})
        expect("address", server, resolve(c, c.controller(), "axis_server").get("addr"))
        worse = [e["text"] for e in c.events(after) if e["kind"] in ("node-suspect", "node-lost", "exited", "lost", "placed")]
        expect("what befell the others", [], worse)


# --- clocks ---

def clock_leaps():
    """Wall clocks leap by a day and back, and to 1970: nobody is taken for lost, nothing is started anew; nodes come back to a
    controller whose clock has leapt, as to one that was restarted, and take over from each other."""
    day = 24 * 3600
    with fleet((), ahead_s=0) as c:
        for name in ("SNode1", "SNode2"):
            c.add(name, ahead_s=0)
        up(c)
        deploy(c, manifest())
        began = c.wait_ready("axis_server")[0]
        node = began["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        after, runs = last_event(c), {node: 1, other: 0}
        for name, ahead in (("controller", day), ("controller", -day), (node, day), (other, -day), (node, -int(time.time()))):
            c.hosts[name].set_wall_clock(ahead)
            stays(lambda: counts(c) == runs, 2, lambda: f"{name} is {ahead} s ahead: {counts(c)}")
        fell = [e["text"] for e in c.events(after) if e["kind"].startswith(("node-", "exited", "moved", "placed", "budget"))]
        expect("what the leaps did", [], fell)
        c.controller().set_wall_clock(day)
        c.hosts[node].power_off()
        c.wait_ready("axis_server", other)
        c.hosts[node].start()
        c.wait_nodes([node])
        c.controller().kill_daemon()
        c.controller().start_daemon()
        wait_for(c.controller().ready, 15, "the controller answers")
        c.wait_nodes([node, other])
        expect("copies", {node: 0, other: 1}, counts(c))


BAD_INPUT = [bad_images, no_such_image, bad_database, bad_plugins, bad_neighbours, impossible_wish, garbage, clock_leaps]
