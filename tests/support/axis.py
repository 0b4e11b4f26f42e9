"""axis_client as tests and the story follow it: every line with the time at which its message arrived."""
import json
import os
import queue
import subprocess
import threading
import time

from hosts import Failure


class Client:
    """Runs on a host that is no part of the cluster and asks the directories at `positions` for axis_server."""

    def __init__(self, build, positions):
        environment = dict(os.environ, VSOA_POS_SERVER=positions)
        command = ["setpriv", "--pdeathsig", "KILL", str(build / "samples/axis/axis_client"), "--timestamps"]
        self.process = subprocess.Popen(command, env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            when, _, text = line.strip().partition(" ")
            self.lines.put((float(when), text))

    def wait(self, what, seconds):
        """The next line that holds `what`, as (seconds since 1970, text); lines before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                when, text = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failure(f"the client did not print \"{what}\" within {seconds} s") from None
            if what in text:
                return when, text

    def arrived(self):
        """What arrived since the last look, oldest first."""
        texts = []
        while not self.lines.empty():
            texts.append(self.lines.get()[1])
        return texts

    def end(self):
        self.process.kill()
        self.process.wait()


def roll(line):
    """The counter in one of the client's lines of data."""
    return json.loads(line.split(" ", 1)[1])["roll"]
