#!/usr/bin/env python3
"""trust_test.py GANTRYD GANTRY GANTRY-PLUGIN BUILD: which plugins one real gantryd runs: changed ones, signed and
unsigned ones, and one that takes gantryd down.

Every process started here has a deadline and is killed at the end.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

GANTRYD, GANTRY, TOOL, BUILD = sys.argv[1:5]
CRASHER = pathlib.Path(BUILD) / "tests/plugins/daemon/probe/crasher.so"
PACKAGE = pathlib.Path(BUILD) / "lib/gantry/plugins"
LIMIT_S = 30
CONFIG_STATUS = 78
LISTEN = f"127.98.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 255}:3900"
CONFIG = """
state_dir = "{dir}/state"
[plugins]
path = ["{package}", "{dir}/plugins"]
trusted_keys = "{dir}/keys"
{more}
[controller]
listen = "{listen}"
[placement.least-loaded]
[transport.vsoa]
secret_file = "{dir}/secret"
[store.sqlite]
path = "{dir}/state.db"
[frontend.http]
socket = "{dir}/api.sock"
required = true
[probe.tcp]
{tables}
"""


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Trust(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gantry-trust.")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        (self.dir / "secret").write_text("0123456789abcdef0123456789abcdef\n")
        (self.dir / "secret").chmod(0o600)
        for name in ("plugins/probe", "keys"):
            (self.dir / name).mkdir(parents=True, mode=0o755)
        (self.dir / "plugins").chmod(0o755)
        self.plugin = self.dir / "plugins/probe/crasher.so"
        shutil.copy(CRASHER, self.plugin)
        self.plugin.chmod(0o644)
        self.gantryd, self.package, self.daemon = GANTRYD, PACKAGE, None
        self.addCleanup(self.kill)

    def kill(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    # --- one gantryd ---
    def start(self, tables="", more=""):
        text = CONFIG
        for key, value in {"dir": self.dir, "package": self.package, "listen": LISTEN, "tables": tables, "more": more}.items():
            text = text.replace("{" + key + "}", str(value))
        (self.dir / "gantry.toml").write_text(text)
        with open(self.dir / "log", "w") as log:
            self.daemon = subprocess.Popen([self.gantryd, "-c", str(self.dir / "gantry.toml")], stderr=log, preexec_fn=no_core)

    def log(self):
        return (self.dir / "log").read_text()

    def ended(self, *how):
        self.start(*how)
        status = self.daemon.wait(LIMIT_S)
        self.daemon = None
        return status

    def up(self, *how):
        """Starts it; its plugins by their names, as soon as it answers."""
        self.start(*how)
        end = time.monotonic() + LIMIT_S
        while True:
            self.assertIsNone(self.daemon.poll(), self.log())
            done = self.gantry("--json", "plugins")
            if done.returncode == 0:
                return {plugin["name"]: plugin for plugin in json.loads(done.stdout)["items"]}
            self.assertLess(time.monotonic(), end, done.stderr + self.log())
            time.sleep(0.02)

    def down(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(LIMIT_S), 0, self.log())
        self.daemon = None

    def gantry(self, *arguments):
        return subprocess.run([GANTRY, "--socket", str(self.dir / "api.sock"), *arguments], capture_output=True, text=True,
                              timeout=LIMIT_S)

    def sign(self, trusted=True):
        key = self.dir / "acme"
        if not key.with_suffix(".key").exists():
            subprocess.run([TOOL, "keygen", str(key)], check=True, capture_output=True, timeout=LIMIT_S)
        if trusted:
            shutil.copy(key.with_suffix(".pub"), self.dir / "keys")
            (self.dir / "keys/acme.pub").chmod(0o644)
        subprocess.run([TOOL, "sign", "--key", str(key.with_suffix(".key")), str(self.plugin)], check=True,
                       capture_output=True, timeout=LIMIT_S)

    def crash(self, times, table="[probe.crasher]", number=signal.SIGSEGV):
        for _ in range(times):
            self.assertEqual(self.ended(table), -number, self.log())

    # --- the package ---
    def own_copy(self):
        """A gantryd of its own with its plugins, as a package would install them."""
        (self.dir / "bin").mkdir()
        shutil.copy(GANTRYD, self.dir / "bin")
        shutil.copytree(PACKAGE, self.dir / "lib/gantry/plugins")
        for folder in (self.dir / "lib", *(self.dir / "lib").rglob("*")):
            folder.chmod(0o755 if folder.is_dir() else 0o644)
        self.gantryd, self.package = str(self.dir / "bin/gantryd"), self.dir / "lib/gantry/plugins"

    def change(self, name):
        file = self.package / name
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        return file

    def test_a_plugin_of_the_package_that_was_changed_is_refused_by_name(self):
        self.own_copy()
        self.assertEqual(self.up()["tcp"]["trust"], "package")
        self.down()
        file = self.change("probe/tcp.so")
        plugin = self.up()["tcp"]
        self.assertEqual(plugin["state"], "refused")
        self.assertIn(f"{file} was changed: {self.package}/gantry-plugins.sha256 expects SHA-256 ", plugin["reason"])
        self.assertIn(plugin["reason"], self.gantry("plugins").stdout)
        self.down()
        file = self.change("transport/vsoa.so")
        self.assertEqual(self.ended(), CONFIG_STATUS)
        self.assertIn(f"the required plugin transport.vsoa is refused: {file} was changed", self.log())

    def test_a_plugin_put_among_those_of_the_package_is_refused_by_name(self):
        self.own_copy()
        shutil.copy(self.plugin, self.package / "probe/crasher.so")
        plugin = self.up("[probe.crasher]")["crasher"]
        self.assertEqual(plugin["state"], "refused")
        self.assertIn(f"{self.package}/probe/crasher.so is not in {self.package}/gantry-plugins.sha256", plugin["reason"])

    # --- signatures ---
    def test_with_signatures_required_only_a_trusted_key_and_the_package_vouch_for_plugins(self):
        table, require = '[probe.crasher]\nhow = "not"', "require_signature = true"
        plugins = self.up(table, require)
        self.assertEqual(plugins["tcp"]["state"], "running")
        self.assertEqual(plugins["crasher"]["state"], "refused")
        self.assertIn("it is not signed, and [plugins] require_signature is on", plugins["crasher"]["reason"])
        self.down()
        self.sign(trusted=False)
        self.assertIn("it is signed by the key ", self.up(table, require)["crasher"]["reason"])
        self.down()
        self.sign()
        plugin = self.up(table, require)["crasher"]
        self.assertEqual((plugin["state"], plugin["trust"]), ("running", "signed by acme"))
        self.down()
        data = bytearray(self.plugin.read_bytes())
        data[len(data) // 2] ^= 1
        self.plugin.write_bytes(data)
        plugin = self.up(table, require)["crasher"]
        self.assertEqual(plugin["state"], "refused")
        self.assertIn(f"{self.plugin} was changed: it is not what acme signed", plugin["reason"])

    def test_what_nobody_vouches_for_runs_in_a_process_of_its_own(self):
        plugin = self.up('[probe.crasher]\nhow = "not"')["crasher"]
        self.assertEqual((plugin["state"], plugin["isolation"], plugin["trust"], plugin["reason"]),
                         ("running", "process", "not signed", "it is not signed"))
        self.assertNotIn(plugin["pid"], (0, self.daemon.pid))
        self.sign()
        self.down()
        plugin = self.up('[probe.crasher]\nhow = "not"')["crasher"]
        self.assertEqual((plugin["state"], plugin["isolation"], plugin["reason"]), ("running", "none", ""))

    # --- crashes ---
    def wait_for(self, state, *how):
        """Starts it; the crasher as soon as it is in that state."""
        self.up(*how)
        return self.state(state)

    def crasher(self):
        return {p["name"]: p for p in json.loads(self.gantry("--json", "plugins").stdout)["items"]}["crasher"]

    def state(self, state):
        end = time.monotonic() + LIMIT_S
        while (plugin := self.crasher())["state"] != state:
            self.assertLess(time.monotonic(), end, f"{plugin} {self.log()}")
            time.sleep(0.02)
        return plugin

    def test_an_optional_plugin_that_crashes_isolated_as_well_is_refused(self):
        self.sign()
        table = '[probe.crasher]\nisolation = "process"\nhow = "later"'
        words = "crashed 3 times within 5 minutes, last in its process (it was killed by signal 6 (Aborted)), isolated as well"
        self.assertIn(words, self.wait_for("refused", table)["reason"])
        self.down()
        self.assertIn(words, self.wait_for("refused", table)["reason"])
        # Refused at the start it has no process to be started again: gantryd starts anew on itself, at once.
        done = self.gantry("plugins", "clear", "crasher")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("probe.crasher is version 1.0.0 now", done.stdout)
        plugin = self.state("refused")
        self.assertEqual((plugin["crashes"], plugin["isolation"]), (3, "process"))
        self.assertGreaterEqual(plugin["restarts"], 2)

    def test_a_plugin_that_was_moved_apart_comes_back_into_gantryd_at_once_when_it_runs(self):
        self.sign()
        table = '[probe.crasher]\nhow = "not"'
        for how in ("clear", "allow"):
            self.crash(3)
            plugin = self.up(table)["crasher"]
            self.assertEqual((plugin["state"], plugin["isolation"]), ("running", "process"))
            done = self.gantry("plugins", how, "crasher")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("probe.crasher is version 1.0.0 now", done.stdout)
            plugin = self.crasher()
            self.assertEqual((plugin["state"], plugin["isolation"], plugin["reason"]), ("running", "none", ""))
            self.assertEqual(plugin["crashes"], 0 if how == "clear" else 3)
            self.assertEqual(json.loads(self.gantry("--json", "plugins", how, "crasher").stdout).get("restarts"), None)
            self.down()

    def test_clear_and_allow_start_a_process_again_that_was_given_up(self):
        self.sign()
        table = '[probe.crasher]\nisolation = "process"\nhow = "later"'
        first = self.wait_for("refused", table)
        done = self.gantry("plugins", "clear", "crasher")
        self.assertIn("its process is being started again", done.stdout + done.stderr)
        again = self.state("refused")
        self.assertEqual(again["crashes"], 3)
        self.assertGreater(again["restarts"], first["restarts"])
        done = self.gantry("--json", "plugins", "allow", "crasher")
        self.assertTrue(json.loads(done.stdout)["started"])
        end = time.monotonic() + LIMIT_S
        while self.crasher()["crashes"] <= 3:  # they do not count any more
            self.assertLess(time.monotonic(), end, self.log())
            time.sleep(0.02)
        self.assertNotEqual(self.crasher()["state"], "refused")

    def test_a_required_plugin_that_fails_isolated_as_well_is_tried_for_ever(self):
        self.sign()
        table = "[probe.crasher]\nrequired = true"
        self.crash(3, table)
        plugin = self.up(table)["crasher"]
        self.assertEqual((plugin["state"], plugin["isolation"]), ("failed", "process"))
        end = time.monotonic() + LIMIT_S
        while "tried again in 2 s" not in self.log():
            self.assertLess(time.monotonic(), end, self.log())
            time.sleep(0.02)
        self.assertIn("tried again in 1 s", self.log())
        self.down()

    def test_after_three_crashes_a_plugin_does_not_take_gantryd_down_again(self):
        self.sign()
        self.crash(2)
        self.crash(1, '[probe.crasher]\nhow = "abort"', signal.SIGABRT)
        words = "it crashed 3 times within 5 minutes, last in start (SIGABRT)"
        for _ in range(2):  # remembered over an orderly restart
            plugin = self.up("[probe.crasher]")["crasher"]
            self.assertEqual((plugin["state"], plugin["isolation"]), ("failed", "process"))
            self.assertIn("its process ended", plugin["reason"])
            self.assertIn(words, plugin["reason"])
            self.assertGreaterEqual(plugin["crashes"], 3)
            self.assertIn(words, self.gantry("plugins").stdout)
            self.down()

    def test_crashes_on_a_thread_that_a_plugin_made_count_as_its_own(self):
        self.sign()
        table = '[probe.crasher]\nhow = "thread"'
        self.crash(3, table, signal.SIGABRT)
        plugin = self.up(table)["crasher"]
        self.assertEqual((plugin["state"], plugin["isolation"]), ("failed", "process"))
        self.assertIn("it crashed 3 times within 5 minutes, last in a thread (SIGABRT)", plugin["reason"])
        self.assertIn("the last gantryd ended by SIGABRT in a thread of probe.crasher", self.log())

    def test_crashes_are_told_cleared_and_allowed(self):
        self.sign()
        self.crash(3)
        self.up("[probe.crasher]")
        self.assertIn("the last gantryd ended by SIGSEGV in start of probe.crasher", self.log())
        self.assertIn("gantryd-crashed", self.gantry("events").stdout)
        # It does not run apart from gantryd either: inside it would take gantryd along at once.
        done = self.gantry("plugins", "clear", "crasher")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("systemctl restart gantryd", done.stderr)
        self.down()
        self.crash(3)
        self.up("[probe.crasher]")
        self.assertEqual(self.gantry("plugins", "allow", "probe.crasher").returncode, 0)
        self.down()
        self.crash(4)

    def test_a_new_file_of_a_plugin_begins_anew(self):
        self.sign()
        self.crash(3)
        with open(self.plugin, "rb") as file:
            unsigned = file.read()[:-128]
        self.plugin.write_bytes(unsigned + b"\0" * 8)
        self.sign()
        self.crash(1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
