"""Registries for tests: Debian's docker-registry on a loopback address, one that lies, and images to put there."""
import base64
import crypt
import hashlib
import http.client
import http.server
import io
import json
import pathlib
import re
import socketserver
import subprocess
import sys
import tarfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import unpacked  # noqa: E402

LIMIT_S = 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI layout in a folder; images of one layer are added to it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.manifests = []

    def blob(self, data, kind):
        digest = digest_of(data)
        (self.folder / "blobs/sha256" / digest[7:]).write_bytes(data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(self, content, architecture="amd64", layers=()):
        """Answers its descriptor. content: of its file; layers: of more layers below."""
        tars = []
        for number, text in enumerate([*layers, content]):
            raw = io.BytesIO()
            with tarfile.open(fileobj=raw, mode="w") as tar:
                info = tarfile.TarInfo(f"file{number}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
            tars.append(raw.getvalue())
        config = {"os": "linux", "architecture": architecture, "config": {"Cmd": ["/file0"]},
                  "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]}}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                    "config": self.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
                    "layers": [self.blob(tar, "application/vnd.oci.image.layer.v1.tar") for tar in tars]}
        return dict(self.blob(json.dumps(manifest).encode(), MANIFEST),
                    platform={"os": "linux", "architecture": architecture})

    def index(self, *images):
        return self.blob(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}).encode(), INDEX)

    def name(self, descriptor, tag):
        descriptor = dict(descriptor, annotations={"org.opencontainers.image.ref.name": tag})
        self.manifests = [one for one in self.manifests if one["annotations"] != descriptor["annotations"]]
        self.manifests.append(descriptor)
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.manifests}))

    def read(self, digest):
        return (self.folder / "blobs/sha256" / digest[7:]).read_bytes()


class Registry:
    """docker-registry with an empty store; ends with its block. tls: certificate and key; password: of user gantry."""

    def __init__(self, tools, folder, address, tls=None, password=None):
        self.address, self.log = address, folder / "log"
        self.tls, self.password, self.marks = tls, password, 0
        folder.mkdir()
        lines = ["version: 0.1", "log: {level: info, accesslog: {disabled: false}}",
                 f"storage: {{filesystem: {{rootdirectory: {folder}/store}}}}", f"http:\n  addr: {address}"]
        if tls:
            lines.append(f"  tls: {{certificate: {tls[0]}, key: {tls[1]}}}")
        if password:
            (folder / "htpasswd").write_text(f"gantry:{crypt.crypt(password, crypt.METHOD_BLOWFISH)}\n")
            lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
        (folder / "config.yml").write_text("\n".join(lines) + "\n")
        self.command = [tools / "usr/bin/docker-registry", "serve", folder / "config.yml"]

    def __enter__(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, self.command)], stdout=log,
                                            stderr=subprocess.STDOUT)
        deadline = time.monotonic() + LIMIT_S
        while "listening on" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("docker-registry did not start: " + self.log.read_text())
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def push(self, layout, tag, name, more=()):
        command = ["skopeo", "copy", "--quiet", "--insecure-policy", "--all", "--preserve-digests",
                   "--dest-tls-verify=false"]
        if self.password:
            command += ["--dest-creds", f"gantry:{self.password}"]
        subprocess.run([*command, *more, f"oci:{layout.folder}:{tag}", f"docker://{self.address}/{name}"], check=True,
                       timeout=LIMIT_S)

    def blob_reads(self):
        """How often the content of a blob was asked for until now."""
        self.marks += 1
        mark = f"/v2/mark{self.marks}/tags/list"
        connection = http.client.HTTPConnection(self.address, timeout=LIMIT_S)
        connection.request("GET", mark)
        connection.getresponse().read()
        connection.close()
        deadline = time.monotonic() + LIMIT_S
        while mark not in self.log.read_text():  # it is written after the answer
            if time.monotonic() > deadline:
                raise AssertionError("docker-registry logs nothing")
            time.sleep(0.02)
        return len(re.findall(r'"GET /v2/[^ ]*/blobs/', self.log.read_text()))


class Liar:
    """Answers what `answers` holds: path to (status, headers, bytes), or a function of the handler. HTTP, no TLS."""

    def __init__(self, address):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append(self.path)
                answer = outer.answers.get(self.path, (404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN", '
                                                                b'"message": "manifest unknown"}]}'))
                if callable(answer):
                    return answer(self)
                status, headers, body = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)
                return None

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        host, port = address.split(":")
        self.address = address
        self.server = Server((host, int(port)), Handler)
        self.ended = threading.Event()
        self.answers["/v2/"] = (200, {}, b"{}")

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def serve(self, layout, descriptor, name):
        """Honest answers for an image, to be spoilt."""
        manifest = layout.read(descriptor["digest"])
        document = json.loads(manifest)
        for reference in ("1.0", descriptor["digest"]):
            self.answers[f"/v2/{name}/manifests/{reference}"] = (200, {"Content-Type": descriptor["mediaType"]}, manifest)
        for part in [document["config"], *document["layers"]]:
            self.answers[f"/v2/{name}/blobs/{part['digest']}"] = (200, {}, layout.read(part["digest"]))
        return document["layers"][-1]["digest"]

    def hang(self, handler, sent=b"", length=1 << 20):
        """Begins an answer and sends no more of it."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(sent)
        handler.wfile.flush()
        self.ended.wait(LIMIT_S)
        handler.close_connection = True


def certificate(folder, address):
    """A certificate of its own for an address: file and key."""
    host = address.split(":")[0]
    files = folder / "tls.crt", folder / "tls.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{host}", "-keyout", files[1],
                    "-out", files[0]], check=True, capture_output=True, timeout=LIMIT_S)
    return files


def authfile(folder, address, password):
    file = folder / f"auth-{password}.json"
    token = base64.b64encode(f"gantry:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {address: {"auth": token}}}))
    return file


def tools(build):
    """Where docker-registry is unpacked. Raises as unpacked.fetch."""
    root = pathlib.Path(build) / "tools/docker-registry"
    if not (root / "usr/bin/docker-registry").exists():
        unpacked.fetch(root, ["docker-registry"], re.compile("adduser|init-system"))
    return root
