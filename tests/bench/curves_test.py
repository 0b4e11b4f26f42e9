#!/usr/bin/env python3
"""The curves that benches draw: the staircase of what was measured, and an SVG that says what it shows."""
import contextlib
import io
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree as ET

import curves


class Curves(unittest.TestCase):
    def test_each_round_is_a_step_up_to_the_whole(self):
        self.assertEqual(curves.points([3, 1]), [(1, 0.0), (1, 0.5), (3, 1.0)])

    def test_the_picture_is_svg_with_a_name_for_every_curve(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            file = pathlib.Path(folder) / "below" / "a.svg"
            self.assertTrue(curves.draw(file, "a title", "s", {"ours": [0.9, 1.0], "theirs": [25.0, 31.0], "none": []}, (1,)))
            root = ET.fromstring(file.read_text())
        self.assertTrue(root.tag.endswith("svg"))
        shown = "".join(root.itertext())
        for word in ("a title", "ours", "theirs", "share of the rounds"):
            self.assertIn(word, shown)
        self.assertNotIn("none", shown)

    def test_nothing_measured_draws_nothing_and_says_so(self):
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            self.assertFalse(curves.draw("/nowhere/a.svg", "a title", "s", {"ours": []}))
        self.assertIn("nothing was measured", told.getvalue())


if __name__ == "__main__":
    unittest.main(verbosity=2)
