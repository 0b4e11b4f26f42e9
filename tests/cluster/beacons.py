"""Controllers that are found by discovery/beacon: nobody is listed anywhere."""
import os
import socket
import threading

from fleet import *  # noqa: F403
import beacon  # noqa: E402

ALL_NODES = ["SNode1", "SNode2", "SNode3"]


def beacons(cluster, secret=None, **keys):
    lines = ["[discovery.beacon]", f'secret_file = "{secret or cluster.secret}"']
    return lines + [f"{key} = {json.dumps(value)}" for key, value in keys.items()]


def unlisted(nodes, isolated=False):
    """A controller that is nobody's to list, and nodes that know a secret and nothing else; all off. isolated: beacons run
    in processes of their own."""
    cluster = Cluster()
    cluster.add("controller", controller=True)
    for name in nodes:
        cluster.add(name)
    for host in cluster.hosts.values():
        host.settings["discovery"] = beacons(cluster, **({"announce": 3900} if host.controller else {"node": host.name}))
        host.settings["isolated"] = ["discovery.beacon"] if isolated else []
        host.write_config()
    return cluster


def controller_up(cluster):
    cluster.controller().start()
    wait_for(cluster.controller().ready, 15, "the controller answers")


def joins_within(cluster, name, seconds, begin):
    """begin() gives the host what it lacked; then it is among the nodes in time. Returns how long it took."""
    begin()
    began = time.monotonic()

    def there():
        return f"{name} " in cluster.controller().cli("nodes").stdout and (cluster.node(name) or {}).get("liveness") == "ready"
    wait_for(there, seconds, lambda: f"{name} among the nodes: {cluster.node(name)}\n{cluster.hosts[name].log_tail()}")
    took = time.monotonic() - began
    print(f"{name} joined after {took:.2f} s")
    return took


def found_by_beacon():
    """A new gateway with the cluster's secret is among the nodes within 2 s, without being listed anywhere: over IPv4,
    over IPv6 alone, over the controller's second interface, and after its link came late, by plugins in processes of their
    own."""
    with unlisted(ALL_NODES, isolated=True) as c:
        controller_up(c)
        controller, first, second, third = c.controller(), *(c.hosts[name] for name in ALL_NODES)
        first.start(daemon=False)
        joins_within(c, first.name, 2, first.start_daemon)
        # IPv6 alone. The controller listens on IPv4, so it is told to listen on both.
        controller.kill_daemon()
        text = (controller.dir / "gantry.toml").read_text()
        (controller.dir / "gantry.toml").write_text(text.replace('"0.0.0.0:3900"', '"[::]:3900"'))
        controller.inside("ip", "addr", "add", "fd90::1/64", "dev", "eth0", "nodad")
        controller.start_daemon()
        wait_for(controller.ready, 15, "the controller answers again")
        second.start(daemon=False)
        second.inside("ip", "addr", "flush", "dev", "eth0", "scope", "global")
        second.inside("ip", "addr", "add", "fd90::2/64", "dev", "eth0", "nodad")
        second.inside("sh", "-c", "while ip -6 addr show tentative | grep -q inet6; do sleep 0.05; done")
        joins_within(c, second.name, 2, second.start_daemon)
        # Another network, which the controller joins while it runs; the node's own link comes last.
        run("ip", "link", "add", "fleet2", "type", "bridge")
        run("ip", "link", "set", "fleet2", "up")
        run("ip", "link", "add", "second", "type", "veth", "peer", "name", "eth1", "netns", str(controller.init))
        run("ip", "link", "set", "second", "master", "fleet2", "up")
        controller.inside("ip", "addr", "add", "10.91.0.1/24", "dev", "eth1")
        controller.inside("ip", "link", "set", "eth1", "up")
        third.start(daemon=False)
        run("ip", "link", "set", f"h{third.number}", "master", "fleet2")
        third.inside("ip", "addr", "flush", "dev", "eth0")
        third.inside("ip", "addr", "add", "10.91.0.3/24", "dev", "eth0")
        third.inside("ip", "link", "set", "eth0", "down")
        third.start_daemon()
        wait_for(third.ready, 15, "a node without a link answers")
        joins_within(c, third.name, 2, lambda: third.inside("ip", "link", "set", "eth0", "up"))
        run("ip", "link", "del", "fleet2")


def answers(asker, key, query, seconds=1):
    """What a controller answers to a query, or None."""
    asker.settimeout(seconds)
    asker.sendto(query, (beacon.GROUP4, beacon.PORT))
    try:
        return beacon.read(key, asker.recv(2048))
    except TimeoutError:
        return None


def next_query(ears, key, node):
    """The next query of that node: from where it came, and its fields."""
    ears.settimeout(15)
    while True:
        packet, where = ears.recvfrom(2048)
        heard = beacon.read(key, packet)
        if heard and heard["kind"] == beacon.QUERY and where[0] == node.address:
            return where, heard


def strange_beacons():
    """Who does not know the secret gets no answer and never becomes a node; answers and names that were recorded are worth
    nothing."""
    with unlisted(["SNode1", "SNode2"]) as c:
        other = c.dir / "other.secret"
        other.write_text("another secret, as long as that one\n")
        other.chmod(0o600)
        stranger = c.hosts["SNode2"]
        stranger.settings.update(secret=other, discovery=beacons(c, other, node="SNode2"))
        stranger.write_config()
        controller_up(c)
        controller, key = c.controller(), beacon.key_of(c.secret.read_bytes())
        stranger.start()
        asker, nonce = beacon.asking("fleet"), os.urandom(16)
        wrong = beacon.key_of(other.read_bytes())
        expect("answer to another secret's query", None, answers(asker, wrong, beacon.seal(wrong, beacon.QUERY, nonce=nonce)))
        query = bytearray(beacon.seal(key, beacon.QUERY, nonce=nonce))
        answer = answers(asker, key, bytes(query))
        expect("answer to a query with the secret", (beacon.ANSWER, nonce, 3900, socket.inet_aton("10.90.0.1")),
               answer and (answer["kind"], answer["nonce"], answer["port"], answer["address"][12:]))
        query[20] ^= 1
        expect("answer to a query that was changed on the way", None, answers(asker, key, bytes(query)))
        # A name is believed only from whom the cookie was given to.
        there = ("10.90.0.1", beacon.PORT)
        asker.sendto(beacon.seal(key, beacon.HELLO, cookie=os.urandom(16), name=b"recorded"), there)
        asker.sendto(beacon.seal(key, beacon.HELLO, cookie=answer["cookie"], name=b"expected"), there)
        elsewhere = beacon.asking("fleet")
        elsewhere.sendto(beacon.seal(key, beacon.HELLO, cookie=answer["cookie"], name=b"elsewhere"), there)
        wait_for(lambda: c.node("expected"), 5, "a node that said its name is shown")
        if c.node("expected").get("liveness") == "ready":
            raise Failure(f"a node that is only expected is not ready: {c.node('expected')}")
        for name in ("recorded", "elsewhere", "SNode2"):
            expect(f"node {name}", None, c.node(name))
        wait_for(lambda: "is not signed with this cluster's secret" in controller.log.read_text(), 5,
                 "the controller says that somebody has another secret")
        # A node dials who answers its own query, and nobody else: here one controller is real and one is a listener.
        node = c.hosts["SNode1"]
        trap = socket.create_server(("10.90.0.254", 3999))
        trap.setblocking(False)
        controller.power_off()
        ears = beacon.hearing("fleet")[0]
        node.start()

        def lie(nonce):
            return beacon.seal(key, beacon.ANSWER, nonce=nonce, cookie=os.urandom(16), port=3999,
                               address=beacon.MAPPED + socket.inet_aton("10.90.0.254"))
        where, first = next_query(ears, key, node)

        def dialled():
            try:
                trap.accept()[0].close()
                return True
            except BlockingIOError:
                return False
        ears.sendto(lie(os.urandom(16)), where)
        for _ in range(3):  # by then the first query is two queries old
            where, _ = next_query(ears, key, node)
        ears.sendto(lie(first["nonce"]), where)
        stays(lambda: not dialled(), 2, "a node dials nobody whose answer is old or to another query")
        where, newest = next_query(ears, key, node)
        ears.sendto(lie(newest["nonce"]), where)
        wait_for(dialled, 5, "a node dials who answers its newest query")
        if "cannot reach" in stranger.log_tail(100):
            raise Failure(f"a host with another secret believed somebody: {stranger.log_tail(100)}")


def beacon_flood():
    """A flood of datagrams that look like beacons costs a bounded share of a core and no memory, nodes stay, and a gateway
    that came meanwhile joins when it is over, if not before."""
    with unlisted(["SNode1", "SNode2"]) as c:
        controller_up(c)
        controller, node = c.controller(), c.hosts["SNode1"].start(daemon=False)
        joins_within(c, "SNode1", 2, node.start_daemon)
        late = c.hosts["SNode2"].start(daemon=False)
        pid = controller.daemon_pid()
        over, sent = threading.Event(), [0]
        forged = [beacon.seal(os.urandom(32), beacon.QUERY, nonce=os.urandom(16)) for _ in range(64)]

        def flood():
            out = beacon.asking("fleet")
            while not over.is_set():
                for packet in forged:
                    out.sendto(packet, (beacon.GROUP4, beacon.PORT))
                sent[0] += len(forged)
        thread = threading.Thread(target=flood, daemon=True)
        before, began = resources(pid), time.monotonic()
        thread.start()
        try:
            late.start_daemon()
            stays(lambda: c.node("SNode1")["liveness"] == "ready", 4, lambda: f"the node stays ready: {c.node('SNode1')}")
        finally:
            took, after = time.monotonic() - began, resources(pid)
            over.set()
            thread.join()
        rate, share, grown = sent[0] / took, (after[0] - before[0]) / took, after[1] - before[1]
        print(f"{rate:.0f} datagrams a second: {share:.0%} of a core, {grown} KiB more memory")
        if rate < 12_000:
            raise Failure(f"that was no flood: {rate:.0f} datagrams a second, expected more than the budget of 10,000")
        if share > 0.5 or grown > 4096:
            raise Failure(f"expected at most half a core and 4 MiB, got {share:.0%} and {grown} KiB")
        joins_within(c, "SNode2", 4, lambda: None)
        expect("said so", True, "some are dropped" in controller.log.read_text())


def resources(pid):
    """Processor time in seconds and resident memory in KiB."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), rss


BEACONS = [found_by_beacon, strange_beacons, beacon_flood]
