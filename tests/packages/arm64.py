#!/usr/bin/env python3
"""The packages for arm64, cross-built, and what is in them tried under qemu.

    tests/packages/arm64.py [--only packages|tests] [--tests REGEX]

Builds them by kernel/packaging/build --arch arm64 unless those of the commit that is checked out are there, has lintian judge them
and looks at every program in them. Then the unit and conformance tests are built in the same tree of Debian, for arm64 too, and run
there by qemu-user-static, in a user namespace with a binfmt_misc of its own: nothing is registered with this machine's kernel.
As root only. Exit status 77: skipped, with the reason.
"""
import argparse
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

from built import ROOT, skip
import spdx

OUTPUT = ROOT / "build" / "packages-arm64"
TREE = ROOT / "build" / "tools" / "debian-12-arm64"
BUILD = "build/arm64"
NAMES = ["gantry", "gantry-plugins-extra", "gantry-sdk-dev", "gantry-tools", "libvsoa-dev", "libvsoa1"]
MACHINE_AARCH64 = 183
SLOWER = 10  # than this machine's own programs, at most

# What qemu in user mode or a user namespace of one user cannot have: the whole test, or some of its cases (no commas: Catch's "or").
FILTER = "qemu in user mode loads no filter of system calls, which plugins in processes of their own have"
SOURCES = "nothing of it is built for arm64"
CANNOT = {
    "isolation_test": (FILTER, []),
    "isolated_host_test": (FILTER, []),
    "conformance_isolated_without_permission": (FILTER, []),
    "conformance_isolated_crash": (FILTER, []),
    "conformance_reads_file": (FILTER, []),
    "daemon_trust": (FILTER, []),
    "daemon_exchange": ("a gantryd that starts itself anew is a qemu, by what /proc says of it", []),
    "unit_runtime_process": ("qemu has no openat2, by which a program is found below an image's root", []),
    "conformance_runtime_process": ("its image has the program of this machine's own shell", []),
    "vsoa_test": ("qemu passes neither the time of arrival nor the interface of a socket on", [
        "clients of higher priority are published to first", "a server is tied to an interface"]),
    "bench_curves": (SOURCES, []),
    "tidy": (SOURCES, []),
    "unit_image_store": ("devices, owners and trusted attributes are the initial user namespace's", [
        "Devices are made only where owners are kept*", "Set-user-id*",
        "What a layer deletes and brings anew hides*"]),
}

# A program for aarch64, by its first bytes; F: the interpreter is opened now, for processes with other roots too.
FORMAT = (r":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
          r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F")
AS_ARM64 = r"""
tree=$1 repository=$2
shift 2
mount --rbind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount -t binfmt_misc binfmt_misc "$tree/proc/sys/fs/binfmt_misc"
mount --rbind /dev "$tree/dev"
mount -t tmpfs tmpfs "$tree/tmp"
mount --bind "$repository" "$tree/build"
exec chroot "$tree" sh -euc 'printf %s "$1" >/proc/sys/fs/binfmt_misc/register; shift; cd /build; exec "$@"' sh "$@"
"""


class Failure(Exception):
    pass


def packages():
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    stamp = OUTPUT / "commit"
    if not stamp.is_file() or stamp.read_text() != head:
        print("building the packages for arm64", flush=True)
        done = subprocess.run([ROOT / "kernel/packaging/build", "--arch", "arm64"], stdout=subprocess.DEVNULL)
        if done.returncode == 69:
            skip("there is no tree that builds for arm64")
        if done.returncode != 0:
            raise Failure("the packages for arm64 cannot be built")
        stamp.write_text(head)
    debs = sorted(OUTPUT.glob("*.deb"), key=lambda deb: deb.name.split("_")[0])
    names = [deb.name.split("_")[0] for deb in debs]
    if names != NAMES or not all(deb.name.endswith("_arm64.deb") for deb in debs):
        raise Failure(f"expected {NAMES} for arm64, got {[deb.name for deb in debs]}")
    programs = sum(programs_of(deb) for deb in debs)
    for deb in debs:
        if wrong := spdx.faults(deb):
            raise Failure(f"the list of what is in {deb.name}: {wrong[:10]}")
    done = subprocess.run(["lintian", "--fail-on", "error,warning", "--no-tag-display-limit",
                           "--suppress-tags", "initial-upload-closes-no-bugs", *debs], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Failure(f"lintian: {done.stdout}{done.stderr}")
    print(f"{len(debs)} packages for arm64 with {programs} programs and libraries; lintian is content", flush=True)


def programs_of(deb):
    """How many files are for a processor; all of them are for aarch64."""
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    found = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            head = tar.extractfile(member).read(20) if member.isreg() else b""
            if head.startswith(b"\x7fELF"):
                found += 1
                if int.from_bytes(head[18:20], "little") != MACHINE_AARCH64:
                    raise Failure(f"{deb.name}: {member.name} is not for aarch64")
    return found


def cross(*command, **options):
    return subprocess.run([ROOT / "kernel/packaging/cross", "arm64", ROOT, *command], text=True, **options)


def as_arm64(*command, **options):
    return subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc",
                           AS_ARM64, "sh", TREE, ROOT, FORMAT, *command], text=True, **options)


def tests(only):
    done = cross("cmake", "-S", ".", "-B", BUILD, "-G", "Ninja", "-DCMAKE_TOOLCHAIN_FILE=cmake/arm64.cmake",
                 "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O2", "-DCMAKE_C_FLAGS_RELEASE=-O2", capture_output=True)
    if done.returncode != 0:
        raise Failure(f"cmake: {done.stdout[-2000:]}{done.stderr}")
    can = as_arm64("true", capture_output=True)
    if can.returncode != 0:
        skip(f"this machine has no binfmt_misc in a user namespace: {can.stderr.strip()}")
    listed = json.loads(cross("ctest", "--test-dir", BUILD, "--show-only=json-v1", "-L", "^(unit|conformance)$", "-R", only,
                              capture_output=True, check=True).stdout)["tests"]
    words = {word.removeprefix(f"/build/{BUILD}/") for test in listed for word in test["command"] if word.startswith(f"/build/{BUILD}/")}
    made = [line.split(":")[0] for line in cross("ninja", "-C", BUILD, "-t", "targets", "all", capture_output=True,
                                                  check=True).stdout.splitlines()]
    words.add("tests/vsoa_tools_server")  # tests/conformance/bundled.py starts it
    needed = [name for name in made if name in words or name.startswith("tests/plugins/") and name.endswith(".so")]
    print(f"building {len(needed)} programs for {len(listed)} tests", flush=True)
    done = cross("cmake", "--build", BUILD, "--", "all", *needed, capture_output=True)
    if done.returncode != 0:
        raise Failure(f"the tests for arm64 cannot be built: {done.stdout[-4000:]}{done.stderr}")
    for path in (ROOT / BUILD).rglob("CTestTestfile.cmake"):
        path.write_text(re.sub(r'TIMEOUT "(\d+)"', lambda found: f'TIMEOUT "{int(found[1]) * SLOWER}"', path.read_text()))
    for name, (why, cases) in CANNOT.items():
        print(f"left out: {name}{''.join(f' `{case}`' for case in cases)}: {why}", flush=True)
    environment = ["env", f"GANTRY_TEST_PATIENCE={SLOWER}", "GANTRY_TEST_EMULATED=1"]
    done = as_arm64(*environment, "ctest", "--test-dir", BUILD, "-L", "^(unit|conformance)$", "-R", only, "-E", f"^({'|'.join(CANNOT)})$",
                    "-j2", "--output-on-failure")
    failed = [] if done.returncode == 0 else ["ctest"]
    for name, (_, cases) in CANNOT.items():
        if cases and re.search(only, name):
            done = as_arm64(*environment, f"{BUILD}/tests/{name}", *(f"~{case}" for case in cases))
            failed += [name] if done.returncode != 0 else []
    if failed:
        raise Failure(f"tests failed under qemu-aarch64-static: {failed}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["packages", "tests"])
    parser.add_argument("--tests", default=".", help="those whose names match")
    options = parser.parse_args()
    if os.geteuid() != 0:
        skip("the tree that builds for arm64 is made by root")
    if os.uname().machine != "x86_64":
        skip("this is no machine to cross-build from")
    try:
        if options.only != "tests":
            packages()
        if options.only != "packages":
            tests(options.tests)
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")


main()
