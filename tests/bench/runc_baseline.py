"""`runc run` of the bundle that runtime/oci made, as the baseline of `gantry deploy`."""
import json
import sys

from hosts import Failure

# Times runc alone, inside the host: entering its namespaces is not what is measured.
TIMED = """
import subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print((time.monotonic() - began) * 1000)
sys.exit(done.returncode)
"""


class Baseline:
    """Copies of the bundle of the only container on `host`, which stays as it is."""

    def __init__(self, cluster, host):
        self.cluster, self.host = cluster, host
        state = host.dir / "state" / "plugins" / "runtime.oci"
        bundles = list(state.glob("containers/*/config.json"))
        layers = list(state.glob("images/layers/sha256/*"))
        if len(bundles) != 1 or len(layers) != 1:
            raise Failure(f"expected one container of one layer below {state}, got {bundles}, {layers}")
        self.config, self.layer = json.loads(bundles[0].read_text()), layers[0]

    def run(self, number, port):
        """Milliseconds of one `runc run -d` on a root of its own over the same layer."""
        name, folder = f"baseline-{number}", self.cluster.dir / f"baseline-{number}"
        for part in ("upper", "work", "rootfs"):
            (folder / part).mkdir(parents=True)
        config = json.loads(json.dumps(self.config))
        config["linux"]["cgroupsPath"] = f"/{self.cluster.id}/{name}"
        config["process"]["env"] = [f"VSOA_AUTO_PORT={port}" if entry.startswith("VSOA_AUTO_PORT=") else entry
                                    for entry in config["process"]["env"]]
        (folder / "config.json").write_text(json.dumps(config))
        self.host.inside("mount", "-t", "overlay", "overlay", "-o",
                         f"lowerdir={self.layer},upperdir={folder}/upper,workdir={folder}/work", f"{folder}/rootfs")
        engine = ["runc", "--root", str(self.cluster.dir / "runc")]
        timed = self.host.inside(sys.executable, "-c", TIMED, *engine, "run", "-d", "-b", str(folder), name)
        self.host.inside(*engine, "delete", "-f", name)
        self.host.inside("umount", f"{folder}/rootfs")
        return float(timed.stdout)
