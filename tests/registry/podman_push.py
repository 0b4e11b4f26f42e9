"""podman_push.py ARCHIVE REGISTRY/NAME:TAG TOKEN: a tar file into the Podman of $GANTRY_ENGINE, and from there to a registry."""
import base64
import http.client
import json
import os
import pathlib
import socket
import sys
import urllib.parse

LIMIT_S = 60


def ask(path, body=b"", **headers):
    connection = http.client.HTTPConnection("podman", timeout=LIMIT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(LIMIT_S)
    connection.sock.connect(str(pathlib.Path(os.environ["GANTRY_ENGINE"]) / "engine.sock"))
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != 200 or '"error"' in text:
        sys.exit(f"{path}: {answer.status} {text}")
    return text


archive, target, token = sys.argv[1:]
loaded = json.loads(ask("/v4.0.0/libpod/images/load", pathlib.Path(archive).read_bytes()))["Names"][0]
auth = base64.urlsafe_b64encode(json.dumps({"username": "me", "password": token}).encode()).decode()
ask(f"/v4.0.0/libpod/images/{urllib.parse.quote(loaded, safe='')}/push?"
    + urllib.parse.urlencode({"destination": target, "tlsVerify": "false"}), **{"X-Registry-Auth": auth})
