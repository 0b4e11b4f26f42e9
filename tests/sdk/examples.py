#!/usr/bin/env python3
"""The examples of docs/plugins, built with nothing but what was installed: every `cpp` block is a whole plugin of its page's
role (README.md's of the role probe), `cpp test` a test of it; the `cmake` and `sh` blocks build, `toml` describes.
"""
import pathlib
import re
import shutil
import sys
import tempfile

from desk import Desk, ROOT
from hosts import Failure

PAGES = ROOT / "docs/plugins"
ROLES = {"placement": "placement/1", "runtime": "runtime/1", "probe": "probe/1", "transport": "transport/1",
         "discovery": "draft.discovery", "directory": "draft.directory", "store": "draft.store", "frontend": "draft.frontend"}


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", (PAGES / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)


def only(page, kind):
    found = blocks(page, kind)
    if len(found) != 1:
        raise Failure(f"docs/plugins/{page}.md: expected one {kind} block, got {len(found)}")
    return found[0]


def manifest(role):
    return re.sub(r'(?m)^role = "[^"]*"', f'role = "{ROLES[role]}"', only("configuration", "toml"))


def main():
    with tempfile.TemporaryDirectory(prefix="gantry-examples.") as folder:
        desk = Desk(pathlib.Path(folder))
        work = desk.work / "examples"
        work.mkdir()
        # What the pages call my-policy and my-probe are the example of placement's page and README's.
        sources = {"my_policy": ("placement", only("placement", "cpp")), "my-probe": ("probe", only("README", "cpp"))}
        sources |= {role: (role, only(role, "cpp")) for role in ROLES if role != "placement"}
        lines = ["cmake_minimum_required(VERSION 3.25)", "project(examples LANGUAGES C CXX)", "enable_testing()",
                 only("building", "cmake")]
        for name, (role, source) in sources.items():
            (work / f"{name}.cpp").write_text(source)
            if name != "my_policy":  # which its page adds
                (work / f"{name}.toml").write_text(manifest(role))
                lines.append(f"gantry_add_plugin({name} SOURCES {name}.cpp MANIFEST {name}.toml)")
        (work / "plugin.toml").write_text(manifest("placement"))
        (work / "my_probe_test.cpp").write_text(only("testing", "cpp test"))
        lines += [only("testing", "cmake"), "add_test(NAME my_probe_test COMMAND my_probe_test)"]
        (work / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
        desk.run("cmake", "-B", "build", cwd=work)
        desk.run("cmake", "--build", "build", "--", "-j2", "-k0", cwd=work, timeout=500)
        print(desk.run("ctest", "--test-dir", "build", "--output-on-failure", "-R", "my", cwd=work))
        built = sorted(path.stem for path in (work / "build/lib").rglob("*.so"))
        if built != sorted(name.replace("my_policy", "my-policy") for name in sources):
            raise Failure(f"expected a plugin for each example, got {built}")

        by_hand = desk.work / "by-hand"
        by_hand.mkdir()
        shutil.copy(ROOT / "tests/conformance/museum/1.0/probe.c", by_hand / "my_probe.c")
        (by_hand / "plugin.toml").write_text(manifest("probe"))
        desk.run("sh", "-eux", "-c", only("building", "sh"), cwd=by_hand)
        print(desk.run("gantry-plugin", "inspect", "my-probe.so", cwd=by_hand))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
