#!/usr/bin/env python3
"""The same work by PyTorch on the CPU: an absolute yardstick beside what `peers` measures.

Rows have the names and shapes of affekt's, samples are taken by the same rules, and --json writes the same schema, so
that `affekt bench --compare` reads the files together.

    python3 peers.py --json pytorch.json matmul softmax
"""

import argparse
import json
import math
import os
import platform
import sys
import time

import torch

# Seconds that a sample takes at least; seconds and calls before the first one.
SAMPLE_SECS = 0.02
WARM_SECS = 1.0
WARM_CALLS = 12
# Samples of which the shortest tells whether it is long enough.
TRIES = 5


def uniform(shape, bound, generator):
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def matmul(rows, inner, cols):
    def make(generator):
        a = uniform((rows, inner), 1, generator)
        b = uniform((inner, cols), 1, generator)
        return lambda: a @ b

    bytes_ = 4 * (rows * inner + inner * cols + rows * cols)
    return [[rows, inner], [inner, cols]], bytes_, 2 * rows * inner * cols, make


def softmax(generator):
    x = uniform((4096, 768), 3, generator)
    return lambda: torch.softmax(x, -1)


def layer_norm(generator):
    x = uniform((4096, 768), 2, generator)
    weight, bias = uniform((768,), 2, generator), uniform((768,), 2, generator)
    return lambda: torch.nn.functional.layer_norm(x, (768,), weight, bias, 1e-5)


def chain(generator):
    """Ten elementwise operations, as they are written down: PyTorch runs one after the other."""
    x, y = uniform((1 << 20,), 2, generator), uniform((1 << 20,), 2, generator)
    return lambda: x.mul(0.5).add(0.25).relu().mul(y).add(x).neg().exp().add(1.0).reciprocal().mul(x)


def gather(generator):
    x = uniform((4096, 256), 1, generator)
    index = torch.randint(4096, (4096, 256), generator=generator)
    return lambda: x.gather(0, index)


def training_step(generator):
    x = uniform((64, 784), 1, generator)
    labels = torch.randint(10, (64,), generator=generator)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def stft(n_fft, win_length):
    def make(generator):
        x = uniform((16, 80000), 1, generator)
        window = torch.hann_window(win_length)
        return lambda: torch.stft(x, n_fft, 160, win_length, window, return_complex=True)

    frames = 1 + 80000 // 160
    return 4 * 16 * (80000 + 2 * frames * (n_fft // 2 + 1)), make


def works():
    """Rows: operator, case, shapes as the files have them, bytes, flops, and what makes the call."""

    def f32(*shapes):
        return " ".join(f"f32{list(shape)}" for shape in shapes)

    rows = []
    for case, sizes in [
        ("square_256", (256, 256, 256)),
        ("square_512", (512, 512, 512)),
        ("square_1024", (1024, 1024, 1024)),
        ("8192x32x96", (8192, 32, 96)),
        ("2048x64x256", (2048, 64, 256)),
    ]:
        shapes, bytes_, flops, make = matmul(*sizes)
        rows.append(("matmul", case, f32(*shapes), bytes_, flops, make, None))
    n = 4096 * 768
    rows.append(("softmax", "rows_of_768", f32([4096, 768]), 8 * n, 0, softmax, None))
    rows.append(
        (
            "layer_norm",
            "rows_of_768",
            f32([4096, 768], [768], [768]),
            8 * n + 8 * 768,
            0,
            layer_norm,
            None,
        )
    )
    n = 1 << 20
    rows.append(("chain", f"ten_of_{n}", f32([n], [n]), 12 * n, 10 * n, chain, None))
    shapes = "f32[4096, 256] u32[4096, 256]"
    detail = "its indices are of 64 bits"
    rows.append(("gather", "rows", shapes, 12 * 4096 * 256, 0, gather, detail))
    shapes = "f32[64, 784] i32[64]"
    weights = [784 * 512, 512 * 512, 512 * 10]
    flops = 2 * 64 * (2 * sum(weights) + sum(weights[1:]))
    detail = "its classes are of 64 bits"
    rows.append(
        ("mlp", "64x784_512_512_10", shapes, 24 * sum(weights), flops, training_step, detail)
    )
    for n_fft, win_length in [(400, 400), (512, 400)]:
        bytes_, make = stft(n_fft, win_length)
        rows.append(
            ("stft", f"16x80000_{n_fft}_160", f32([16, 80000]), bytes_, 0, make, None)
        )
    return rows


def sample(call, n):
    """Seconds of n calls. PyTorch on the CPU has done its work when a call returns."""
    begin = time.perf_counter()
    for _ in range(n):
        call()
    return time.perf_counter() - begin


def measure(call, rounds, secs):
    """Number of calls in a sample, and seconds per call in the order taken."""
    begin, n_calls = time.perf_counter(), 0
    while time.perf_counter() - begin < WARM_SECS or n_calls < WARM_CALLS:
        call()
        n_calls += 1
    n = 1
    while True:
        # The shortest of some: a hiccup must not make samples too short.
        taken = min(sample(call, n) for _ in range(TRIES))
        if taken >= SAMPLE_SECS:
            break
        n = math.ceil(n * min(max(1.1 * SAMPLE_SECS / max(taken, 1e-6), 1.1), 8.0))
    sample(call, n)
    samples, begin = [], time.perf_counter()
    while len(samples) < rounds or time.perf_counter() - begin <= secs:
        samples.append(sample(call, n) / n)
    return n, samples


def quantile(numbers, share):
    """The value below which that share of the numbers lies, between neighbours in proportion."""
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def timing(samples):
    tenth = math.ceil(len(samples) / 10)
    return {
        "n": len(samples),
        "median": quantile(samples, 0.5),
        "p10": quantile(samples, 0.1),
        "p90": quantile(samples, 0.9),
        "p99": quantile(samples, 0.99),
        "n_discarded": 0,
        "drift": quantile(samples[-tenth:], 0.5) / quantile(samples[:tenth], 0.5),
    }


def row_of(work, rounds, secs):
    op, case, shapes, bytes_, flops, make, detail = work
    call = make(torch.Generator().manual_seed(1))
    if op == "mlp":
        n, samples = measure(call, rounds, secs)
    else:
        with torch.inference_mode():
            n, samples = measure(call, rounds, secs)
    wall = timing(samples)
    calls = f"{n} calls in a sample"
    spread = wall["p90"] - wall["p10"]
    return {
        "op": op,
        "case": case,
        "shapes": shapes,
        "verdict": "right",
        "detail": f"{calls}; {detail}" if detail else calls,
        "median": wall["median"],
        "wall": wall,
        "bytes": bytes_,
        "flops": flops,
        "gb_s": bytes_ / wall["median"] / 1e9,
        "gflop_s": flops / wall["median"] / 1e9 if flops else None,
        "noisy": spread > 0.2 * wall["median"] or abs(wall["drift"] - 1) > 0.1,
    }


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def load():
    try:
        return " ".join(f"{x:.2f}" for x in os.getloadavg())
    except OSError:
        return "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("filter", nargs="*", help="rows whose name has this in it, like matmul")
    parser.add_argument("--json", metavar="FILE", help="writes the results as affekt bench does")
    parser.add_argument("--rounds", type=int, default=25, help="fewest samples of a row [25]")
    parser.add_argument("--seconds", type=float, default=4.0, help="time per row [4]")
    parser.add_argument("--threads", type=int, help="threads of PyTorch [as it chooses]")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    started, begin = int(time.time()), time.perf_counter()
    version = torch.__version__.split("+")[0]
    print(f"pytorch {version}  {processor()}, {torch.get_num_threads()} threads")
    print(f"load before     {load()}\n")
    print(f"{'':<26}  {'ms':>10}  {'GB/s':>8}  {'GFLOP/s':>8}")
    rows = []
    for work in works():
        name = f"{work[0]}/{work[1]}"
        if options.filter and not any(word in name for word in options.filter):
            continue
        row = row_of(work, options.rounds, options.seconds)
        rows.append(row)
        rate = f"{row['gflop_s']:.1f}" if row["gflop_s"] else "-"
        mark = "  noisy" if row["noisy"] else ""
        print(f"{name:<26}  {row['median'] * 1e3:>10.3f}  {row['gb_s']:>8.1f}  {rate:>8}{mark}")
    if not rows:
        print(f"peers.py: no row has {', '.join(options.filter)} in its name", file=sys.stderr)
        return 2
    print(f"\nload after      {load()}")

    if options.json:
        report = {
            "schema": "affekt-bench",
            "schema_version": 1,
            "machines": [
                {
                    "environment": {
                        "engine": f"pytorch {version}",
                        "adapter": f"cpu:{processor()}",
                        "class": "cpu",
                        "backend": "cpu",
                        "os": f"{platform.system().lower()} {platform.machine()}",
                        "n_host_threads": torch.get_num_threads(),
                        "started": started,
                    },
                    "ceilings": None,
                    "rows": rows,
                    "steps": [],
                    "health": {
                        "clock": "wall",
                        "slowdown": 1.0,
                        "n_noisy": sum(row["noisy"] for row in rows),
                        "seconds": time.perf_counter() - begin,
                    },
                }
            ],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
            file.write("\n")
        print(f"\nwritten: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
