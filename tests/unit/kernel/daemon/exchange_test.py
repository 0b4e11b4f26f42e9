#!/usr/bin/env python3
"""exchange_test.py GANTRYD GANTRY GANTRY-PLUGIN BUILD: one real gantryd that starts anew on itself: for a plugin that is
exchanged, for a changed configuration, for an upgrade of its own; and what stops it from doing so.

Every process started here has a deadline and is killed at the end.
"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

GANTRYD, GANTRY, TOOL, BUILD = sys.argv[1:5]
PLUGINS = pathlib.Path(BUILD) / "tests/plugins/daemon/probe"
LIMIT_S = 30
LISTEN = f"127.97.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 255}:3900"
CONFIG = """
state_dir = "{dir}/state"
[plugins]
path = ["{prefix}/lib/gantry/plugins", "{dir}/plugins"]
trusted_keys = "{dir}/keys"
[log]
level = "info"
[controller]
listen = "{listen}"
[placement.least-loaded]
[transport.vsoa]
secret_file = "{dir}/secret"
[store.sqlite]
path = "{dir}/state.db"
[frontend.http]
socket = "{dir}/api.sock"
[probe.crasher]
how = "not"
"""


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Asker(threading.Thread):
    """Asks without a pause; every request must be answered."""

    def __init__(self, path):
        super().__init__(daemon=True)  # of a test that fails, too
        self.path, self.done, self.failed, self.longest_s, self.asked = path, threading.Event(), [], 0, 0
        self.start()

    def run(self):
        while not self.done.is_set():
            began = time.monotonic()
            try:
                connection = Connection(self.path)
                connection.request("GET", "/v1/services")
                answer = connection.getresponse()
                if answer.status != 200:
                    self.failed.append(f"{answer.status}: {answer.read()}")
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            self.asked += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def end(self):
        self.done.set()
        self.join()
        return self.failed


class Exchange(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gantry-exchange.")
        self.addCleanup(folder.cleanup)
        self.dir, self.prefix = pathlib.Path(folder.name), pathlib.Path(BUILD)
        (self.dir / "secret").write_text("0123456789abcdef0123456789abcdef\n")
        (self.dir / "secret").chmod(0o600)
        for name in ("plugins/probe", "keys"):
            (self.dir / name).mkdir(parents=True, mode=0o755)
        (self.dir / "plugins").chmod(0o755)
        subprocess.run([TOOL, "keygen", str(self.dir / "key")], check=True, capture_output=True)
        shutil.copy(self.dir / "key.pub", self.dir / "keys/test.pub")
        (self.dir / "keys/test.pub").chmod(0o644)
        self.bring("crasher")
        self.daemon = None
        self.addCleanup(self.kill)

    def bring(self, name, to=None):
        """A plugin's file beside the configuration, signed with the key that is trusted there."""
        file = self.dir / "plugins/probe" / f"{to or name}.so"
        new = file.with_suffix(".new.so")
        shutil.copy(PLUGINS / f"{name}.so", new)
        new.chmod(0o644)
        subprocess.run([TOOL, "sign", "--key", str(self.dir / "key.key"), str(new)], check=True, capture_output=True)
        new.rename(file)
        return file

    def kill(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()

    def write(self, text=CONFIG):
        for key, value in {"dir": self.dir, "prefix": self.prefix, "listen": LISTEN}.items():
            text = text.replace("{" + key + "}", str(value))
        (self.dir / "gantry.toml").write_text(text)

    def up(self):
        self.write()
        with open(self.dir / "log", "w") as log:
            self.daemon = subprocess.Popen([f"{self.prefix}/bin/gantryd", "-c", str(self.dir / "gantry.toml")], stderr=log)
        self.wait(lambda: self.gantry("services").returncode == 0, "it answers, and has loaded its store")

    def wait(self, condition, what):
        end = time.monotonic() + LIMIT_S
        while not condition():
            self.assertIsNone(self.daemon.poll(), self.log())
            self.assertLess(time.monotonic(), end, f"not in time: {what}\n{self.log()}")
            time.sleep(0.01)

    def log(self):
        return (self.dir / "log").read_text()

    def gantry(self, *arguments):
        return subprocess.run([GANTRY, "--socket", str(self.dir / "api.sock"), *map(str, arguments)], capture_output=True,
                              text=True, timeout=LIMIT_S)

    def plugin(self, name="crasher"):
        done = self.gantry("--json", "plugins")
        self.assertEqual(done.returncode, 0, done.stderr)
        return next(p for p in json.loads(done.stdout)["items"] if p["name"] == name)

    def events(self):
        done = self.gantry("--json", "events", "-n", "1000")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kinds(self):
        return [event["kind"] for event in self.events()]

    def program(self):
        return os.readlink(f"/proc/{self.daemon.pid}/exe")

    def reload(self, *arguments, status=0):
        done = self.gantry(*arguments)
        self.assertEqual(done.returncode == 0, status == 0, done.stdout + done.stderr + self.log())
        return done.stdout if status == 0 else done.stderr

    # --- plugins of gantryd's own process ---
    def test_a_plugin_is_exchanged_while_every_request_is_answered(self):
        self.up()
        self.assertEqual(self.plugin()["isolation"], "none")
        asker = Asker(self.dir / "api.sock")
        new = self.bring("next", to="other")
        said = self.reload("plugins", "reload", "probe.crasher", "--file", new)
        self.assertIn(f"probe.crasher is version 2.0.0 now, from {new}", said)
        now = self.plugin()
        self.assertEqual((now["version"], now["file"], now["state"], now["isolation"]), ("2.0.0", str(new), "running", "none"))
        # It lasts over an exchange of another, and ends with one for the file of the plugin path.
        self.reload("plugins", "reload", "placement.least-loaded")
        self.assertEqual(self.plugin()["version"], "2.0.0")
        self.reload("plugins", "reload", "probe.crasher")
        self.assertEqual(self.plugin()["version"], "1.0.0")
        self.assertEqual(asker.end(), [])
        self.assertGreater(asker.asked, 10)
        self.assertEqual(self.kinds().count("plugin-exchanged"), 3)
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(LIMIT_S), 0, self.log())
        self.assertFalse((self.dir / "api.sock").exists())

    def test_a_follower_of_the_events_misses_none_and_hears_none_twice(self):
        self.up()
        command = [GANTRY, "--socket", str(self.dir / "api.sock"), "--json", "events", "-f", "--after", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
            for name in ("placement.least-loaded", "store.sqlite", "frontend.http", "transport.vsoa"):
                self.reload("plugins", "reload", name)
            last, numbers = self.events()[-1]["number"], []
            while not numbers or numbers[-1] < last:
                numbers.append(json.loads(follower.stdout.readline())["number"])
            follower.terminate()
        self.assertEqual(numbers, list(range(1, last + 1)))

    def refused(self, words, *arguments):
        """Nothing was begun."""
        before = self.kinds()
        said = self.reload(*arguments, status=1)
        self.assertIn(words, said)
        after = self.kinds()
        self.assertEqual(after[:len(before)], before)
        self.assertNotIn("gantryd-restarts", after[len(before):])
        self.assertEqual(self.plugin()["version"], "1.0.0")
        self.assertEqual(self.plugin()["state"], "running")
        return after[len(before):]

    def test_a_file_that_cannot_be_used_is_refused_before_anything_stops(self):
        self.up()
        exchange = ["plugins", "reload", "probe.crasher", "--file"]
        self.assertEqual(self.refused("is not there", *exchange, self.dir / "plugins/probe/none.so"), ["plugin-exchange-failed"])
        self.refused("offers the role placement/1", *exchange, f"{BUILD}/lib/gantry/plugins/placement/least-loaded.so")
        (self.dir / "plugins/probe/text.so").write_text("no plugin")
        self.refused("text.so", *exchange, self.dir / "plugins/probe/text.so")
        said = self.gantry(*exchange, self.bring("bomb")).stderr
        self.assertIn("its check was ended by", said)
        self.refused("its check was ended by", *exchange, self.dir / "plugins/probe/bomb.so")
        self.assertIn("there is no plugin probe.craher", self.gantry("plugins", "reload", "probe.craher").stderr)

    def test_a_file_that_does_not_start_makes_way_for_the_old_one_although_that_is_gone_from_the_disk(self):
        self.up()
        before = self.plugin()
        self.bring("stubborn", to="crasher")
        asker = Asker(self.dir / "api.sock")
        said = self.reload("plugins", "reload", "probe.crasher", status=1)
        self.assertEqual(asker.end(), [])
        self.assertIn("the new one has no wish to start", said)
        now = self.plugin()
        self.assertEqual((now["version"], now["digest"], now["state"]), ("1.0.0", before["digest"], "running"))
        self.assertIn("the new one has no wish to start", now["reason"])
        failed = next(e for e in self.events() if e["kind"] == "plugin-exchange-failed")
        self.assertIn("what was before goes on", failed["text"])
        # The way back is not for ever.
        self.bring("next", to="crasher")
        self.assertIn("is version 2.0.0 now", self.reload("plugins", "reload", "probe.crasher"))

    def test_an_upload_under_way_is_not_cut(self):
        self.up()
        with socket.socket(socket.AF_UNIX) as upload:
            upload.connect(str(self.dir / "api.sock"))
            digest = "sha256:" + "0" * 64
            upload.sendall(f"PUT /v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegin".encode())
            self.refused_in_time("an image is uploaded or read now")
        self.wait(lambda: self.gantry("plugins", "reload", "placement.least-loaded").returncode == 0, "after the upload")

    def refused_in_time(self, words):
        """The upload may not have reached the store yet."""
        def tried():
            done = self.gantry("plugins", "reload", "placement.least-loaded")
            return done.returncode != 0 and words in done.stderr
        self.wait(tried, words)

    # --- gantryd itself ---
    def make_prefix(self):
        self.prefix = self.dir / "prefix"
        (self.prefix / "bin").mkdir(parents=True)
        shutil.copytree(f"{BUILD}/lib/gantry", self.prefix / "lib/gantry")
        self.put_gantryd(pathlib.Path(GANTRYD).read_bytes())

    def put_gantryd(self, content):
        """As a package manager does it: another file under the same name."""
        new = self.prefix / "bin/gantryd.new"
        new.write_bytes(content)
        new.chmod(0o755)
        new.rename(self.prefix / "bin/gantryd")

    def test_an_upgraded_gantryd_takes_over(self):
        self.make_prefix()
        self.up()
        self.put_gantryd(pathlib.Path(GANTRYD).read_bytes())
        self.assertTrue(self.program().endswith("(deleted)"))
        asker = Asker(self.dir / "api.sock")
        self.reload("plugins", "reload", "placement.least-loaded")
        self.assertEqual(asker.end(), [])
        self.assertEqual(self.program(), f"{self.prefix}/bin/gantryd")

    def test_an_upgraded_gantryd_that_does_not_run_is_not_taken(self):
        self.make_prefix()
        self.up()
        for content, words in ((b"no program", "cannot be started"), (b"#!/bin/sh\necho it lacks a library; exit 127\n", "it lacks a library"),
                               (b"#!/bin/sh\nkill -SEGV $$\n", "its check was ended by Segmentation fault")):
            self.put_gantryd(content)
            self.assertIn(words, self.reload("plugins", "reload", "placement.least-loaded", status=1))
        self.assertNotIn("gantryd-restarts", self.kinds())

    def test_an_upgraded_gantryd_that_fails_after_its_check_makes_way_for_the_old_one(self):
        self.make_prefix()
        self.up()
        # Executes in its check, and cannot be executed when it counts.
        self.put_gantryd(b"#!/bin/sh\nmv " + str(self.prefix / "bin/gantryd").encode() + b" " + str(self.prefix / "bin/gone").encode() + b"\n")
        asker = Asker(self.dir / "api.sock")
        said = self.reload("plugins", "reload", "placement.least-loaded", status=1)
        self.assertEqual(asker.end(), [])
        self.assertIn("cannot be executed: No such file or directory", said)
        self.assertTrue(self.program().endswith("(deleted)"))
        self.put_gantryd(pathlib.Path(GANTRYD).read_bytes())
        self.reload("plugins", "reload", "placement.least-loaded")
        self.assertEqual(self.program(), f"{self.prefix}/bin/gantryd")

    # --- its configuration ---
    def test_a_changed_configuration_is_in_force_as_a_whole(self):
        self.up()
        asker = Asker(self.dir / "api.sock")
        self.write(CONFIG.replace('"info"', '"debug"').replace("[probe.crasher]", "[probe.tcp]\n[probe.crasher]"))
        self.assertIn("the configuration is in force: log.level, probe.tcp", self.reload("reload"))
        self.assertEqual(self.plugin("tcp")["state"], "running")
        self.assertEqual(self.reload("reload").strip(), "nothing in the configuration has changed")
        self.write()
        self.daemon.send_signal(signal.SIGHUP)
        self.wait(lambda: self.kinds().count("configuration-changed") == 2, "SIGHUP")
        self.assertNotIn("probe", [p["role"] for p in json.loads(self.gantry("--json", "plugins").stdout)["items"] if p["name"] == "tcp"])
        self.assertEqual(asker.end(), [])

    def test_a_wrong_configuration_changes_nothing_and_says_where_it_is_wrong(self):
        self.up()
        file = self.dir / "gantry.toml"
        for text, words in ((CONFIG + "nonsense\n", f"{file}:19:"),
                            (CONFIG.replace("level", "levle"), f"{file}:7:1: [log] has no key `levle`, did you mean `level`?"),
                            (CONFIG.replace('how = "not"', 'hwo = "not"'), f"{file}:18:1"),
                            (CONFIG.replace('how = "not"', 'how = "so"'), f"{file}:18:"),
                            (CONFIG.replace("{dir}/state\"", "{dir}/other\""), f"{file}:2:1: state_dir cannot change while gantryd runs"),
                            (CONFIG.replace("[probe.crasher]", "[probe.crahser]"), "no crahser.so"),
                            (CONFIG.replace("[store.sqlite]", "[store.sqlite]\nreserve = \"1MiB\""), "store.sqlite.reserve cannot change")):
            self.write(text)
            self.assertEqual(self.refused(words, "reload"), ["configuration-refused"])
            self.assertIn(words, self.log())
        self.daemon.send_signal(signal.SIGHUP)
        self.wait(lambda: self.kinds().count("configuration-refused") == 8, "SIGHUP")
        # What runs is what was: also after an exchange, which does not read the file.
        self.reload("plugins", "reload", "placement.least-loaded")
        self.assertEqual(self.plugin()["state"], "running")

    def test_a_configuration_that_does_not_start_makes_way_for_the_old_one(self):
        self.up()
        asker = Asker(self.dir / "api.sock")
        self.write(CONFIG.replace("{listen}", "192.0.2.1:3900"))
        said = self.reload("reload", status=1)
        self.assertIn("cannot listen on 192.0.2.1:3900", said)
        self.assertIn("what was before goes on", said)
        self.assertEqual(asker.end(), [])
        self.assertIn(LISTEN, self.gantry("--json", "status").stdout + self.log())
        self.write()
        self.assertEqual(self.reload("reload").strip(), "nothing in the configuration has changed")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
