#!/usr/bin/env python3
"""skips.py RESULTS: compares the tests that were skipped with tests/expected-skips (name, blank, reason; one a line).

RESULTS is what ctest --output-junit wrote. A skip that is not expected fails when run as root: something this machine
can do was not tested.
"""
import os
import pathlib
import sys
import xml.etree.ElementTree as ET

expected_file = pathlib.Path(__file__).parents[1] / "expected-skips"
expected = {line.split()[0] for line in expected_file.read_text().splitlines() if line and not line.startswith("#")}
if not pathlib.Path(sys.argv[1]).exists():
    sys.exit(f"{sys.argv[1]} is missing: ctest did not get to its end")
skipped = {}
for case in ET.parse(sys.argv[1]).getroot().iter("testcase"):
    if case.get("status") in ("notrun", "disabled") or case.find("skipped") is not None:
        output = case.findtext("system-out") or ""
        reasons = [line for line in output.splitlines() if line.startswith("skipped:")]
        skipped[case.get("name")] = reasons[-1] if reasons else "skipped without a word"
for name, reason in sorted(skipped.items()):
    print(f"{name}: {reason}{' (expected)' if name in expected else ''}")
unexpected = sorted(set(skipped) - expected)
if unexpected and os.geteuid() == 0:
    print("not in tests/expected-skips: " + ", ".join(unexpected))
    sys.exit(1)
