#!/usr/bin/env python3
"""beside_engine.py podman|docker BUILD PROGRAM [TEST]: the tests of runtime/docker beside a real engine."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SUPPORT = pathlib.Path(__file__).resolve().parents[4] / "support"
# Tests of our own monitors and stores, which an engine has its own way of.
NOT_OURS = ["~Without its monitor*", "~After a reboot*", "~What a daemon left*", "~Without the program that unpacks*"]


def main():
    kind, build, program, wanted = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:] or NOT_OURS
    if os.geteuid() != 0 or shutil.which("runc") is None or shutil.which("conmon") is None:
        print("skipped: an engine needs root, runc and conmon")
        return 77
    with tempfile.TemporaryDirectory(prefix="gantry-") as folder:
        # Whatever is left running or mounted ends with its init.
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
                               SUPPORT / "engines.py", kind, build, folder, program, *wanted],
                              env={**os.environ, "GANTRY_ENGINE_KIND": kind})
    for name in ("libpod_parent", "gantry-engine"):
        for tree in pathlib.Path("/sys/fs/cgroup").glob(f"*/{name}"):
            for path, _, _ in sorted(os.walk(tree), reverse=True):
                try:
                    os.rmdir(path)
                except OSError:
                    pass  # somebody else's
    return done.returncode


sys.exit(main())
