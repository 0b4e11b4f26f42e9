"""A virtual machine under qemu without acceleration: what it boots from, and its console."""
import gzip
import os
import pathlib
import re
import selectors
import shutil
import stat
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests" / "support"))
import unpacked  # noqa: E402

TOOLS = REPO / "build" / "tools" / "vm"
ROOT = TOOLS / "root"
LIBRARIES = [ROOT / "usr/lib/x86_64-linux-gnu", ROOT / "lib/x86_64-linux-gnu"]
QEMU = "qemu-system-x86_64"
PACKAGES = ["qemu-system-x86", "seabios", "linux-image-cloud-amd64"]
# Comes with the packages, but has no place in an unpacked tree.
UNWANTED = re.compile(r"^(systemd|libsystemd|libpam|libnss|udev|initramfs|klibc|libklibc|linux-base|cpio|kmod|dbus)")
BOOT_LIMIT_S = 600
VERDICT = "gantry-vm-exit-status"


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(77)


def find_program(name):
    """Installed, or among what was unpacked."""
    return shutil.which(name) or next((str(path) for path in (ROOT / "usr/bin" / name, ROOT / "usr/sbin" / name)
                                       if path.exists()), None)


def with_libraries():
    return dict(os.environ, LD_LIBRARY_PATH=":".join(map(str, LIBRARIES)))


def find_qemu():
    """The program, and the environment and arguments that an unpacked one needs."""
    program = find_program(QEMU)
    if not program or not program.startswith(str(ROOT)):
        return program and [program], dict(os.environ)
    return [program, "-L", str(ROOT / "usr/share/qemu"), "-L", str(ROOT / "usr/share/seabios")], with_libraries()


def find_kernel():
    """The kernel and the folder of its modules."""
    for root in (ROOT, pathlib.Path("/")):
        for kernel in sorted((root / "boot").glob("vmlinuz-*-cloud-amd64"), reverse=True):
            modules = root / "lib/modules" / kernel.name.removeprefix("vmlinuz-") / "kernel"
            if (modules / "fs/overlayfs/overlay.ko").is_file():
                return kernel, modules
    return None, None


def prepare(fetch, programs):
    """qemu with its environment, the kernel and its modules; skips where they or one of the programs are missing."""
    if os.uname().machine != "x86_64":
        skip("the kernel that is booted is one for amd64")
    if fetch and not (find_qemu()[0] and find_kernel()[0] and all(map(find_program, programs))):
        try:
            unpacked.fetch(ROOT, PACKAGES + [name for name in programs if not shutil.which(name)], UNWANTED)
        except (OSError, subprocess.SubprocessError) as error:
            skip(f"qemu and a kernel cannot be fetched: {error}")
    for program in programs:
        if not find_program(program):
            skip(f"needs {program}")
    qemu, environment = find_qemu()
    kernel, modules = find_kernel()
    if not qemu or not kernel:
        skip(f"needs {QEMU} and linux-image-cloud-amd64; tests/vm/run --fetch unpacks them under build/tools/vm")
    return qemu, environment, kernel, modules


class Archive:
    """An initramfs with busybox: a cpio archive of the kind "newc", made in memory."""

    def __init__(self):
        self.parts = []
        self.names = set()
        self.file(shutil.which("busybox"), "/bin/busybox")
        for applet in subprocess.run(["busybox", "--list"], check=True, text=True, stdout=subprocess.PIPE).stdout.split():
            if applet != "busybox":
                self.add(f"/bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")

    def add(self, name, mode, data=b""):
        name = name.lstrip("/")
        if name in self.names:
            return
        for folder in list(pathlib.PurePosixPath(name).parents)[-2::-1]:
            self.add(str(folder), stat.S_IFDIR | 0o755)
        self.names.add(name)
        self._record(name, mode, data)

    def _record(self, name, mode, data):
        raw = name.encode() + b"\0"
        fields = [len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.parts += [head + b"\0" * (-len(head) % 4), data + b"\0" * (-len(data) % 4)]

    def file(self, source, name=None, mode=0o755):
        self.add(str(name or source), stat.S_IFREG | mode, pathlib.Path(source).read_bytes())

    def program(self, source, name=None):
        """With the libraries that ldd finds; unpacked ones stand where installed ones would."""
        self.file(source, name)
        listing = subprocess.run(["ldd", source], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 env=with_libraries() if str(source).startswith(str(ROOT)) else None).stdout
        for library in re.findall(r"(/\S+) \(0x", listing):
            self.file(library, library.removeprefix(str(ROOT)))

    def text(self, name, text, mode=0o644):
        self.add(name, stat.S_IFREG | mode, text.encode())

    def pack(self):
        self._record("TRAILER!!!", 0, b"")
        return gzip.compress(b"".join(self.parts), 1)


def command_of(qemu, kernel, initramfs, words):
    # no_timer_check: on a busy host an emulated timer seems not to work.
    return [*qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536", "-nodefaults", "-display", "none",
            "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs),
            "-append", f"console=ttyS0 quiet panic=-1 no_timer_check mitigations=off {words}"]


def run_machine(command, environment, limit_s):
    """Shows the console as it comes. The exit status of the tests, or None with the reason."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    began = time.monotonic()
    seen = b""
    booted = False
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                now = time.monotonic() - began
                if now > limit_s:
                    return None, f"the machine did not end within {limit_s} s"
                if not booted and now > BOOT_LIMIT_S:
                    return None, f"the system did not come up within {BOOT_LIMIT_S} s"
                if b"Kernel panic" in seen:
                    return None, "the kernel panicked"
                if not selector.select(1):
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                seen += chunk
                booted = booted or b"cgroups: " in seen
                sys.stdout.write(chunk.decode(errors="replace").replace("\r", ""))
                sys.stdout.flush()
    finally:
        process.kill()
        process.wait()
    if b"cgroups: cgroup2 /sys/fs/cgroup cgroup2" not in seen:
        return None, "the machine has no pure cgroup2"
    verdict = re.search(VERDICT.encode() + rb" (\d+)", seen)
    return (int(verdict[1]), "") if verdict else (None, "the machine ended without a word about the tests")
