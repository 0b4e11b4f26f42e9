#!/usr/bin/env python3
"""install.py BUILD PREFIX: installs the build under the prefix, which the other tests use, and looks at what came.

Every file belongs to one component, from which packages are cut; nothing that is text names this source tree; both
descriptions for pkg-config lead to files that are there.
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPONENTS = {
    "runtime": ["bin/gantryd", "bin/gantry", "lib/gantry/gantry-plugin-host", "lib/gantry/gantry-guard"],
    "plugins": ["lib/gantry/plugins/placement/least-loaded.so", "lib/gantry/plugins/runtime/process.so",
                "lib/gantry/plugins/runtime/gantry-process-monitor", "lib/gantry/plugins/runtime/gantry-unpack",
                "lib/gantry/plugins/runtime/gantry-board"],
    "libvsoa": ["lib/libvsoa.so.1"],
    "libvsoa-dev": ["lib/libvsoa.so", "lib/libvsoa.a", "lib/libvsoa-client.so", "include/vsoa_client.h",
                    "include/vsoa.hpp", "lib/pkgconfig/vsoa.pc", "share/man/man3/vsoa_client.3"],
    "tools": ["bin/gantry-plugin", "bin/vsoa", "share/man/man1/gantry-plugin.1", "share/man/man1/vsoa.1"],
    "sdk-dev": ["bin/gantry-note", "include/gantry/abi/entry.h", "include/gantry/placement.hpp",
                "include/gantry/elf/reader.hpp", "include/gantry/testing/fake_host.hpp", "lib/libgantry_testing.a",
                "lib/cmake/Gantry/GantryConfig.cmake", "lib/cmake/Gantry/GantryPlugin.cmake",
                "lib/cmake/Gantry/gantry-plugin.map", "lib/pkgconfig/gantry-sdk.pc",
                "share/gantry/templates/store/c++/plugin.cpp", "share/gantry/templates/probe/c/Makefile"],
}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def main():
    build, prefix = map(pathlib.Path, sys.argv[1:])
    parts = prefix.with_name("component")
    shutil.rmtree(prefix, ignore_errors=True)
    run("cmake", "--install", build, "--prefix", prefix)
    whole, seen = files_of(prefix), set()
    for component, wanted in COMPONENTS.items():
        shutil.rmtree(parts, ignore_errors=True)
        run("cmake", "--install", build, "--prefix", parts, "--component", component)
        files = files_of(parts)
        shutil.rmtree(parts, ignore_errors=True)
        if missing := [name for name in wanted if name not in files]:
            sys.exit(f"component {component} lacks {missing}")
        if twice := seen & files:
            sys.exit(f"in two components: {sorted(twice)}")
        seen |= files
    if homeless := whole - seen:
        sys.exit(f"in no component, its install() names none or a new one: {sorted(homeless)}")
    for name in sorted(whole):
        data = b"" if (prefix / name).is_symlink() else (prefix / name).read_bytes()
        if str(ROOT).encode() in data and b"\0" not in data:
            sys.exit(f"{name} names the source tree")
    environment = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    for package, variable, tail in (("gantry-sdk", "note", ""), ("gantry-sdk", "plugin", ""),
                                    ("gantry-sdk", "version_script", ""), ("vsoa", "includedir", "vsoa.hpp")):
        path = pathlib.Path(run("pkg-config", f"--variable={variable}", package, env=environment).strip()) / tail
        if not path.exists() or prefix not in path.resolve().parents:
            sys.exit(f"{package}: {variable} is {path}, which is not there")
    print(f"{len(whole)} files in {len(COMPONENTS)} components")


if __name__ == "__main__":
    main()
