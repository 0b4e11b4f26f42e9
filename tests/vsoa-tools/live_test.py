#!/usr/bin/env python3
"""vsoa dump of a live interface. Whoever may not listen on the machine's own does it in a network namespace."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

from tool import DEADLINE_S, VSOA, main, run, server, vsoa

OWN_NETWORK = "GANTRY_TEST_OWN_NETWORK"


class Live(unittest.TestCase):
    def test_the_loopback_device_is_decoded_while_it_goes_on(self):
        with server() as at:
            port = at.split(":")[1]
            with vsoa("dump", "-i", "lo", "--json", "--port", port) as dump:
                # What is sent before it listens is not seen, and the first call may be seen by half.
                while dump.lines.empty():
                    run("call", at + "/echo", "--param", "[1]")
                run("call", at + "/echo", "--param", "[2]")
                dump.line_with(f'"to":"{at}","transport":"tcp","type":"servinfo"')
                answer = json.loads(dump.line_with('"reply":true,"status":0,"seqno":1'))
                self.assertEqual((answer["answers"], answer["from"]), ("/echo", at))
                self.assertEqual(dump.stop(), 130)

    def test_an_interface_that_is_not_there_is_told(self):
        done = run("dump", "-i", "nowhere0")
        self.assertEqual((done.returncode, "no such interface" in done.stderr), (3, True), done.stderr)


class Refused(unittest.TestCase):
    def test_a_user_who_may_not_listen_is_told(self):
        # Root of a user namespace has no say in the network of the machine.
        nobody = ["unshare", "--user", "--map-root-user"] if os.geteuid() == 0 else []
        done = subprocess.run([*nobody, VSOA, "dump", "-i", "lo"], capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertEqual((done.returncode, "not allowed" in done.stderr), (77, True), done.stderr)


def in_own_network():
    """This program again, as root of a network namespace."""
    inside = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode != 0:
        print("skipped: an ordinary user may not listen, and there are no user namespaces here")
        sys.exit(77)
    os.environ[OWN_NETWORK] = "1"
    script = pathlib.Path(__file__).resolve()
    return subprocess.run([*inside, "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable, script]).returncode


if __name__ == "__main__":
    if os.environ.get(OWN_NETWORK):
        main([Live])
    elif os.geteuid() == 0:
        main([Live, Refused])
    else:
        if in_own_network() != 0:
            sys.exit(1)
        main([Refused])
