#!/usr/bin/env python3
"""served_test.py GANTRYD GANTRY BUILD: `gantry registry`, with skopeo, Podman and a client that asks what no tool would."""
import base64
import errno
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import controlled  # noqa: E402
import registries  # noqa: E402
from controlled import GANTRY, HOST, LIMIT_S  # noqa: E402

TOKEN = "0123456789abcdef"
ADDRESS = f"{HOST}:5002"
BUILD, SUPPORT = sys.argv[3], pathlib.Path(__file__).resolve().parents[1] / "support"
BASIC = "Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode()


class Served(controlled.Controlled):
    def setUp(self):
        super().setUp()
        self.layout = registries.Layout(self.dir / "layout")
        self.token = self.dir / "token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)
        self.server = self.run_beside([GANTRY, "--socket", self.dir / "api.sock", "registry", "--listen", ADDRESS,
                                       "--token-file", self.token], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.server.stdout.close)
        self.assertIn(ADDRESS, self.server.stdout.readline())

    def skopeo(self, *words, status=0, token=TOKEN):
        source = ["--src-tls-verify=false", f"--src-creds=me:{token}"]
        target = ["--dest-tls-verify=false", f"--dest-creds=me:{token}"]
        more = {"copy": ["--quiet", "--preserve-digests", "--all", *source, *target]}
        command = ["skopeo", "--insecure-policy", words[0],
                   *more.get(words[0], ["--tls-verify=false", f"--creds=me:{token}"]), *words[1:]]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=LIMIT_S,
                              env=self.environment)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def ask(self, method, path, body=None, **headers):
        """Answers status, headers and body."""
        connection = http.client.HTTPConnection(ADDRESS, timeout=LIMIT_S)
        try:
            connection.request(method, path, body, {"Authorization": BASIC,
                                                    **{key.replace("_", "-"): value for key, value in headers.items()}})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def push(self, descriptor, tag, name):
        self.layout.name(descriptor, tag)
        self.skopeo("copy", f"oci:{self.layout.folder}:{tag}", f"docker://{ADDRESS}/{name}")

    def begin(self):
        status, headers, _ = self.ask("POST", "/v2/axis/blobs/uploads/")
        self.assertEqual(status, 202)
        return headers["Location"]

    def test_what_skopeo_pushes_is_in_the_store_and_comes_back_as_it_was(self):
        image = self.layout.image(b"x" * 300_000, layers=[b"below" * 1000])
        self.push(image, "1.0", "press/axis:1.0")
        self.assertEqual(self.stored()["press/axis:1.0"]["digest"], image["digest"])
        back = self.dir / "back"
        self.skopeo("copy", f"docker://{ADDRESS}/press/axis:1.0", f"dir:{back}")
        self.assertEqual((back / "manifest.json").read_bytes(), self.layout.read(image["digest"]))
        document = json.loads(self.layout.read(image["digest"]))
        for part in [document["config"], *document["layers"]]:
            self.assertEqual((back / part["digest"][7:]).read_bytes(), self.layout.read(part["digest"]))
        self.assertIn(image["digest"], self.skopeo("inspect", f"docker://{ADDRESS}/press/axis:1.0"))

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("conmon"), "Podman's service needs root and conmon")
    def test_what_podman_pushes_is_in_the_store(self):
        image = self.layout.image(b"x" * 300_000, layers=[b"below" * 1000])
        self.layout.name(image, "localhost/axis:1.0")
        archive = self.dir / "axis.tar"
        subprocess.run(["tar", "-C", self.layout.folder, "-cf", archive, "."], check=True)
        # Whatever is left running or mounted ends with its init.
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
                               SUPPORT / "engines.py", "podman", BUILD, self.dir / "podman", sys.executable,
                               pathlib.Path(__file__).with_name("podman_push.py"), archive, f"{ADDRESS}/press/axis:1.0", TOKEN],
                              capture_output=True, text=True, timeout=10 * LIMIT_S)
        if done.returncode == 77:
            self.skipTest(done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        stored = self.stored()["press/axis:1.0"]
        back = self.dir / "back"
        self.skopeo("copy", f"docker://{ADDRESS}/press/axis:1.0", f"dir:{back}")
        self.assertEqual(registries.digest_of((back / "manifest.json").read_bytes()), stored["digest"])
        # Podman writes the manifest anew, and packs the layers; what is in them is what was loaded.
        self.assertEqual(json.loads((back / "manifest.json").read_text())["config"]["digest"],
                         json.loads(self.layout.read(image["digest"]))["config"]["digest"])

    def test_tags_and_names_are_listed(self):
        self.push(self.layout.image(b"one"), "1.0", "axis:1.0")
        self.push(self.layout.image(b"two"), "2.0", "axis:2.0")
        self.push(self.layout.image(b"two"), "2.0", "press/other:1")
        tags = json.loads(self.skopeo("list-tags", f"docker://{ADDRESS}/axis"))["Tags"]
        self.assertEqual(sorted(tags), ["1.0", "2.0"])
        self.assertEqual(json.loads(self.ask("GET", "/v2/_catalog")[2]), {"repositories": ["axis", "press/other"]})
        self.assertEqual(self.ask("GET", "/v2/none/tags/list")[0], 404)

    def test_what_is_there_is_not_sent_again(self):
        image = self.layout.image(b"x" * 300_000)
        self.push(image, "1.0", "axis:1.0")
        blob = json.loads(self.layout.read(image["digest"]))["layers"][0]
        self.assertEqual(self.ask("HEAD", f"/v2/axis/blobs/{blob['digest']}")[1]["Content-Length"], str(blob["size"]))
        status, headers, _ = self.ask("POST", f"/v2/else/blobs/uploads/?mount={blob['digest']}&from=axis")
        self.assertEqual((status, headers["Docker-Content-Digest"]), (201, blob["digest"]))
        self.push(image, "1.0", "axis:again")
        self.assertEqual(self.stored()["axis:again"]["digest"], image["digest"])

    def test_an_image_of_several_platforms_is_pushed_whole_and_runs_by_this_machines_part(self):
        amd, arm = self.layout.image(b"amd"), self.layout.image(b"arm", "arm64")
        index = self.layout.index(amd, arm)
        self.push(index, "1.0", "axis:1.0")
        self.assertEqual(self.stored()["axis:1.0"]["digest"], index["digest"])
        self.skopeo("copy", f"docker://{ADDRESS}/axis:1.0", f"dir:{self.dir / 'back'}")

    def test_gantry_pulls_from_it_as_from_any_registry(self):
        image = self.layout.image(b"one")
        self.push(image, "1.0", "axis:1.0")
        auth = registries.authfile(self.dir, ADDRESS, TOKEN)
        self.gantry("image", "pull", "--no-verify-tls", "--authfile", auth, f"{ADDRESS}/axis:1.0", "--name", "copy:1")
        self.assertEqual(self.stored()["copy:1"]["digest"], image["digest"])

    def test_an_upload_that_broke_off_goes_on_where_it_stopped(self):
        data = bytes(range(256)) * 4000
        digest = registries.digest_of(data)
        where = self.begin()
        # The first piece is announced whole, and ends with its connection.
        with socket.create_connection((HOST, 5002), LIMIT_S) as half:
            half.sendall(f"PATCH {where} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\n"
                         f"Content-Length: {len(data)}\r\n\r\n".encode() + data[:100_000])
            half.shutdown(socket.SHUT_WR)
            half.recv(4096)
        status, headers, _ = self.ask("GET", where)
        self.assertEqual(status, 204)
        there = int(headers["Range"].split("-")[1]) + 1
        self.assertEqual(there, 100_000)
        status, headers, _ = self.ask("PATCH", where, data[:10], Content_Range="0-9")
        self.assertEqual((status, headers["Range"]), (416, f"0-{there - 1}"))
        status, headers, _ = self.ask("PATCH", where, data[there:600_000], Content_Range=f"{there}-599999")
        self.assertEqual((status, headers["Range"]), (202, "0-599999"))
        status, headers, _ = self.ask("PUT", f"{where}?digest={digest.replace(':', '%3A')}", data[600_000:])
        self.assertEqual((status, headers["Docker-Content-Digest"]), (201, digest))
        self.assertEqual(self.ask("GET", f"/v2/axis/blobs/{digest}")[2], data)
        self.assertEqual(self.ask("GET", where)[0], 404, "an upload ends once")

    def test_a_download_that_broke_off_goes_on_where_it_stopped(self):
        data = b"0123456789" * 30_000
        digest = registries.digest_of(data)
        self.assertEqual(self.ask("POST", f"/v2/axis/blobs/uploads/?digest={digest}", data)[0], 201)
        status, headers, body = self.ask("GET", f"/v2/axis/blobs/{digest}", Range="bytes=123456-")
        self.assertEqual((status, body), (206, data[123456:]))
        self.assertEqual(headers["Content-Range"], f"bytes 123456-{len(data) - 1}/{len(data)}")
        self.assertEqual(self.ask("GET", f"/v2/axis/blobs/{digest}", Range=f"bytes={len(data)}-")[0], 416)

    def test_what_does_not_have_its_digest_is_not_stored(self):
        digest = registries.digest_of(b"right")
        status, _, body = self.ask("PUT", f"{self.begin()}?digest={digest}", b"wrong")
        self.assertEqual((status, json.loads(body)["errors"][0]["code"]), (400, "DIGEST_INVALID"))
        self.assertEqual(self.ask("HEAD", f"/v2/axis/blobs/{digest}")[0], 404)
        for wrong in ("", "sha256:7", "md5:" + "0" * 32, "sha256:../../etc/passwd"):
            self.assertEqual(self.ask("PUT", f"{self.begin()}?digest={wrong}", b"x")[0], 400)
        self.assertEqual(self.ask("PUT", f"/v2/axis/manifests/{digest}", b"{}")[0], 400)
        self.assertEqual(self.stored(), {})

    def test_a_manifest_is_stored_when_all_it_names_is_there(self):
        image = self.layout.image(b"one")
        manifest = self.layout.read(image["digest"])
        status, _, body = self.ask("PUT", "/v2/axis/manifests/1.0", manifest)
        self.assertEqual((status, json.loads(body)["errors"][0]["code"]), (400, "MANIFEST_BLOB_UNKNOWN"))
        self.assertEqual(self.ask("PUT", "/v2/axis/manifests/1.0", b"no json")[0], 400)
        self.assertEqual(self.ask("PUT", "/v2/axis/manifests/1.0", b" " * (5 << 20))[0], 413)
        self.assertEqual(self.stored(), {})

    def test_nobody_is_answered_without_the_token(self):
        self.push(self.layout.image(b"one"), "1.0", "axis:1.0")
        for given in ("", "Basic", "Basic !!!!", "Basic " + base64.b64encode(b"me:" + TOKEN[:-1].encode()).decode(),
                      "Bearer", "Bearer " + TOKEN + "x", "Digest " + TOKEN):
            for path in ("/v2/", "/v2/_catalog", "/v2/axis/manifests/1.0"):
                status, headers, body = self.ask("GET", path, Authorization=given)
                self.assertEqual(status, 401, given)
                self.assertIn("Basic", headers["WWW-Authenticate"])
                self.assertNotIn(TOKEN.encode(), body)
        self.assertEqual(self.ask("GET", "/v2/", Authorization="Bearer " + TOKEN)[0], 200)
        self.skopeo("inspect", f"docker://{ADDRESS}/axis:1.0", token="wrong", status=1)

    def test_a_token_that_others_may_read_or_that_is_short_is_refused(self):
        for text, mode, words in (("0123456789abcdef", 0o644, "chmod 600"), ("short", 0o600, "16 to 4096")):
            self.token.write_text(text)
            self.token.chmod(mode)
            self.assertIn(words, self.gantry("registry", "--token-file", self.token, "--listen", f"{HOST}:5003", status=2))
        self.token.write_text(TOKEN)
        for address in ("5000", "localhost:5000", "127.0.0.1:x", "127.0.0.1:70000"):
            self.assertIn("expected an address",
                          self.gantry("registry", "--token-file", self.token, "--listen", address, status=2))
        self.assertIn("cannot listen", self.gantry("registry", "--token-file", self.token, "--listen", ADDRESS, status=1))

    def test_odd_requests_get_an_error_and_harm_nobody(self):
        for method, path, expected in (
                ("GET", "/", 404), ("GET", "/v1/images", 404), ("GET", "/v2/../v1/images", 404),
                ("GET", "/v2/axis/manifests/1.0", 404), ("GET", "/v2/a%2f..%2f/manifests/%2e%2e", 404),
                ("GET", "/v2/axis/blobs/sha256:%2e%2e%2f" + "0" * 60, 400), ("DELETE", "/v2/axis/manifests/1.0", 405),
                ("POST", "/v2/axis/manifests/1.0", 405), ("PATCH", "/v2/axis/blobs/uploads/..%2f..%2fetc", 404),
                ("PATCH", "/v2/axis/blobs/uploads/unknown", 404), ("GET", "/v2/" + "a/" * 2000 + "manifests/1", 404)):
            self.assertEqual(self.ask(method, path)[0], expected, path)
        for garbage in (b"\x16\x03\x01" * 100, b"GET / HTTP/9.9\r\n\r\n", b"G" * 100_000, b"\r\n\r\n", b""):
            with socket.create_connection((HOST, 5002), LIMIT_S) as wrong:
                try:  # it may hang up before it has read all
                    wrong.sendall(garbage)
                    wrong.shutdown(socket.SHUT_WR)
                    while wrong.recv(4096):
                        pass
                except OSError as error:
                    if error.errno not in (errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE):
                        raise
        self.assertEqual(self.ask("GET", "/v2/")[0], 200)

    def test_crowds_and_idlers_do_not_keep_others_out_for_long(self):
        idle = [socket.create_connection((HOST, 5002), LIMIT_S) for _ in range(40)]
        for one in idle:
            one.close()
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                self.assertEqual(self.ask("GET", "/v2/")[0], 200)
                break
            except (http.client.HTTPException, OSError):
                self.assertLess(time.monotonic(), deadline)
        begun = [self.begin() for _ in range(64)]
        self.assertEqual(self.ask("POST", "/v2/axis/blobs/uploads/")[0], 429)
        self.assertEqual(self.ask("DELETE", begun[7])[0], 204)
        self.begin()  # what is given up makes room

    def test_it_ends_when_it_is_told_to_and_leaves_nothing(self):
        where = self.begin()
        self.assertEqual(self.ask("PATCH", where, b"half")[0], 202)
        self.assertEqual(self.ask("DELETE", self.begin())[0], 204)
        with socket.create_connection((HOST, 5002), LIMIT_S):
            self.server.send_signal(signal.SIGTERM)
            self.assertEqual(self.server.wait(LIMIT_S), 0)
        self.assertEqual(list(self.work.iterdir()), [])

    def test_without_gantryd_it_says_so_and_comes_back_with_it(self):
        (self.dir / "api.sock").rename(self.dir / "away")
        self.assertEqual(self.ask("GET", "/v2/axis/manifests/1.0")[0], 503)
        (self.dir / "away").rename(self.dir / "api.sock")
        self.assertEqual(self.ask("GET", "/v2/axis/manifests/1.0")[0], 404)


if __name__ == "__main__":
    if shutil.which("skopeo") is None:
        print("skipped: skopeo is not installed")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
