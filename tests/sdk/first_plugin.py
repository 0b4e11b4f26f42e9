#!/usr/bin/env python3
"""docs/plugins/first-plugin.md, command by command, with nothing but what was installed."""
import os
import pathlib
import re
import subprocess
import sys

from desk import Desk, ROOT
from hosts import Failure, enter
import loopback

PAGE = ROOT / "docs/plugins/first-plugin.md"
USUAL = "export PREFIX=/usr/local\n"


def main():
    enter(loopback_will_do=True)
    loopback.become_subreaper()
    desk = Desk(pathlib.Path(os.environ["GANTRY_HOSTS_STATE"]))
    script = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    if USUAL not in script:
        raise Failure(f"{PAGE} does not say {USUAL!r}")
    script = script.replace(USUAL, f"export PREFIX={desk.prefix}\n")
    said = desk.work / "said"
    try:
        with open(said, "w") as out:  # no pipe: gantryd in the background would keep it open
            done = subprocess.run(["sh", "-eux"], input=script, cwd=desk.work, env=desk.environment, text=True, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=200)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"not within {late.timeout} s:\n{said.read_text()}") from None
    text = said.read_text()
    print(text)
    expected = ["100% tests passed", "org.example.my-policy", "gantry.toml is good", "MyNode", "signed by acme", "free memory"]
    missing = [words for words in expected if words not in text + log_of(desk)]
    if done.returncode != 0 or missing:
        raise Failure(f"exit {done.returncode}, missing {missing}; gantryd said:\n{log_of(desk)}")
    desk.expect_no_source_tree(desk.work)


def log_of(desk):
    log = desk.work / "my-policy/gateway/log"
    return log.read_text() if log.exists() else ""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
