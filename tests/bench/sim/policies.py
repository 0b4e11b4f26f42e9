#!/usr/bin/env python3
"""What the placement policies do with the same fleet, services and faults: records a trace of tests/scenario/policies.toml
under each, and draws docs/policies.svg from what nodes reported in it.

    policies.py [--check]      --check: draws nothing; ends with 1 if the table of docs/policies.md says otherwise

Everything happens in virtual time and from one seed, so that it comes out the same everywhere.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("GANTRY_BUILD", ROOT / "build/release"))
SCENARIO = ROOT / "tests/scenario/policies.toml"
POLICIES = ["least-loaded", "binpack", "spread", "weighted"]
NODE_MIB, STEP_S = 1024, 5


def record(policy):
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "trace"
        done = subprocess.run([BUILD / "bin/gantry-sim", "--scenario", SCENARIO, "--policy", policy, "--trace", trace],
                              capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{policy}: {done.stdout}{done.stderr}")
        with open(trace, encoding="utf-8") as lines:
            return [json.loads(line.split(" ", 1)[1]) for line in lines]


def reports(records):
    """(seconds, node, the copies that it reports) of each report that the controller was given."""
    begin = None
    for entry in records:
        begin = entry["at"] if begin is None and "at" in entry else begin
        given = entry.get("in", {})
        if given.get("i") != "message" or "address" not in given:
            continue
        message = json.loads(given["text"])
        if "copies" in message:
            yield (entry["at"] - begin) / 1e9, int(given["address"].rsplit(".", 1)[1]), message["copies"]


class Play:
    """What each node has, in steps of STEP_S."""

    def __init__(self, policy, scenario):
        deploys = sorted(scenario["deploy"], key=lambda deploy: seconds(deploy["at"]))
        self.policy, self.nodes = policy, scenario["scenario"]["nodes"]
        steps = int(seconds(scenario["scenario"]["lasts"]) / STEP_S)
        self.has = {node: [frozenset()] * steps for node in range(1, self.nodes + 1)}
        away = {int(node[1:]): (seconds(fault["at"]), seconds(fault["at"]) + seconds(fault["for"]))
                for fault in scenario["fault"] for node in fault["nodes"]}
        services = []
        for at, node, copies in reports(record(policy)):
            running = frozenset(copy["copy"].split("#")[0] for copy in copies if copy["state"] in ("running", "ready"))
            for service in sorted({int(copy.split(".")[0]) for copy in running}):
                if service not in services:
                    services.append(service)
            for step in range(int(at / STEP_S), steps):
                gone = away.get(node, (0, 0))
                self.has[node][step] = frozenset() if gone[0] <= step * STEP_S < gone[1] else running
        self.memory = {service: int(deploy["resources"]["memory"].removesuffix("MiB"))
                       for service, deploy in zip(sorted(services), deploys)}
        self.away = away

    def used(self, node, step):
        return sum(self.memory[int(copy.split(".")[0])] for copy in self.has[node][step]) / NODE_MIB

    def row(self):
        steps = range(len(self.has[1]))
        fullest = max(self.used(node, step) for node in self.has for step in steps)
        idle = sum(not self.has[node][step] for node in self.has for step in steps
                   if step * STEP_S >= 120 and node not in self.away)
        idle /= sum(step * STEP_S >= 120 for step in steps)
        before = int(next(iter(self.away.values()))[0] / STEP_S) - 1
        lost = max(self.away, key=lambda node: 0)
        together = 0
        for node in self.has:
            for step in steps:
                counts = {}
                for copy in self.has[node][step]:
                    service = copy.split(".")[0]
                    counts[service] = counts.get(service, 0) + 1
                together = max(together, max(counts.values(), default=0))
        return [f"`{self.policy}`", f"{idle:.1f}", f"{100 * fullest:.0f}%", str(len(self.has[lost][before])), str(together)]


def seconds(text):
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


HEAD = ["policy", "nodes without a copy, on average", "fullest node, memory", "copies lost with n1", "instances of one "
        "service together at most"]


def table(plays):
    lines = [HEAD, ["---"] * len(HEAD), *(play.row() for play in plays)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def picture(plays):
    left, width, cell, gap = 44, 720, 16, 34
    nodes, steps = plays[0].nodes, len(plays[0].has[1])
    height = len(plays) * (nodes * cell + gap) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 16} {height}" '
           'font-family="sans-serif" font-size="11">',
           f'<rect width="{left + width + 16}" height="{height}" fill="#fff"/>']
    for number, play in enumerate(plays):
        top = number * (nodes * cell + gap) + 24
        out.append(f'<text x="{left}" y="{top - 7}" font-weight="bold">{play.policy}</text>')
        for node in range(1, nodes + 1):
            y = top + (node - 1) * cell
            out.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">n{node}</text>')
            begin = 0
            for step in range(1, steps + 1):
                if step < steps and play.has[node][step] == play.has[node][begin]:
                    continue
                share = play.used(node, begin)
                gone = play.away.get(node)
                dark = gone and gone[0] <= begin * STEP_S < gone[1]
                colour = "#444" if dark else f"hsl(210,70%,{97 - 62 * min(share, 1):.0f}%)"
                x, w = left + width * begin / steps, width * (step - begin) / steps
                copies = len(play.has[node][begin])
                out.append(f'<rect x="{x:.1f}" y="{y}" width="{w:.1f}" height="{cell - 2}" fill="{colour}"/>')
                if copies and w > 14:
                    ink = "#fff" if share > 0.55 else "#222"
                    out.append(f'<text x="{x + 3:.1f}" y="{y + 11}" fill="{ink}">{copies}</text>')
                begin = step
    minutes = steps * STEP_S // 60
    for minute in range(0, minutes + 1, 2):
        out.append(f'<text x="{left + width * minute / minutes:.1f}" y="{height - 10}" text-anchor="middle">{minute} min'
                   '</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    scenario = tomllib.loads(SCENARIO.read_text(encoding="utf-8"))
    plays = [Play(policy, scenario) for policy in POLICIES]
    said = table(plays)
    print(said, end="")
    page = ROOT / "docs/policies.md"
    if sys.argv[1:] != ["--check"]:
        (ROOT / "docs/policies.svg").write_text(picture(plays), encoding="utf-8")
        return 0
    if said in page.read_text(encoding="utf-8") and picture(plays) == (ROOT / "docs/policies.svg").read_text(encoding="utf-8"):
        return 0
    print(f"{page} says otherwise; run this without --check and put the table there")
    return 1


if __name__ == "__main__":
    sys.exit(main())
