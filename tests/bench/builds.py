"""How long builds take without ccache: from nothing, and after one .cpp was touched."""
import os
import pathlib
import subprocess
import tempfile
import time

from hosts import Failure

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S, LISTED_LIMIT_S = 20, 40
# Each holds what is heavy of one library, so that no other file has to: Beast; the start of everything; CLI11.
LISTED = ["plugins/frontend/http/asio_beast.cpp", "kernel/daemon/main.cpp", "kernel/cli/main.cpp"]
SAMPLE = [*LISTED, "kernel/base/json.cpp", "kernel/core/controller.cpp", "kernel/control/tree.cpp", "kernel/host/host.cpp",
          "plugins/runtime/oci/oci.cpp", "sdk/vsoa/src/server.cpp"]


def cmake(*arguments):
    environment = dict(os.environ, CCACHE_DISABLE="1")
    for language in ("C", "CXX"):
        environment.pop(f"CMAKE_{language}_COMPILER_LAUNCHER", None)
    began = time.monotonic()
    done = subprocess.run(["cmake", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failure(f"cmake {' '.join(arguments)}: exit {done.returncode}:\n{done.stdout[-3000:]}")
    return time.monotonic() - began


def release_seconds():
    """The product: what `cmake --build --preset release` makes; the tests are a target of their own."""
    with tempfile.TemporaryDirectory(prefix="gantry-build.") as folder:
        return cmake("--preset", "release", "-B", folder) + cmake("--build", folder)


def limit_s(name):
    return LISTED_LIMIT_S if name in LISTED else LIMIT_S


def product_files():
    names = subprocess.run(["git", "ls-files", "kernel/*.cpp", "plugins/*.cpp", "sdk/*.cpp"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if (ROOT / name).exists()]


def rebuild_seconds(everything):
    """(name, seconds) of each file, in a dev build that was whole before."""
    names = product_files() if everything else SAMPLE
    missing = [name for name in names if not (ROOT / name).exists()]
    if missing:
        raise Failure(f"no such files: {missing}; mend the lists in tests/bench/builds.py")
    with tempfile.TemporaryDirectory(prefix="gantry-build.") as folder:
        build = ("--build", folder, "--target", "all", "tests")
        cmake("--preset", "dev", "-B", folder)
        cmake(*build)
        for name in names:
            os.utime(ROOT / name)
            yield name, cmake(*build)
