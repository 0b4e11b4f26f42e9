#!/usr/bin/env python3
"""gantry-board beside a real sshd (beside_board.py ssh): a program runs while the board is there, and only then.

    board_link_test.py PROGRAM     gantry-board's path; run by beside_board.py
"""
import os
import pathlib
import signal
import subprocess
import sys
import time

BOARD = pathlib.Path(os.environ["GANTRY_BOARD"])
# Says when it begins and when a signal ends it; its number is in a file.
PROGRAM = """
import os, pathlib, signal, sys, time
log = pathlib.Path(sys.argv[1])
def bye(number, frame):
    with log.open("a") as out: out.write(f"signal {number}\\n")
    sys.exit(7)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, bye)
with log.open("a") as out: out.write(f"start {os.getpid()}\\n")
while True: time.sleep(0.05)
"""


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds} s: {what}\n{(BOARD / 'link.log').read_text()}")
        time.sleep(0.02)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def board_processes():
    """Every process of sshd: the listener and what serves a session."""
    return [int(p.parent.name) for p in pathlib.Path("/proc").glob("[0-9]*/comm") if p.read_text().startswith("sshd")]


def main():
    log = BOARD / "program.log"
    log.write_text("")

    def lines(kind):
        return [line.split()[1] for line in log.read_text().splitlines() if line.startswith(kind)]

    def link(hosts="known_hosts"):
        return subprocess.Popen([sys.argv[1], os.environ["GANTRY_BOARD_SSH"], "--port", os.environ["GANTRY_BOARD_PORT"],
                                 "--known-hosts", BOARD / hosts, "--identity", BOARD / "identity", "--silence", "2", "--",
                                 sys.executable, "-c", PROGRAM, log], stderr=open(BOARD / "link.log", "a"))
    for words in ([], ["root@x"], ["root@x", "--port", "0"], ["root@x", "--what", "x"], ["x", "--known-hosts", "a", "--identity",
                                                                                      "b", "--", "true"]):
        done = subprocess.run([sys.argv[1], *words], capture_output=True, text=True)
        assert done.returncode == 64 and "usage: gantry-board" in done.stderr, (words, done)
    # A board with another key is not the board.
    stranger = link("other_hosts")
    wait_for(lambda: "is not there" in (BOARD / "link.log").read_text(), 20, "a board with another key is refused")
    assert not lines("start"), "the program runs without its board"
    stranger.terminate()
    assert stranger.wait(10) == 128 + signal.SIGTERM, stranger.returncode
    # It is there, falls silent without a word, and comes back.
    running = link()
    wait_for(lambda: len(lines("start")) == 1, 20, "the program runs when the board is there")
    first = int(lines("start")[0])
    time.sleep(3)  # longer than the silence: a board that has nothing to say is not silent
    assert alive(first), "the program ended while the board was there"
    frozen = board_processes()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: not alive(first), 8, "the program ends with a board that is silent")
    print(f"ended {time.monotonic() - began:.1f} s after the board fell silent")
    assert not lines("signal"), "it was asked to end, and could have said goodbye"
    for pid in frozen:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    wait_for(lambda: len(lines("start")) == 2, 30, "the program runs again when the board is back")
    # A signal is the program's, and so is the status.
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 7, running.returncode
    assert lines("signal") == [str(int(signal.SIGTERM))], log.read_text()
    wait_for(lambda: not alive(int(lines("start")[1])), 5, "nothing is left behind")


main()
