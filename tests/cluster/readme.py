#!/usr/bin/env python3
"""The README's gateway of your own, line by line, on a throwaway machine: /etc, /var, /run, processes and network of its own.

What installs and builds is left out; the build that is there is used instead, and cgroups have a name of their own.
"""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import Cluster, Failure, enter, is_root, run  # noqa: E402

LEFT_OUT = (".ci/packages", "cmake ")
CONFIG = "samples/axis/gateway.toml"
ETC_GROUP = pathlib.Path("/etc/group")


def commands(cluster):
    config = (ROOT / CONFIG).read_text()
    own = cluster.dir / "gateway.toml"  # its cgroups are removed with the hosts'
    own.write_text(config.replace("[runtime.oci]\n", f'[runtime.oci]\ncgroup_parent = "{cluster.id}"\n'))
    text = (ROOT / "README.md").read_text()
    block = re.search(r"^## A gateway of your own\n.*?^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    if not block:
        raise Failure("README.md has no commands below \"A gateway of your own\"")
    lines = [line for line in block[1].splitlines() if not line.startswith(LEFT_OUT)]
    lines = [f"{line} || [ $? = 124 ]" if " timeout " in line else line for line in lines]  # what timeout(1) ends with
    script = "\n".join(lines).replace(CONFIG, str(own))
    return re.sub(r"(\$PWD/)?build/release", str(cluster.build), script)


def own_folders(cluster):
    """Whatever is written below /etc, /var and /run is gone with this program's mount namespace."""
    for folder in ("upper", "work", "var/lib", "var/log", "var/tmp", "run"):
        (cluster.dir / folder).mkdir(parents=True)
    run("mount", "-t", "overlay", "overlay", "-o",
        f"lowerdir=/etc,upperdir={cluster.dir}/upper,workdir={cluster.dir}/work", "/etc")
    for folder in ("var", "run"):  # no overlay: containers' roots are overlays themselves
        run("mount", "--bind", str(cluster.dir / folder), f"/{folder}")


def main():
    enter()
    if not is_root():
        print("skipped: the README's gateway is set up by root")
        return 77
    cluster = Cluster()
    own_folders(cluster)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GANTRY_")}
    script = commands(cluster)
    said = cluster.dir / "said"
    try:
        with open(said, "w") as out:  # no pipe: gantryd in the background would keep it open
            done = subprocess.run(["sh", "-eux"], input=script, cwd=ROOT, env=environment, text=True, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=120)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"not within {late.timeout} s:\n{said.read_text()}") from None
    text, log = said.read_text(), pathlib.Path("/var/log/gantryd.log").read_text()
    print(text)
    missing = [words for words in ("/axis {", "axis_server.0", "gantry:x:") if words not in text + ETC_GROUP.read_text()]
    if done.returncode != 0 or missing:
        raise Failure(f"exit {done.returncode}, missing {missing}; gantryd said:\n{log}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
