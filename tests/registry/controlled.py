"""One gantryd (a controller) for each test, on a loopback address of this process alone, and a TMPDIR to look into.

The first two arguments of the program are GANTRYD and GANTRY.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

GANTRYD, GANTRY = sys.argv[1:3]
LIMIT_S = 20
HOST = f"127.98.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 255}"
CONFIG = """
state_dir = "{dir}/state"
[controller]
listen = "{host}:3900"
[transport.vsoa]
secret_file = "{dir}/secret"
[placement.least-loaded]
[store.sqlite]
path = "{dir}/state.db"
[frontend.http]
socket = "{dir}/api.sock"
"""


class Controlled(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gantry-registry.")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.work = self.dir / "work"
        self.work.mkdir()
        # Nothing of this machine's configuration decides what is tested.
        self.settings = self.dir / ".config/containers/registries.conf"
        self.settings.parent.mkdir(parents=True)
        self.settings.write_text("")
        self.environment = dict(os.environ, TMPDIR=str(self.work), HOME=str(self.dir))
        for variable in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
            self.environment.pop(variable, None)
        self.start_gantryd()

    def start_gantryd(self):
        secret = self.dir / "secret"
        secret.write_text("0123456789abcdef0123456789abcdef\n")
        secret.chmod(0o600)
        file = self.dir / "gantry.toml"
        file.write_text(CONFIG.replace("{dir}", str(self.dir)).replace("{host}", HOST))
        log = open(self.dir / "gantryd.log", "w")
        self.addCleanup(log.close)
        daemon = self.run_beside([GANTRYD, "-c", file], stderr=log)
        deadline = time.monotonic() + LIMIT_S
        while subprocess.run([GANTRY, "--socket", self.dir / "api.sock", "image", "ls"],
                             capture_output=True).returncode:
            self.assertIsNone(daemon.poll(), (self.dir / "gantryd.log").read_text())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def run_beside(self, command, **more):
        """A process that ends with the test."""
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], env=self.environment, **more)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def gantry(self, *words, status=0, prefix=()):
        done = subprocess.run([*prefix, GANTRY, "--socket", self.dir / "api.sock", *map(str, words)], text=True,
                              capture_output=True, timeout=LIMIT_S, env=self.environment)
        self.assertEqual(done.returncode, status, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def stored(self):
        text = self.gantry("--json", "image", "ls")
        return {image["name"]: image for image in json.loads(text)["items"]}
