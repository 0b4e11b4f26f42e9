#!/usr/bin/env python3
"""load.py SOCKET ADDRESS NAME DOCUMENT: asks a gantryd without a pause until standard input ends, then prints what it saw.

Run on the host of that gantryd, in three threads: requests that read and requests that change (the service of DOCUMENT
again, which is no change, but takes the same way), each on a new connection; and NAME at the host's own directory, which
must say ADDRESS each time. One JSON document: how many of each, what failed, the longest wait in milliseconds.
"""
import http.client
import json
import socket
import sys
import threading
import time

SOCKET, ADDRESS, NAME, DOCUMENT = sys.argv[1:]
PATIENCE_S = 10
done = threading.Event()


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(SOCKET)


def api(method, path, body=None):
    connection = Connection("localhost")
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
        return None if answer.status == 200 else f"{method} {path}: {answer.status}: {text.decode()[:200]}"
    finally:
        connection.close()


def name():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(PATIENCE_S)
        asker.sendto(json.dumps({"name": NAME}).encode(), ("127.0.0.1", 54))
        answer = json.loads(asker.recv(2048))
        return None if answer.get("addr") == ADDRESS else f"expected {ADDRESS}, got {answer}"


def go_on(what, seen, ask, pause_s):
    while not done.is_set():
        began = time.monotonic()
        try:
            failed = ask()
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed = repr(error)
        took_ms = (time.monotonic() - began) * 1000
        if failed:
            seen["failed"].append(f"{what} after {took_ms:.0f} ms: {failed}")
        seen["asked"] += 1
        seen["longest_ms"] = max(seen["longest_ms"], took_ms)
        time.sleep(pause_s)


asked = {"read": lambda: api("GET", "/v1/plugins"), "name": name}
if DOCUMENT:
    asked["read"] = lambda: api("GET", "/v1/services")
    asked["change"] = lambda: api("PUT", f"/v1/services/{NAME}", DOCUMENT)
saw = {what: {"asked": 0, "failed": [], "longest_ms": 0} for what in asked}
threads = [threading.Thread(target=go_on, args=(what, saw[what], ask, 0.002)) for what, ask in asked.items()]
for thread in threads:
    thread.start()
sys.stdin.read()
done.set()
for thread in threads:
    thread.join()
print(json.dumps(saw))
