"""Trees of Debian 12, made by debootstrap from the mirror that this machine uses."""
import pathlib
import re
import shutil
import subprocess

from built import ROOT, debs, skip


def mirror():
    uris = [line.split()[1] for path in pathlib.Path("/etc/apt").glob("sources.list.d/*.sources")
            for line in path.read_text().splitlines() if line.startswith("URIs:")]
    listed = pathlib.Path("/etc/apt/sources.list")
    uris += [line.split()[-3] for line in listed.read_text().splitlines() if line.startswith("deb ")] if listed.is_file() else []
    if not uris:
        skip("this machine names no mirror of Debian")
    return uris[0]


def dependencies():
    """What the package `gantry` depends on; of alternatives the first."""
    depends = subprocess.run(["dpkg-deb", "-f", debs()["gantry"], "Depends"], check=True, capture_output=True, text=True).stdout
    return {re.split(r"[ |(]", part.strip())[0] for part in depends.split(",")}


def make_tree(tree, packages):
    """One that was made for other packages is made anew."""
    wanted = ",".join(sorted(packages))
    ready = tree / "ready"
    if ready.is_file() and ready.read_text() == wanted:
        return
    subprocess.run([ROOT / ".ci/packages", "package"], check=True)
    source = mirror()
    print("making a tree of Debian 12", flush=True)
    shutil.rmtree(tree, ignore_errors=True)
    tree.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={wanted}", "bookworm", tree, source],
                          capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        skip("debootstrap made no tree: " + " ".join(done.stdout.split()[-40:]))
    ready.write_text(wanted)
