#!/usr/bin/env python3
"""The check of the border, itself under test: each kind of break is found and named, what may change may change."""
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

import abi


class Check(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gantry-abi-test-")
        self.addCleanup(folder.cleanup)
        self.include, self.promised = pathlib.Path(folder.name) / "include", pathlib.Path(folder.name) / "baseline"
        # The promise is today's border, whatever was released.
        shutil.copytree(abi.HEADERS, self.include)
        if not hasattr(Check, "baseline"):
            abi.write(self.include, self.promised)
            Check.baseline = {path.name: path.read_text() for path in self.promised.iterdir()}
        self.promised.mkdir(exist_ok=True)
        for name, text in Check.baseline.items():
            (self.promised / name).write_text(text)

    def change(self, header, *pairs, minor=None):
        """Replaces text, each time exactly once; the headers' own assertions, which would see it too, are cut."""
        path = self.include / "gantry/abi" / header
        text = re.sub(r"^GANTRY_STATIC_ASSERT\((sizeof\(gantry|offsetof)[^;]*;\n", "", path.read_text(), flags=re.M)
        for before, after in pairs:
            self.assertEqual(text.count(before), 1, before)
            text = text.replace(before, after)
        path.write_text(text)
        if minor is not None:
            base = self.include / "gantry/abi/base.h"
            base.write_text(re.sub(r"(?<=GANTRY_ABI_MINOR )\d+", str(minor), base.read_text()))

    def next_minor(self):
        return 1 + int(re.search(r"GANTRY_ABI_MINOR (\d+)", (self.include / "gantry/abi/base.h").read_text())[1])

    def broken(self):
        return abi.check(self.include, self.promised)

    def test_the_same_headers_hold(self):
        self.assertEqual(self.broken(), [])

    def test_two_slots_in_another_order_are_found(self):
        first = "    gantry_status (*kill)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;\n"
        second = "    gantry_status (*pause)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;\n"
        self.change("runtime.h", (first, "@"), (second, first), ("@", second))
        broken = self.broken()
        self.assertEqual(len(broken), 2, broken)
        self.assertRegex(broken[0], r"gantry_runtime: member \d+, .* kill at byte \d+, is now called pause")

    def test_two_members_of_different_types_in_another_order_are_found(self):
        first, second = "    int32_t exit_code;  /*", "    int64_t pid;        /*"
        self.change("runtime.h", (first, "@"), (second, first), ("@", second))
        self.assertTrue(any(line.startswith("gantry_container: member 3") for line in self.broken()))

    def test_a_slot_that_is_gone_is_found(self):
        self.change("probe.h", ("    gantry_status (*check)(void* self, gantry_op op, "
                                "const gantry_probe_request* request) GANTRY_NOEXCEPT;\n", ""))
        self.assertIn("gantry_probe: has 8 bytes, it had 16", self.broken())

    def test_a_slot_in_the_middle_is_found(self):
        before = "    gantry_status (*send)(void* self,"
        self.change("transport.h", (before, "    void (*more)(void* self);\n" + before), minor=self.next_minor())
        self.assertTrue(any("(*" not in line and " send at byte 40, is now " in line for line in self.broken()))

    def test_another_signature_is_found(self):
        self.change("runtime.h", ("gantry_str name, int64_t grace_ns)", "gantry_str name, int32_t grace_ns)"))
        broken = self.broken()
        self.assertEqual(len(broken), 1, broken)
        self.assertRegex(broken[0], r"gantry_runtime: member \d+, int \(void\*, struct gantry_op, .*long int\)\* stop at "
                                    r"byte \d+, is now int \(void\*, struct gantry_op, .* int\)\* stop at byte")

    def test_a_const_that_is_gone_is_found(self):
        self.change("entry.h", ("(*create)(const gantry_host* host", "(*create)(gantry_host* host"))
        self.assertEqual(len(self.broken()), 1)

    def test_another_signature_of_a_callback_is_found(self):
        self.change("host.h", ("(*gantry_timer_fn)(void* arg, uint64_t timer)",
                               "(*gantry_timer_fn)(void* arg, int64_t timer)"))
        self.assertRegex(self.broken()[0], "gantry_host_clock: member .* timer at byte")

    def test_another_constant_is_found(self):
        self.change("base.h", ("#define GANTRY_STALE 10 ", "#define GANTRY_STALE 11 "))
        self.assertEqual(self.broken(), ["GANTRY_STALE: is 11, it was 10"])

    def test_another_interface_id_is_found(self):
        self.change("probe.h", ('"gantry.role.probe/1"', '"gantry.role.probe/2"'))
        self.assertEqual(self.broken(), ['GANTRY_ROLE_PROBE: is "gantry.role.probe/2", it was "gantry.role.probe/1"'])

    def test_a_constant_that_is_gone_is_found(self):
        self.change("runtime.h", ("#define GANTRY_RUNTIME_CHECKPOINT 4u\n", ""))
        self.assertEqual(self.broken(), ["GANTRY_RUNTIME_CHECKPOINT: the constant is gone"])

    def test_a_constant_in_other_words_is_the_same(self):
        self.change("runtime.h", ("#define GANTRY_RUNTIME_CHECKPOINT 4u", "#define GANTRY_RUNTIME_CHECKPOINT (1u << 2)"))
        self.assertEqual(self.broken(), [])

    def test_another_major_number_is_found(self):
        self.change("base.h", ("#define GANTRY_ABI_MAJOR 1", "#define GANTRY_ABI_MAJOR 2"))
        self.assertEqual(self.broken(), ["GANTRY_ABI_MAJOR: is 2, it was 1"])

    def test_a_plain_value_does_not_grow(self):
        self.change("base.h", ("    int64_t deadline_ns; /*", "    int64_t more;\n    int64_t deadline_ns; /*"))
        self.change("base.h", ("} gantry_kv;", "    gantry_str more;\n} gantry_kv;"), minor=self.next_minor())
        broken = self.broken()
        self.assertTrue(any(line.startswith("gantry_kv: a plain value does not grow") for line in broken))
        self.assertTrue(any(line.startswith("gantry_op: member 2") for line in broken))

    def test_a_struct_that_is_gone_is_found(self):
        self.change("host.h", ("} gantry_host_ops;", "} gantry_host_operations;"),
                    ("typedef struct gantry_host_ops {", "typedef struct gantry_host_operations {"))
        self.assertIn("gantry_host_ops: the struct is gone", self.broken())

    def test_a_member_called_otherwise_is_found_but_a_reserved_one_may_be(self):
        self.change("probe.h", ("gantry_str container; ", "gantry_str box; "))
        self.change("runtime.h", ("    int32_t fd;         /* where the text is written; belongs to the runtime from an "
                                  "accepted call on */\n    uint32_t reserved;\n",
                                  "    int32_t fd;\n    uint32_t timestamps;\n"))
        broken = self.broken()
        self.assertEqual(len(broken), 1, broken)
        self.assertIn("gantry_probe_request: member 3, struct gantry_str container at byte 8, is now called box", broken)

    def test_what_is_appended_with_a_higher_minor_number_holds(self):
        self.change("runtime.h", ("} gantry_runtime;", "    void (*more)(void* self);\n} gantry_runtime;"),
                    ("} gantry_container;", "    int64_t more;\n} gantry_container;"),
                    ("#define GANTRY_RUNTIME_LIMITS 32u", "#define GANTRY_RUNTIME_LIMITS 32u\n#define GANTRY_MORE 64u"),
                    minor=self.next_minor())
        self.assertEqual(self.broken(), [])

    def test_what_is_appended_under_the_same_minor_number_is_found(self):
        self.change("runtime.h", ("} gantry_runtime;", "    void (*more)(void* self);\n} gantry_runtime;"))
        broken = self.broken()
        self.assertEqual(len(broken), 1, broken)
        self.assertIn("raise it", broken[0])

    def test_drafts_may_change(self):
        self.change("store.h", ("gantry_str name, int64_t ttl_ns)", "gantry_str name)"))
        self.assertEqual(self.broken(), [])

    def test_a_later_border_of_every_struct_holds(self):
        later = self.include.parent / "later"
        abi.grow(abi.HEADERS, later)
        grown = abi.read_structs(abi.describe(later))
        today = abi.read_structs(abi.describe(abi.HEADERS))
        longer = {name for name in today if grown[name].size > today[name].size}
        self.assertEqual(longer, {name for name in today if today[name].grows(name)})
        self.assertEqual(abi.check(later, self.promised), [])

    def test_a_gap_that_only_the_compiler_sees_is_found(self):
        self.change("probe.h", ("    uint32_t verdict;   /*", "    uint8_t verdict;   /*"))
        with self.assertRaises(SystemExit) as caught:
            abi.layout(self.include)
        self.assertIn("gap", str(caught.exception.code))


if __name__ == "__main__":
    missing = [name for name in ("abidw", "cc", abi.CROSS + "gcc", abi.CROSS + "g++") if shutil.which(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        sys.exit(77)
    unittest.main()
