#!/usr/bin/env python3
"""gantry-plugin new and inspect, and gantry-note, as somebody uses them who has only what was installed."""
import json
import pathlib
import re
import sys
import tempfile

from desk import Desk
from hosts import Failure

ROLES = ["discovery", "placement", "runtime", "probe", "transport", "directory", "store", "frontend"]
FILES_MAX = 6


def says(text, *words):
    if missing := [word for word in words if word not in text]:
        raise Failure(f"expected {missing} in: {text}")


def expect(what, wanted, got):
    if wanted != got:
        raise Failure(f"{what}: expected {wanted}, got {got}")


def new_writes_a_few_files(desk):
    for role in ROLES:
        for language in ("c++", "c"):
            name = f"a-{role}-{len(language)}"
            desk.run("gantry-plugin", "new", role, name, "--language", language)
            files = list((desk.work / name).iterdir())
            if not 4 <= len(files) <= FILES_MAX:
                raise Failure(f"{name}: {len(files)} files: {files}")
            for file in files:
                left = [word for word in ("@NAME@", "@ROLE@", "@BUILD@", "@LIBRARIES@", "@CHECK", "@ABI", "@ID@", "@FOLDER@") if word in file.read_text()]
                expect(f"what is left to fill in in {file}", [], left)
            desk.run("gantry-note", "plugin.toml", cwd=desk.work / name)  # checks it


def new_refuses(desk):
    before = sorted(desk.work.iterdir())
    for arguments, status, words in (
            (["new", "placment", "x"], 64, ["'placment'", "Did you mean 'placement'?", "frontend"]),
            (["new", "probe", "Bad_Name"], 64, ["'Bad_Name'", "a-z"]),
            (["new", "probe", "../up"], 64, ["'../up'"]),
            (["new", "probe", "-x"], 64, []),
            (["new", "probe", "x" * 41], 64, ["40"]),
            (["new", "probe", "x", "--language", "rust"], 64, ["'rust'", "c and c++"]),
            (["new", "probe"], 64, ["NAME"]),
            (["nwe"], 64, ["'nwe'", "Did you mean 'new'?"]),
            ([], 64, ["inspect", "Exit statuses"]),
            (["new", "probe", "a-probe-3"], 73, ["a-probe-3 is there already"]),
            (["inspect", "nothing.so"], 66, ["nothing.so", "No such file"]),
            (["inspect", "."], 66, ["not a regular file"]),
            (["inspect", "a-probe-3/README.md"], 65, ["not an ELF file"]),
            (["inspect", "/bin/sh"], 65, ["/bin/sh", "no note of Gantry"])):
        says(desk.run("gantry-plugin", *arguments, expect=status), "gantry-plugin", *words)
    expect("what a refusal leaves behind", before, sorted(desk.work.iterdir()))


def inspect_tells_what_a_plugin_is(desk):
    file = str(desk.prefix / "lib/gantry/plugins/runtime/process.so")
    says(desk.run("gantry-plugin", "inspect", file), "org.gantry.runtime.process", "runtime/1", "Apache-2.0",
         "gantry_plugin_entry", "libstdc++.so.6 (", "GLIBCXX_3.4", "libc.so.6 (", "log_size_max", "2MiB",
         "4KiB to 1GiB", "KEY")
    document = json.loads(desk.run("gantry-plugin", "inspect", "--json", file))
    expect("exports", ["gantry_plugin_entry"], document["exports"])
    keys = {key["key"]: key for key in document["config"]}
    expect("a size in bytes", [2 << 20, 4 << 10, 1 << 30], [keys["log_size_max"][k] for k in ("default", "min", "max")])
    says(str([need["library"] for need in document["needs"]]), "libc.so.6")
    says(desk.run("gantry-plugin", "inspect", "--markdown", file), "# Plain processes\n", "| key | type |",
         "| `log_size_max` | size | 2MiB | 4KiB to 1GiB |")
    says(desk.run("gantry-plugin", "inspect", "--json", "--markdown", file, expect=64), "excludes")


def inspect_bears_hostile_files(desk):
    """A note may hold anything; nothing of it may steer a terminal, and JSON stays JSON."""
    folder = desk.work / "a-placement-1"
    text = (folder / "plugin.toml").read_text()
    hostile = 'description = "red \\u001b[31m and \\u009b, a | and a \\"quote\\""'
    (folder / "plugin.toml").write_text("\n".join(hostile if line.startswith("description") else line
                                                  for line in text.splitlines()))
    desk.run("make", cwd=folder)
    file = next(folder.rglob("*.so"))
    for form in ([], ["--json"], ["--markdown"]):
        out = desk.run("gantry-plugin", "inspect", *form, str(file))
        if any(c in out for c in "\x1b\x9b"):
            raise Failure(f"a control character in {out!r}")
    says(json.loads(desk.run("gantry-plugin", "inspect", "--json", str(file)))["description"], 'a | and a "quote"')
    whole = file.read_bytes()
    for size in range(0, len(whole), 97):
        file.write_bytes(whole[:size])
        # Without its tables of sections, which stand at the end, a file loads and is read all the same.
        out = desk.run("gantry-plugin", "inspect", str(file), expect=65 if size < len(whole) // 2 else (0, 65))
        if not out.startswith("file "):
            expect(f"lines about a file cut at {size}", 1, len(out.splitlines()))


def a_project_of_c_alone_builds(desk):
    folder = desk.take_sample("http-probe")
    (folder / "Makefile").unlink()
    (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES C)\nenable_testing()\n"
                                           "find_package(Gantry 1 REQUIRED)\n"
                                           "gantry_add_plugin(http-probe SOURCES http_probe.c)\n")
    desk.build(folder)
    says(desk.run("gantry-plugin", "inspect", str(desk.site / "lib/gantry/plugins/probe/http-probe.so")), "probe/1")
    text = (folder / "CMakeLists.txt").read_text()
    (folder / "CMakeLists.txt").write_text(text.replace("Gantry 1 ", "Gantry 2 "))
    says(desk.run("cmake", "-B", "two", cwd=folder, expect=1), "requested version", "version: 1.1")


def man_page_tells_every_command_and_option(desk):
    page = (desk.prefix / "share/man/man1/gantry-plugin.1").read_text().replace("\\-", "-")
    commands = re.findall(r"^  ([a-z]+) ", desk.run("gantry-plugin", "--help").split("Subcommands:")[1], re.MULTILINE)
    for command in commands:
        words = {command, *re.findall(r"--[a-z-]+", desk.run("gantry-plugin", command, "--help"))} - {"--help"}
        says(page, *words)


def main():
    with tempfile.TemporaryDirectory(prefix="gantry-sdk.") as folder:
        desk = Desk(pathlib.Path(folder))
        for test in (new_writes_a_few_files, new_refuses, inspect_tells_what_a_plugin_is, inspect_bears_hostile_files,
                     a_project_of_c_alone_builds, man_page_tells_every_command_and_option):
            print(test.__name__.replace("_", " "), flush=True)
            test(desk)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(str(failure))
