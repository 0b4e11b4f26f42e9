"""Curves of what a bench measured: how large a share of the rounds took at most so long, as SVG, drawn by gnuplot."""
import os
import pathlib
import shutil
import subprocess

STEPS = "set terminal svg size 720,400 dynamic background rgb 'white' font 'sans,12'"


def folder():
    return pathlib.Path(os.environ.get("GANTRY_CURVES", pathlib.Path(__file__).resolve().parents[2] / "build" / "curves"))


def points(times):
    """(time, share of the rounds that took at most that), as a staircase from 0 to 1."""
    ordered = sorted(times)
    return [(ordered[0], 0.0)] + [(time, (n + 1) / len(ordered)) for n, time in enumerate(ordered)]


def script(file, title, unit, curves, limits=()):
    lines = [STEPS, f'set output "{file}"', f'set title "{title}"', f'set xlabel "{unit}"',
             'set ylabel "share of the rounds"', "set yrange [0:1.02]", "set grid", "set key bottom right"]
    times = [time for values in curves.values() for time in values]
    if max(times) > 8 * max(min(times), 1e-3):
        lines.append("set logscale x")
        lines.append(f"set xrange [{max(min(times), 1e-3) / 1.5}:{max(times) * 1.5}]")
    else:
        lines.append(f"set xrange [0:{max([*times, *limits]) * 1.1}]")
    for limit in limits:
        lines.append(f"set arrow from {limit}, graph 0 to {limit}, graph 1 nohead dashtype 2 linecolor rgb 'gray'")
    lines.append("plot " + ", ".join(f'"-" with steps linewidth 2 title "{name}"' for name in curves))
    for values in curves.values():
        lines += [f"{time} {share}" for time, share in points(values)] + ["e"]
    return "\n".join(lines) + "\n"


def draw(file, title, unit, curves, limits=()):
    """Writes the SVG `file` of {name: [times]}; False, and a word, where there is no gnuplot or nothing was measured.

    limits: times that get a dashed line."""
    curves = {name: values for name, values in curves.items() if values}
    file = pathlib.Path(file)
    if not curves or not shutil.which("gnuplot"):
        print(f"no curves are drawn: {'nothing was measured' if not curves else 'gnuplot (Debian gnuplot-nox) is missing'}")
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gnuplot"], input=script(file, title, unit, curves, limits), text=True, check=True, timeout=60)
    print(f"curves: {file}")
    return True
