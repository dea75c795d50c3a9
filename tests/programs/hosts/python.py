"""python.py KIND LIBRARY...: opens libraries, as modules or by ctypes, while threads execute the first one's sites.

Says what came of it as tests/common reads it.
"""

import ctypes
import importlib.machinery
import importlib.util
import sys
import threading

CALL, SITES, BOUND, DURING, END, TELL = range(6)
THREADS = 3


def open_library(kind, path):
    if kind == "module":
        loader = importlib.machinery.ExtensionFileLoader("extension", path)
        spec = importlib.util.spec_from_file_location("extension", path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module.ask
    ask = ctypes.CDLL(path).hosted_ask
    ask.restype = ctypes.c_uint64
    return ask


def main(kind, *paths):
    asks = [open_library(kind, paths[0])]
    calls, wrong = [0] * THREADS, [0] * THREADS
    over = threading.Event()

    def run(at):
        while not over.is_set():
            wrong[at] += asks[0](CALL) + (sum(range(100)) != 4950)
            calls[at] += 1

    threads = [threading.Thread(target=run, args=(at,)) for at in range(THREADS)]
    for thread in threads:
        thread.start()
    mistakes = 0
    for path in paths[1:]:
        before = list(calls)
        asks.append(open_library(kind, path))
        mistakes += asks[-1](CALL)
        # Each of them has gone on.
        while any(now == then for now, then in zip(calls, before)):
            pass
    over.set()
    for thread in threads:
        thread.join()

    print(f"result\tcalls\t{min(calls)}")
    for at, ask in enumerate(asks):
        for name, what in [("sites", SITES), ("bound", BOUND), ("during", DURING)]:
            print(f"result\t{name} {at}\t{ask(what)}")
        mistakes += ask(END)
    print(f"result\twrong\t{sum(wrong) + mistakes}", flush=True)
    asks[0](TELL)


main(*sys.argv[1:])
