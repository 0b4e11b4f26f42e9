#!/usr/bin/env python3
"""The command line of gantry-plugin check: command_test.py TOOL FOLDER_OF_BROKEN_PLUGINS."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET

TOOL, BROKEN = sys.argv[1], pathlib.Path(sys.argv[2])
SOUND = str(BROKEN / "placement" / "sound_placement.so")
BY_PLACE = str(BROKEN / "placement" / "by_place.so")


def run(*arguments):
    return subprocess.run([TOOL, "check", *map(str, arguments)], capture_output=True, text=True)


class Command(unittest.TestCase):
    def test_a_failure_says_what_was_promised_expected_got_and_is_to_do(self):
        done = run(BY_PLACE, "placement.order")
        self.assertEqual(done.returncode, 1)
        for word in ("FAIL   placement.order", "promise:", "expected:", "got:", "to do:", "--reproduce"):
            self.assertIn(word, done.stdout)

    def test_only_what_was_asked_for_runs_and_what_it_needs(self):
        checks = json.loads(run(SOUND, "--json", "lifecycle.create").stdout)["checks"]
        names = [check["name"] for check in checks]
        self.assertEqual(names[-1], "lifecycle.create")
        self.assertIn("load.entry", names)
        self.assertNotIn("load.quiet", names)
        self.assertNotIn("lifecycle.run", names)

    def test_a_seed_repeats_the_questions_also_of_one_check_alone(self):
        first = json.loads(run(BY_PLACE, "--json").stdout)
        again = json.loads(run(BY_PLACE, "placement.order", "--json", "--reproduce", first["seed"]).stdout)

        def got(report):
            return next(check["got"] for check in report["checks"] if check["name"] == "placement.order")

        self.assertEqual(got(first), got(again))
        self.assertEqual(first["seed"], again["seed"])

    def test_junit_is_xml_that_counts_what_failed(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "out.xml"
            run(BY_PLACE, "placement", "--junit", file)
            suite = ET.parse(file).getroot()
        self.assertEqual(suite.get("failures"), "1")
        failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
        self.assertEqual(failed, ["placement.order"])

    def test_the_list_runs_nothing_and_takes_suites(self):
        done = run("--list")
        self.assertEqual(done.returncode, 0)
        self.assertIn("placement.order", done.stdout)

    @unittest.skipIf(os.environ.get("GANTRY_TEST_EMULATED"), "a process of its own has a filter of system calls, which does not load here")
    def test_isolated_checks_are_those_of_the_same_name_in_a_process_of_its_own(self):
        names = {isolation: [line.split()[0] for line in run("--list", "--isolation", isolation).stdout.splitlines()]
                 for isolation in ("none", "process", "both")}
        self.assertFalse([name for name in names["none"] if name.startswith("isolated.")])
        isolated = [name for name in names["process"] if name.startswith("isolated.")]
        self.assertEqual(names["both"], names["none"] + isolated)
        self.assertTrue(all(name.startswith(("static.", "isolated.")) for name in names["process"]))
        self.assertTrue(all(name.removeprefix("isolated.") in names["none"] for name in isolated))
        checks = json.loads(run(SOUND, "--json", "--isolation", "both", "placement.order").stdout)["checks"]
        self.assertEqual([check["name"] for check in checks if check["name"].endswith("placement.order")],
                         ["placement.order", "isolated.placement.order"])
        self.assertTrue(all(check["outcome"] == "pass" for check in checks), checks)

    def test_a_tool_without_the_plugins_host_beside_it_says_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "bin").mkdir()
            tool = shutil.copy(TOOL, pathlib.Path(folder) / "bin/gantry-plugin")
            done = subprocess.run([tool, "check", SOUND, "--isolation", "process"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 66)
        self.assertIn(f"{folder}/lib/gantry/gantry-plugin-host is not there", done.stderr)

    def test_mistakes_on_the_command_line_are_told(self):
        done = run(SOUND, "--isolation", "some")
        self.assertEqual(done.returncode, 64)
        self.assertIn("expected none, process or both, got 'some'", done.stderr)
        done = run(SOUND, "placement.ordre")
        self.assertEqual(done.returncode, 64)
        self.assertIn("Did you mean 'placement.order'?", done.stderr)
        self.assertEqual(run(SOUND, "--reproduce", "x").returncode, 64)
        self.assertEqual(run().returncode, 64)
        self.assertEqual(run("/nonexistent/plugin.so").returncode, 66)
        self.assertEqual(run("/tmp").returncode, 66)

    def test_a_wrong_world_is_told_with_its_place(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "world.toml"
            for text, place in (("[probe]\nhealty = \"x\"\n", ":2:"), ("[settings\n", ":1:"), ("[files]\nx = 1\n", ":2:")):
                file.write_text(text)
                done = run(SOUND, "--config", file)
                self.assertEqual(done.returncode, 65, text)
                self.assertIn(f"{file}{place}", done.stderr)
            file.write_text("[settings]\nlevl = 1\n")
            done = run(SOUND, "--config", file, "lifecycle.run")
            self.assertEqual(done.returncode, 1)
            self.assertIn("levl", done.stdout)

    def test_nothing_stays_in_the_temporary_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([TOOL, "check", SOUND, "lifecycle"], env={"TMPDIR": folder}, capture_output=True, check=True)
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
