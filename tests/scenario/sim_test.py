#!/usr/bin/env python3
"""gantry-sim as people use it: seeds that repeat, traces, and what bad input gets.

    sim_test.py GANTRY_SIM SIM_WITH_A_BUG SIM_UNDER_ASAN PLUGINS
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

SIM, BUGGY, SANITIZED, PLUGINS = sys.argv[1:5]
SCENARIOS = pathlib.Path(__file__).parent


def run(*arguments, program=SIM):
    return subprocess.run([program, "--plugins", PLUGINS, *map(str, arguments)], capture_output=True, text=True,
                          timeout=200)


def traces(output):
    return re.findall(r"seed (\d+): well.* trace ([0-9a-f]{16})", output)


class Seeds(unittest.TestCase):
    def test_the_same_seed_is_the_same_trace_twice(self):
        first, again = run("--seed", 1, "--seeds", 8), run("--seed", 1, "--seeds", 8)
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        self.assertEqual(len(traces(first.stdout)), 8)
        self.assertEqual(traces(first.stdout), traces(again.stdout))

    def test_another_seed_is_another_trace(self):
        self.assertEqual(len({trace for seed, trace in traces(run("--seed", 1, "--seeds", 8).stdout)}), 8)

    def test_the_same_seed_is_the_same_trace_under_the_address_sanitizer(self):
        helped = subprocess.run([SANITIZED, "--help"], capture_output=True, text=True, env={**os.environ, "ASAN_OPTIONS": "help=1"})
        self.assertIn("AddressSanitizer", helped.stderr)
        plain, seen = run("--seed", 1, "--seeds", 12), run("--seed", 1, "--seeds", 12, program=SANITIZED)
        self.assertEqual(seen.returncode, 0, seen.stdout + seen.stderr)
        self.assertEqual(len(traces(seen.stdout)), 12)
        self.assertEqual(traces(plain.stdout), traces(seen.stdout))

    def test_a_failure_prints_the_one_command_that_repeats_it(self):
        failed = run("--seed", 1, "--seeds", 2000, "--quiet", program=BUGGY)
        self.assertEqual(failed.returncode, 1, failed.stdout + failed.stderr)
        breach = re.search(r"invariant: (.*)", failed.stdout)[1]
        command = shlex.split(re.search(r"repeat with: (.*)", failed.stdout)[1])
        self.assertEqual(command[0], "gantry-sim")
        again = run(*command[1:], program=BUGGY)
        self.assertEqual(again.returncode, 1)
        self.assertIn(breach, again.stdout)


class Traces(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.trace = pathlib.Path(self.folder.name) / "trace"
        recorded = run("--seed", 3, "--trace", self.trace)
        self.assertEqual(recorded.returncode, 0, recorded.stdout + recorded.stderr)

    def replay(self):
        return run("--replay", self.trace)

    def refused(self, words):
        done = self.replay()
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn(words, done.stderr)
        return done.stderr

    def test_a_trace_replayed_gives_the_same_effects(self):
        done = self.replay()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the same effects", done.stdout)

    def test_a_core_that_decides_otherwise_is_told_with_the_line(self):
        done = run("--replay", self.trace, program=BUGGY)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertRegex(done.stderr, r"trace:\d+.*the effects differ")

    def test_a_trace_that_was_cut_between_lines_or_inside_of_one_is_refused(self):
        whole = self.trace.read_bytes()
        lines = whole.splitlines(keepends=True)
        self.trace.write_bytes(b"".join(lines[:-1]))
        self.refused("the trace was cut")
        self.trace.write_bytes(b"".join(lines[:200]) + lines[200][:30])
        self.assertIn(":201", self.refused("the trace was cut"))
        self.trace.write_bytes(b"")
        self.refused("the trace is empty")

    def test_a_trace_that_is_corrupt_is_refused_with_its_line(self):
        lines = self.trace.read_bytes().splitlines(keepends=True)
        broken = bytearray(lines[100])
        broken[40] ^= 1
        self.trace.write_bytes(b"".join([*lines[:100], bytes(broken), *lines[101:]]))
        self.assertIn(":101", self.refused("the checksum of this line is wrong"))
        del lines[50]  # a whole line is missing
        self.trace.write_bytes(b"".join(lines))
        self.assertIn(":51", self.refused("the checksum of this line is wrong"))

    def test_what_is_no_trace_or_not_there_is_refused(self):
        self.trace.write_text("hello\n")
        self.refused("the trace is corrupt")
        self.trace.unlink()
        self.refused("No such file")


class Scenarios(unittest.TestCase):
    def refused(self, text):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "story.toml"
            file.write_text('[scenario]\nabout = "a test"\n' + text)
            done = run("--scenario", file)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            return done.stderr

    def test_a_misspelt_key_is_told_with_its_place_and_what_was_meant(self):
        told = self.refused("node = 3\n")
        self.assertIn("did you mean `nodes`?", told)
        self.assertIn("story.toml:3:1", told)

    def test_a_misspelt_fault_is_told_with_its_place_and_what_was_meant(self):
        told = self.refused('[[fault]]\nat = "1s"\nwhat = "power-of"\n')
        self.assertIn("did you mean `power-off`?", told)
        self.assertIn("story.toml:5:1", told)

    def test_a_manifest_in_a_scenario_is_checked_as_one(self):
        told = self.refused('[[deploy]]\n[deploy.service]\nname = "a"\nimage = "app:1"\ninstance = 2\n')
        self.assertIn("did you mean `instances`?", told)

    def test_a_node_that_is_not_there_and_times_against_the_rules_are_refused(self):
        self.assertIn("there is no node n9", self.refused('[[fault]]\nwhat = "cut"\nnodes = ["n9"]\n'))
        self.assertIn("lost_after", self.refused('[timing]\nlost_after = "100ms"\n'))
        self.assertIn("expected a duration", self.refused('lasts = "soon"\n'))
        self.assertIn("cannot be read", self.refused("nodes = \n"))

    def test_what_is_not_as_expected_fails_and_says_where(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "story.toml"
            file.write_text('[scenario]\nabout = "a test"\nlasts = "5s"\n[[expect]]\nevent = "lost"\nat_least = 1\n')
            done = run("--scenario", file)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("story.toml:4", done.stdout)
            self.assertIn("expected at least 1, got 0", done.stdout)

    def test_every_regression_names_a_seed_a_scenario_and_a_sentence(self):
        for line in (SCENARIOS / "regressions").read_text().splitlines():
            if line and not line.startswith("#"):
                self.assertRegex(line, r"^\d+ (-|[a-z0-9-]+\.toml) \w.*\.$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
