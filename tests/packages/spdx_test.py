#!/usr/bin/env python3
"""The list of what is in a package (kernel/packaging/sbom), of a small package that this test makes."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import spdx

SBOM = pathlib.Path(__file__).resolve().parents[2] / "kernel/packaging/sbom"
CONTROL = """Package: gantry-tools
Version: 1:0.9.0+test
Architecture: amd64
Maintainer: Gantry maintainers <maintainers@gantry.example>
Depends: libc6 (>= 2.36), no-such-package-1 | dpkg, gantry (= 1:0.9.0+test)
Description: a package of a test
"""


class Sbom(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gantry-sbom.")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        tree = self.dir / "tree"
        (tree / "DEBIAN").mkdir(parents=True, mode=0o755)
        (tree / "DEBIAN/control").write_text(CONTROL)
        (tree / "usr/bin").mkdir(parents=True)
        shutil.copy("/bin/true", tree / "usr/bin/one")
        (tree / "usr/bin/Zwei").write_text("echo zwei\n")
        os.link(tree / "usr/bin/one", tree / "usr/bin/same")
        os.symlink("one", tree / "usr/bin/link")
        self.deb = self.dir / "gantry-tools_0.9.0_amd64.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, self.deb], check=True, stdout=subprocess.DEVNULL)
        self.list = self.dir / "gantry-tools_0.9.0_amd64.spdx.json"
        self.make()

    def make(self):
        subprocess.run([SBOM, self.deb], check=True, env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000"))

    def change(self, how):
        document = json.loads(self.list.read_text())
        how(document)
        self.list.write_text(json.dumps(document))
        return "; ".join(spdx.faults(self.deb))

    def test_it_has_what_spdx_wants_and_says_the_truth(self):
        self.assertEqual(spdx.faults(self.deb), [])
        document = json.loads(self.list.read_text())
        self.assertEqual(document["creationInfo"]["created"], "2023-11-14T22:13:20Z")
        self.assertEqual([file["fileName"] for file in document["files"]],
                         ["./usr/bin/Zwei", "./usr/bin/one", "./usr/bin/same"])
        packages = {package["name"]: package for package in document["packages"]}
        self.assertIn("versionInfo", packages["dpkg"])  # of two alternatives the one that is here
        self.assertNotIn("no-such-package-1", packages)
        self.assertEqual(packages["gantry"]["licenseDeclared"], "Apache-2.0")
        self.assertEqual(packages["gantry"]["versionInfo"], "1:0.9.0+test")

    def test_made_twice_it_is_the_same(self):
        before = self.list.read_bytes()
        self.make()
        self.assertEqual(self.list.read_bytes(), before)

    def test_what_is_wrong_is_found(self):
        whole = self.list.read_text()
        for words, how in {
            "SHA256 is": lambda d: d["files"][0]["checksums"][1].update(checksumValue="0" * 64),
            "in the package alone": lambda d: d["files"].pop(),
            "is related to nothing": lambda d: d["relationships"].pop(1),
            "no such element": lambda d: d["relationships"].append(
                {"spdxElementId": "SPDXRef-nobody", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-DOCUMENT"}),
            "no DEPENDS_ON for libc6": lambda d: [d["relationships"].remove(r) for r in list(d["relationships"])
                                                  if r["relatedSpdxElement"] == "SPDXRef-Package-libc6"],
            "lacks ['creationInfo']": lambda d: d.pop("creationInfo"),
            "neither SPDX's nor explained": lambda d: d["packages"][0].update(licenseDeclared="GPL"),
        }.items():
            with self.subTest(words):
                self.list.write_text(whole)
                self.assertIn(words, self.change(how))


if __name__ == "__main__":
    if not shutil.which("dpkg-deb"):
        print("skipped: dpkg-deb is not here")
        sys.exit(77)
    unittest.main()
