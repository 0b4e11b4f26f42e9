"""A stranger's desk: a copy of what was installed, a folder to work in, and an environment that knows nothing else."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import Failure  # noqa: E402

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


class Desk:
    """Below `folder`, which must lie outside of the source tree: prefix/ (moved there after it was installed), work/, site/
    (where plugins are installed, signed) and keys/ (those to trust).
    """

    def __init__(self, folder):
        self.prefix, self.work = folder / "prefix", folder / "work"
        self.site, self.keys = folder / "site", folder / "keys"
        shutil.copytree(os.environ["GANTRY_SDK"], self.prefix, symlinks=True)
        self.work.mkdir()
        self.keys.mkdir()
        kept = ("HOME", "TMPDIR", "LANG", "CCACHE_DIR", "CCACHE_MAXSIZE", "RUSTUP_HOME", "CARGO_HOME",
                "CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}
        self.environment |= {"PATH": f"{self.prefix}/bin:{os.environ['PATH']}", "CMAKE_PREFIX_PATH": str(self.prefix),
                             "PKG_CONFIG_PATH": str(self.prefix / "lib/pkgconfig"), "CMAKE_GENERATOR": "Ninja"}
        self.run("gantry-plugin", "keygen", str(folder / "acme"))
        (folder / "acme.pub").rename(self.keys / "acme.pub")
        self.key = folder / "acme.key"

    def run(self, *command, cwd=None, expect=0, timeout=300):
        """Runs a program here; its output. `expect` is its exit status, or several that are fine."""
        try:
            done = subprocess.run(command, cwd=cwd or self.work, env=self.environment, capture_output=True, text=True,
                                  timeout=timeout)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{' '.join(map(str, command))}: not within {late.timeout} s") from None
        if done.returncode not in (expect if isinstance(expect, tuple) else (expect,)):
            raise Failure(f"{' '.join(map(str, command))}: expected exit {expect}, got {done.returncode}:\n"
                          f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout + done.stderr

    def take_sample(self, name):
        """A copy of samples/plugins/NAME, as somebody takes it out of the repository."""
        return pathlib.Path(shutil.copytree(ROOT / "samples/plugins" / name, self.work / name))

    def build(self, folder):
        """Builds what is in the folder, by CMake or make, runs its tests, installs it in the site and signs it."""
        if (folder / "CMakeLists.txt").exists():
            self.run("cmake", "-B", "build", cwd=folder)
            self.run("cmake", "--build", "build", "--", "-j2", cwd=folder)
            self.run("ctest", "--test-dir", "build", "--output-on-failure", cwd=folder)
            self.run("cmake", "--install", "build", "--prefix", str(self.site), cwd=folder)
        else:
            self.run("make", "check", cwd=folder)
            self.run("make", "install", f"prefix={self.site}", cwd=folder)
        for built in (folder / "build/lib").rglob("*.so"):
            self.run("gantry-plugin", "sign", "--key", str(self.key), str(self.site / built.relative_to(folder / "build")))
        self.expect_no_source_tree(folder)

    @staticmethod
    def expect_no_source_tree(folder):
        """No plugin, and no text that the build wrote, names the source tree. (A test's program holds the fake host, with
        its debugging information.)"""
        for path in folder.rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            if str(ROOT).encode() in data and (path.suffix == ".so" or b"\0" not in data):
                raise Failure(f"{path} names {ROOT}")

    def make_image(self, name="none:1.0"):
        """An OCI layout with one small layer; what runs no images still wants one that exists."""
        layout = self.work / "image"
        (layout / "blobs/sha256").mkdir(parents=True)

        def add(data, kind):
            digest = hashlib.sha256(data).hexdigest()
            (layout / "blobs/sha256" / digest).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

        unpacked = io.BytesIO()
        with tarfile.open(fileobj=unpacked, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("empty"), io.BytesIO())
        layer = add(gzip.compress(unpacked.getvalue(), mtime=0), "layer.v1.tar+gzip")
        diff = "sha256:" + hashlib.sha256(unpacked.getvalue()).hexdigest()
        config = add(json.dumps({"architecture": ARCHITECTURE, "os": "linux", "config": {},
                                 "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode(), "config.v1+json")
        manifest = add(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                   "config": config, "layers": [layer]}).encode(), "manifest.v1+json")
        manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return layout
