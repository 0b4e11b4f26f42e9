#!/usr/bin/env python3
"""daemon_test.py GANTRYD: exit statuses, refusals, warnings and signals of one gantryd on loopback addresses.

Every process started here has a deadline and is killed at the end; no container is started.
"""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

GANTRYD = sys.argv[1]
CONFIG_STATUS = 78
LIMIT_S = 15
# An address of this process alone, so that nobody else has its port.
LISTEN = f"127.99.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 255}:3900"
PARTS = """
[transport.vsoa]
secret_file = "{dir}/secret"
[runtime.process]
"""
NODE = """
state_dir = "{dir}/state"
[node]
name = "SNode1"
boot_id_file = "{dir}/boot_id"
""" + PARTS
CONTROLLER = """
[controller]
listen = "{listen}"
[placement.least-loaded]
[store.sqlite]
path = "{dir}/state.db"
"""
ALONE = "\n[discovery.static]\ncontrollers = []\n"


class Running:
    """A gantryd under way: its log, line by line, as it is written."""

    def __init__(self, file, environment):
        self.process = subprocess.Popen([GANTRYD, "-c", str(file)], stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **environment})
        self.began, self.lines, self.ended = time.monotonic(), [], False
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append((time.monotonic() - self.began, line))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, words):
        """Seconds from the start to the first line with `words`."""
        def found():
            return next((at for at, line in self.lines if words in line), None)

        with self.changed:
            self.changed.wait_for(lambda: self.ended or found() is not None, LIMIT_S)
            if found() is None:
                raise AssertionError(f"expected `{words}` in the log, got: {self.text()}")
            return found()

    def text(self):
        return "".join(line for _, line in self.lines)

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


class Daemon(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="gantry-daemon.")
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)
        (self.dir / "secret").write_text("0123456789abcdef0123456789abcdef\n")
        (self.dir / "secret").chmod(0o600)
        (self.dir / "boot_id").write_text("boot-1\n")

    def config(self, text):
        file = self.dir / "gantry.toml"
        file.write_text(text.replace("{dir}", str(self.dir)).replace("{listen}", LISTEN))
        return file

    def refused(self, *arguments):
        """Exit status and words of a gantryd that does not start."""
        done = subprocess.run([GANTRYD, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S)
        return done.returncode, done.stderr

    @contextlib.contextmanager
    def running(self, text, **environment):
        daemon = Running(self.config(text), environment)
        try:
            yield daemon
        finally:
            daemon.process.kill()
            daemon.process.wait()
            daemon.reader.join()
            daemon.process.stderr.close()

    def assert_refused(self, status, words, *arguments):
        got, text = self.refused(*arguments)
        self.assertEqual(got, status, text)
        self.assertIn(words, text)

    def test_the_service_manager_hears_that_it_is_ready_that_its_loop_lives_and_that_it_stops(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self.dir / "notify"))
            manager.settimeout(LIMIT_S)
            with self.running(NODE + CONTROLLER, NOTIFY_SOCKET=str(self.dir / "notify"), WATCHDOG_USEC="300000") as daemon:
                self.assertEqual(manager.recv(999), b"READY=1\nSTATUS=controller and node SNode1")
                for _ in range(3):
                    self.assertEqual(manager.recv(999), b"WATCHDOG=1")
                daemon.process.send_signal(signal.SIGSTOP)
                manager.settimeout(0.3)
                with self.assertRaises(TimeoutError):  # whatever was on its way is one at most
                    for _ in range(2):
                        manager.recv(999)
                manager.settimeout(LIMIT_S)
                daemon.process.send_signal(signal.SIGCONT)
                self.assertEqual(manager.recv(999), b"WATCHDOG=1")
                # What runs on in this process after an exchange still speaks to the manager.
                self.config(NODE.replace('name = "SNode1"', 'name = "SNode1"\nlabels = { site = "press-3" }') + CONTROLLER)
                daemon.process.send_signal(signal.SIGHUP)
                daemon.wait_for("the configuration is in force")
                said, end = [], time.monotonic() + LIMIT_S
                while b"READY=1\nSTATUS=controller and node SNode1" not in said or said[-1] != b"WATCHDOG=1":
                    self.assertLess(time.monotonic(), end, said)
                    said.append(manager.recv(999))
                self.assertEqual(daemon.end(signal.SIGTERM), 0)
                manager.setblocking(False)
                rest = []
                with contextlib.suppress(BlockingIOError):
                    while True:
                        rest.append(manager.recv(999))
                self.assertIn(b"STOPPING=1", rest)

    def test_a_file_that_is_not_there_is_a_wrong_configuration(self):
        self.assert_refused(CONFIG_STATUS, "nowhere.toml", "-c", self.dir / "nowhere.toml")

    def test_an_unknown_option_is_refused_and_the_version_is_told(self):
        status, text = self.refused("--chekc")
        self.assertNotIn(status, (0, CONFIG_STATUS))
        self.assertIn("--chekc", text)
        version = subprocess.run([GANTRYD, "--version"], capture_output=True, text=True, timeout=LIMIT_S)
        self.assertEqual(version.returncode, 0)
        self.assertRegex(version.stdout, r"^gantryd \d")

    def test_a_wrong_key_is_refused_with_its_place_also_by_check(self):
        file = self.config(NODE.replace("boot_id_file", "boot_id_fiel") + ALONE)
        for arguments in (["-c", file], ["--check", "-c", file]):
            self.assert_refused(CONFIG_STATUS, f"{file}:5:1", *arguments)

    def test_check_looks_into_the_tables_of_plugins_and_starts_nothing(self):
        self.assertEqual(self.refused("--check", "-c", self.config(NODE + CONTROLLER))[0], 0)
        self.assertFalse((self.dir / "state").exists())
        self.assertFalse((self.dir / "state.db").exists())
        file = self.config(NODE + CONTROLLER + 'reserve = "much"\n')
        self.assert_refused(CONFIG_STATUS, f"{file}:16:", "--check", "-c", file)

    def test_a_required_plugin_that_is_not_there_is_a_wrong_configuration(self):
        file = self.config(NODE.replace("[runtime.process]", "[runtime.proces]") + ALONE)
        for arguments in (["-c", file], ["--check", "-c", file]):
            self.assert_refused(CONFIG_STATUS, "runtime.proces", *arguments)

    def test_a_port_in_use_is_no_wrong_configuration_and_may_be_tried_again(self):
        host, port = LISTEN.split(":")
        with socket.create_server((host, int(port))):
            self.assert_refused(1, f"cannot listen on {LISTEN}: Address already in use", "-c", self.config(NODE + CONTROLLER))

    def test_a_required_plugin_that_does_not_start_is_a_wrong_configuration(self):
        (self.dir / "state.db").write_text("no database")
        self.assert_refused(CONFIG_STATUS, "the required plugin store.sqlite", "-c", self.config(NODE + CONTROLLER))

    def test_a_state_folder_that_cannot_be_made_is_a_failure(self):
        (self.dir / "state").write_text("a file")
        self.assert_refused(1, str(self.dir / "state"), "-c", self.config(NODE + ALONE))

    def test_an_address_that_is_taken_is_a_failure(self):
        with self.running(NODE + CONTROLLER) as first:
            first.wait_for(f"controller listens on {LISTEN}")
            file = self.config((NODE + CONTROLLER).replace("{dir}/state", "{dir}/other"))
            self.assert_refused(1, f"cannot listen on {LISTEN}", "-c", file)

    def test_signals_stop_it_and_say_that_containers_go_on(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.running(NODE + CONTROLLER) as daemon:
                daemon.wait_for("node SNode1 started")
                self.assertEqual(daemon.end(number), 0, daemon.text())
                daemon.wait_for("stopping; containers go on")

    def test_a_hang_up_of_a_pipe_does_not_end_it(self):
        with self.running(NODE + CONTROLLER) as daemon:
            daemon.wait_for("node SNode1 started")
            daemon.process.send_signal(signal.SIGPIPE)
            self.assertEqual(daemon.end(signal.SIGTERM), 0, daemon.text())

    def test_a_node_that_finds_no_controller_says_so_once_after_five_seconds(self):
        with self.running(NODE + ALONE) as daemon:
            started = daemon.wait_for("node SNode1 started")
            self.assertGreater(daemon.wait_for("no controller is known") - started, 4.5)
            self.assertEqual(daemon.end(signal.SIGTERM), 0, daemon.text())
            self.assertEqual(daemon.text().count("no controller is known"), 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
