"""Who is dead, who is cut off and who reboots: told apart with real links, addresses and processes."""
from fleet import *  # noqa: F403

NAMES = ["SNode1", "SNode2", "SNode3", "SNode4"]


def link_to_controller_broken():
    """Only the link between a node and its controller breaks: others still hear the node, so nothing moves, it is shown as
    cut off, what it reports still arrives, and when the link is back it is ready as before."""
    with fleet(NAMES[:3]) as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        before, epochs, after = processes(c), [p[:3] for p in places(c)], last_event(c)
        host, controller = c.hosts[node], c.controller()
        host.break_link(controller)
        via = c.wait_event("node-cut-off", 5, after, node=node)["fields"]["via"]
        stays(lambda: processes(c) == before and [p[:3] for p in places(c)] == epochs, 8,
              lambda: f"nothing moves: {places(c)}, {kinds(c, after)}")
        expect("nodes called lost", 0, kinds(c, after).count("node-lost"))
        expect("heard through", via, c.node(node)["via"])
        shown = controller.cli("nodes").stdout
        if f"cut off from the controller, heard through {via}" not in shown:
            raise Failure(f"gantry nodes does not show it: {shown}")
        host.inside("kill", "-KILL", str(before[node][0]))
        wait_for(lambda: c.instances("axis_server")[0]["restarts"] == 1, 10,
                 lambda: f"the restart is reported through {via}: {c.instances('axis_server')}")
        c.wait_ready("axis_server", node)
        # Through another one when that one goes.
        c.hosts[via].power_off()
        other = next(name for name in NAMES[:3] if name not in (node, via))
        wait_for(lambda: c.node(node)["via"] == other, 10, lambda: f"heard through {other}: {c.node(node)}")
        expect("instance", node, c.instances("axis_server")[0]["node"])
        host.mend_link(controller)
        c.wait_nodes([node])
        c.wait_ready("axis_server", node)
        expect("heard through", "", c.node(node)["via"])
        expect("epoch", 1, c.instances("axis_server")[0]["epoch"])
        expect(f"{node} called lost", [], [e for e in c.events(after) if e["kind"] == "node-lost"
                                           and e["fields"]["node"] == node])


def whole_node_cut():
    """A node that nobody reaches is lost as quickly as without asking, and what the others found is shown."""
    with fleet(NAMES[:3]) as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        after = last_event(c)
        c.hosts[node].cut()
        began = time.time()
        ready = c.wait_event("ready", 10, after, service="axis_server", node=other)
        if when(ready) - began > 3:
            raise Failure(f"expected another copy within 3 s, got {when(ready) - began:.1f} s")
        wait_for(lambda: c.node(node)["answers"], 5, lambda: f"others were asked: {c.node(node)}")
        expect("answers", {"does not reach it either"}, set(c.node(node)["answers"].values()))
        c.hosts[node].heal()
        c.wait_nodes([node])
        expect("node-cut-off", 0, kinds(c, after).count("node-cut-off"))


def reset_seen():
    """A machine goes without a word, but its connection is seen to break: it is lost sooner than a silent one."""
    with fleet(NAMES[:3]) as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        after = last_event(c)
        c.hosts[node].power_off(reset=True)
        lost = c.wait_event("node-lost", 5, after, node=node)
        expect("cause", "reset", lost["fields"]["cause"])
        c.wait_event("ready", 10, after, service="axis_server")


def reboot_that_is_waited_for():
    """A node that announced a reboot and is usually back within max_gap is not emptied: its instance starts there again."""
    with fleet(NAMES[:2]) as c:
        up(c)
        host = c.hosts["SNode1"]

        def reboot_announced():
            host.cli("node", "leave", "--reboot")
            wait_for(lambda: host.daemon.poll() is not None, 10, "gantryd of SNode1 ends")
            host.power_off()
            host.start()
        reboot_announced()  # it is learned how long that takes
        c.wait_nodes(["SNode1"])
        if c.node("SNode1")["usual_reboot_ms"] > 20_000:
            raise Failure(f"expected a reboot of some seconds, got {c.node('SNode1')}")
        deploy(c, manifest(nodes=["SNode1"], service={"max_gap": "60s"}))
        c.wait_ready("axis_server", "SNode1")
        deploy(c, manifest(service={"max_gap": "60s"}))
        deploy(c, manifest("other", nodes=["SNode1"], port=3010))
        c.wait_ready("other", "SNode1")
        deploy(c, manifest("other", port=3010))
        after = last_event(c)
        reboot_announced()
        c.wait_event("node-rebooted", 20, after, node="SNode1")
        c.wait_ready("axis_server", "SNode1")
        expect("epoch", 1, c.instances("axis_server")[0]["epoch"])
        c.wait_ready("other", "SNode2")
        expect("lost", 0, kinds(c, after).count("lost"))
        wait_for(lambda: counts(c) == {"SNode1": 1, "SNode2": 1}, 5, lambda: f"one of each: {counts(c)}")


def silent_together():
    """Three of four nodes fall silent and nobody is asked: moves pause until the operator says that they are lost."""
    with fleet(NAMES, indirect=False) as c:
        up(c)
        for number in range(4):
            deploy(c, manifest(f"axis{number}", nodes=NAMES, port=4000 + number))
            c.wait_ready(f"axis{number}")
        before, after = places(c), last_event(c)
        for name in NAMES[:3]:
            c.hosts[name].cut()
        c.wait_event("moves-paused", 5, after)
        stays(lambda: places(c) == before, 4, lambda: f"nothing moves: {places(c)}, {kinds(c, after)}")
        c.controller().cli("node", "confirm-lost")
        for number in range(4):
            c.wait_ready(f"axis{number}", "SNode4")


def silent_together_confirmed():
    """The same where others are asked: the node that is heard confirms it, and nobody waits for the pause to end."""
    with fleet(NAMES) as c:
        up(c)
        for number in range(4):
            deploy(c, manifest(f"axis{number}", nodes=NAMES, port=4000 + number))
            c.wait_ready(f"axis{number}")
        for name in NAMES[:3]:
            c.hosts[name].cut()
        for number in range(4):
            c.wait_ready(f"axis{number}", "SNode4", seconds=10)


DETECTION = [link_to_controller_broken, whole_node_cut, reset_seen, reboot_that_is_waited_for, silent_together,
             silent_together_confirmed]
