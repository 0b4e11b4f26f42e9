#!/usr/bin/env python3
"""setup_test.py GANTRY GANTRYD: gantry cluster init, join and doctor, on files of this test alone."""
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
import time
import unittest

GANTRY, GANTRYD = sys.argv[1:3]
LIMIT_S = 15
LISTEN = f"127.98.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 255}:3900"
RUNNING = """
state_dir = "{dir}/state"
[controller]
listen = "{listen}"
[transport.vsoa]
secret_file = "{dir}/secret"
[placement.least-loaded]
[store.sqlite]
path = "{dir}/state.db"
[frontend.http]
socket = "{dir}/api.sock"
"""


class Setup(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="gantry-setup.")
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)
        self.config = self.dir / "etc" / "gantry.toml"
        self.state = self.dir / "state"

    def gantry(self, *arguments, status=0):
        done = subprocess.run([GANTRY, "--socket", self.dir / "api.sock", *map(str, arguments)],
                              capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def init(self, *arguments, status=0):
        return self.gantry("cluster", "init", "--config", self.config, *arguments, status=status)

    def join(self, *arguments, status=0):
        return self.gantry("join", "10.0.0.1:3900", "--config", self.config, "--state-dir", self.state, *arguments,
                           status=status)

    def assert_good(self):
        done = subprocess.run([GANTRYD, "--check", "-c", self.config], capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_first_controller_has_a_secret_and_a_configuration_that_gantryd_takes(self):
        said = self.init()
        self.assertIn("gantry join ADDRESS-OF-THIS-GATEWAY:3900 --secret-file cluster.secret", said)
        secret = self.config.parent / "cluster.secret"
        self.assertRegex(secret.read_text(), r"^[0-9a-f]{64}\n$")
        self.assertEqual(stat.S_IMODE(secret.stat().st_mode), 0o600)
        self.assertIn('listen = "0.0.0.0:3900"', self.config.read_text())
        self.assert_good()

    def test_a_gateway_for_itself_becomes_a_controller_for_others_with_the_same_secret(self):
        self.init("--local")
        self.assertIn('listen = "127.0.0.1:3900"', self.config.read_text())
        secret = (self.config.parent / "cluster.secret").read_text()
        self.init("--listen", "10.0.0.1:4000", "--engine", "crun")
        self.assertIn('listen = "10.0.0.1:4000"', self.config.read_text())
        self.assertIn('engine = "crun"', self.config.read_text())
        self.assertEqual((self.config.parent / "cluster.secret").read_text(), secret)
        self.assert_good()

    def test_a_configuration_that_was_changed_by_hand_is_left_alone_unless_forced(self):
        self.init()
        changed = self.config.read_text() + "\n[log]\nlevel = \"debug\"\n"
        self.config.write_text(changed)
        self.assertIn("changed by hand", self.init(status=1))
        self.assertEqual(self.config.read_text(), changed)
        self.init("--force")
        self.assertNotIn("debug", self.config.read_text())
        self.assertEqual((self.config.parent / "gantry.toml.old").read_text(), changed)

    def test_a_node_that_joins_forgets_its_cluster_and_stays_itself(self):
        self.init("--local")
        secret = self.dir / "secret"
        secret.write_text("0123456789abcdef0123456789abcdef\n")
        self.state.mkdir()
        for name in ("agent.json", "state.db", "node_id"):
            (self.state / name).write_text(name)
        self.assertIn("on the controller lists this gateway", self.join("--secret-file", secret))
        self.assertNotIn("[controller]", self.config.read_text())
        self.assertIn('controllers = ["10.0.0.1:3900"]', self.config.read_text())
        self.assertEqual((self.config.parent / "cluster.secret").read_text(), secret.read_text())
        self.assertEqual(sorted(p.name for p in self.state.iterdir()), ["before-join", "node_id"])
        self.assertEqual(sorted(p.name for p in (self.state / "before-join").iterdir()), ["agent.json", "state.db"])
        self.assert_good()

    def test_a_secret_that_is_none_is_refused_before_anything_changes(self):
        self.init("--local")
        before = self.config.read_text()
        (self.dir / "secret").write_text("short")
        self.assertIn("at least 16 bytes, got 5", self.join("--secret-file", self.dir / "secret", status=1))
        self.assertIn("No such file", self.join("--secret-file", self.dir / "nowhere", status=1))
        self.assertEqual(self.config.read_text(), before)

    def test_a_configuration_that_cannot_be_written_leaves_all_as_it_was(self):
        self.init("--local")
        secret = self.dir / "secret"
        secret.write_text("0123456789abcdef0123456789abcdef\n")
        self.state.mkdir()
        (self.state / "agent.json").write_text("{}")
        (self.config.parent / "gantry.toml.new").mkdir()  # in the way, for root as well
        before = {path.name: path.read_text() for path in self.config.parent.iterdir() if path.is_file()}
        self.assertIn("cannot write", self.join("--secret-file", secret, status=1))
        after = {path.name: path.read_text() for path in self.config.parent.iterdir() if path.is_file()}
        self.assertEqual(after, before)
        self.assertEqual([path.name for path in self.state.iterdir()], ["agent.json"])
        (self.config.parent / "gantry.toml.new").rmdir()
        self.join("--secret-file", secret)
        self.assertEqual([path.name for path in self.state.iterdir()], ["before-join"])

    def test_a_node_does_not_join_while_its_gantryd_runs(self):
        secret = self.dir / "secret"
        secret.write_text("0123456789abcdef0123456789abcdef\n")
        secret.chmod(0o600)
        file = self.dir / "running.toml"
        file.write_text(RUNNING.replace("{dir}", str(self.dir)).replace("{listen}", LISTEN))
        daemon = subprocess.Popen([GANTRYD, "-c", file], stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + LIMIT_S
            while not (self.dir / "api.sock").exists() and time.monotonic() < until:
                time.sleep(0.02)
            self.assertIn("gantryd runs here: stop it first", self.join("--secret-file", secret, status=1))
            self.assertFalse(self.config.exists())
        finally:
            daemon.kill()
            daemon.wait()

    def test_the_doctor_says_the_cure_for_what_is_missing(self):
        said = self.gantry("doctor", "--json", "--config", self.config, "--state-dir", self.state, status=1)
        found = {item["what"]: item for item in json.loads(said.splitlines()[0])["items"]}
        self.assertEqual(found["configuration"]["verdict"], "bad")
        self.assertEqual(found["configuration"]["cure"], "gantry cluster init, or gantry join")
        self.assertEqual(found["gantryd"]["verdict"], "warning")
        self.assertEqual(found["secret"]["verdict"], "bad")
        self.assertIn(found["disk"]["verdict"], ("good", "warning"))
        self.init("--local")
        (self.config.parent / "cluster.secret").chmod(0o644)
        text = self.gantry("doctor", "--config", self.config, "--state-dir", self.state, status=1)
        self.assertRegex(text, re.compile(r"^good +configuration", re.M))
        self.assertRegex(text, re.compile(r"^bad +secret .* chmod 600 ", re.M))
        self.config.write_text("[nod]\n")
        text = self.gantry("doctor", "--config", self.config, "--state-dir", self.state, status=1)
        self.assertRegex(text, re.compile(r"^bad +configuration .*gantry.toml:1:", re.M))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
