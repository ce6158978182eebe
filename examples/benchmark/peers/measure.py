"""What both peers share: the command line, the clock, and the resident set.

    python torch.py [--compile] [--threads N] [--repeat R] [KEY ...]

prints one flat JSON object. With --serve it reads keys, one a line, and answers each with {"key": ..., "value": ...} after one
repetition. Units: GFLOP/s for keys that begin with gemm, bytes for those that end in bytes, seconds for all others.
"""
import argparse
import gc
import json
import os
import subprocess
import sys
import threading
import time

PRODUCTS = {f"gemm_f32_{n}": (n, n, n) for n in (256, 512, 1024)}
PRODUCTS |= {f"gemm_f32_{m}x{k}x{n}": (m, k, n) for m, k, n in ((3136, 128, 384), (3136, 128, 512), (3136, 512, 128), (3136, 128, 128))}
WIDTHS = (65, 256, 256, 256, 64)


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("keys", nargs="*")
    p.add_argument("--compile", action="store_true", help="torch.compile the networks")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--repeat", type=int, default=5)
    p.add_argument("--serve", action="store_true")
    return p.parse_args()


def seconds(f, repeat, least=0.3):
    f()
    began = time.perf_counter()
    f()
    calls = max(1, int(least / (time.perf_counter() - began)))
    best = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        for _ in range(calls):
            f()
        best = min(best, (time.perf_counter() - began) / calls)
    return best


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak(f):
    """Growth of the resident set over two calls, the first included: what it has freed a process may still hold."""
    gc.collect()
    base = top = resident()
    stop = threading.Event()

    def watch():
        nonlocal top
        while not stop.wait(0.002):
            top = max(top, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    f()
    f()
    stop.set()
    watcher.join()
    return float(max(top, resident()) - base)


def run(args, name, makers):
    """makers: key -> function that returns the function to be measured. It is made when it is first asked for."""
    made = {}

    def value(key, repeat):
        if key not in makers:
            return None
        if args.serve and key.endswith("bytes"):
            # What this process has freed it still holds: memory is measured in one that has done nothing else.
            command = [sys.executable] + [a for a in sys.argv if a != "--serve"] + [key]
            return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)[key]
        if key not in made:
            made[key] = makers[key]()
        if key.endswith("bytes"):
            return peak(made[key])
        s = seconds(made[key], repeat)
        if key in PRODUCTS:
            m, k, n = PRODUCTS[key]
            return 2 * m * k * n / s / 1e9
        return s

    if args.serve:
        for line in sys.stdin:
            key = line.strip()
            print(json.dumps({"key": key, "value": value(key, 1)}), flush=True)
        return
    result = {"library": name, "threads": args.threads}
    for key in args.keys or makers:
        if key not in makers:
            sys.exit(f"no key {key}; there are {' '.join(makers)}")
        result[key] = value(key, args.repeat)
        print(key, result[key], file=sys.stderr)
    print(json.dumps(result, indent="\t"))
