"""The vsoa command as the tests run it, and servers for it. GANTRY_BUILD names the build."""
import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = pathlib.Path(os.environ.get("GANTRY_BUILD", ROOT / "build/release"))
VSOA = BUILD / "bin/vsoa"
SERVER = BUILD / "tests/vsoa_tools_server"
DEADLINE_S = 20
# Nothing of the caller's decides what is tested.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("VSOA_")}
VECTORS = json.loads((ROOT / "tests/data/vsoa-vectors/all-vectors.json").read_text())


def run(*words, given=b"", environment=None):
    """Runs vsoa to its end. given: its standard input."""
    done = subprocess.run([str(VSOA), *map(str, words)], input=given, capture_output=True, timeout=DEADLINE_S,
                          env=dict(ENVIRONMENT, **(environment or {})))
    done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return done


def documents(text):
    """One JSON document a line."""
    return [json.loads(line) for line in text.splitlines()]


class Background:
    """A program whose lines are read as they come. Ends with its block."""

    def __init__(self, *command, environment=None):
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace",
                                        env=dict(ENVIRONMENT, **(environment or {})))
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        """The next line; None at the end."""
        try:
            return self.lines.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise AssertionError(f"no line within {DEADLINE_S} s") from None

    def line_with(self, text):
        while (line := self.line()) is not None:
            if text in line:
                return line
        raise AssertionError(f"ended without a line with {text}")

    def rest(self):
        """Every line until the end."""
        return list(iter(self.line, None))

    def tell(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def stop(self, how=signal.SIGINT):
        """Its exit status after a signal."""
        self.process.send_signal(how)
        return self.process.wait(DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(0 if self.process.args[0] == str(VSOA) else 2)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def vsoa(*words, environment=None):
    return Background(VSOA, *words, environment=environment)


@contextlib.contextmanager
def server(*words):
    """The address of a server that answers what server.c says."""
    with Background(SERVER, *words) as process:
        yield "127.0.0.1:" + process.line().split()[1]


def until(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {DEADLINE_S} s for: {what}")
        time.sleep(0.01)


def main(cases):
    """Runs test cases; unittest's own main wants a module of its own."""
    import unittest
    names = sys.argv[1:]
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for case in cases:
        for test in loader.loadTestsFromTestCase(case):
            if not names or any(name in test.id() for name in names):
                suite.addTest(test)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
