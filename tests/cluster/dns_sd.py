"""Controllers that are found by discovery/mdns, through a real avahi-daemon on every host."""
import sys

from fleet import *  # noqa: F403
import avahi  # noqa: E402
from beacons import joins_within  # noqa: E402


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def avahi_folder():
    root, missing = avahi.programs(build_folder())
    return root if root else skip(missing)


def found_by_dns_sd():
    """A new gateway finds its controller by DNS-SD, through avahi-daemon; where that is missing the plugin says so, and goes
    on when it comes; it has a process of its own unless told otherwise."""
    if not is_root():
        skip("avahi-daemon and the bus it speaks on change to users of their own, which takes root")
    root = avahi_folder()
    with Cluster() as c:
        c.add("controller", controller=True, discovery=["[discovery.mdns]", "announce = 3900"])
        for name in ("SNode1", "SNode2"):
            c.add(name, discovery=["[discovery.mdns]"])
        controller, first, second = c.hosts.values()
        daemons = {}
        for host in c.hosts.values():
            host.start(daemon=False)
            daemons[host.name] = avahi.Daemons(host, root)
        for host in (controller, first):
            daemons[host.name].start_bus()
            daemons[host.name].start_avahi()
        controller.start_daemon()
        wait_for(controller.ready, 15, "the controller answers")
        # avahi-daemon probes a new name for 0.75 s, and answers wait for others to answer with them.
        joins_within(c, first.name, 5, first.start_daemon)
        shown = next(p for p in first.get("/v1/plugins")["items"] if p["name"] == "mdns")
        expect("isolation without a word in the table", "process", shown["isolation"])

        def said(host, text):
            wait_for(lambda: text in host.log.read_text(), 10, lambda: f"{host.name} says '{text}':\n{host.log_tail()}")
        # Without D-Bus, then without avahi-daemon, then with both; then without again.
        second.start_daemon()
        said(second, "the system's D-Bus is not there")
        daemons[second.name].start_bus()
        said(second, "avahi-daemon is not there: org.freedesktop.DBus.Error.ServiceUnknown")
        expect(f"{second.name} among the nodes", None, c.node(second.name))
        joins_within(c, second.name, 5, daemons[second.name].start_avahi)
        daemons[second.name].end(daemons[second.name].avahi)
        said(second, "avahi-daemon is not there: it has ended")
        daemons[second.name].start_avahi()
        wait_for(lambda: second.log.read_text().count("avahi-daemon is there") == 2, 10, "it is there again")
        daemons[second.name].end(daemons[second.name].bus)
        said(second, "the system's D-Bus is gone")
        expect("liveness of a node that has joined", "ready", c.node(second.name)["liveness"])


found_by_dns_sd.before = avahi_folder  # what has to be fetched is fetched where there is a network
DNS_SD = [found_by_dns_sd]
