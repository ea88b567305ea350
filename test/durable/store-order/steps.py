"""steps.py PID STEPS FILE:BYTES...: runs the main thread of a process instruction by instruction (ptrace(2)), and prints each change of the
memory that these files are, in the order in which the instructions made them.

Prints a line of JSON: `initial`, the memory before the first step (base64); `changes`, a list of [word, value]; `torn`, the number of
instructions that changed more than one word."""

import base64
import ctypes
import json
import mmap
import os
import signal
import struct
import sys

WALL = 0x40000000  # __WALL: waits for a process that is no child, too (waitpid(2))
SINGLESTEP, ATTACH, DETACH = 9, 16, 17

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, data=0):
    if libc.ptrace(request, pid, None, data) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request})")


def stopped(pid):
    """Waits for the next stop. Returns the signal that the process gets."""
    _, status = os.waitpid(pid, WALL)
    if not os.WIFSTOPPED(status):
        sys.exit(f"process {pid} has ended")
    got = os.WSTOPSIG(status)
    return 0 if got in (signal.SIGTRAP, signal.SIGSTOP) else got


def words(memory):
    return struct.unpack(f"{len(memory) // 4}I", memory)


def main():
    pid, steps = int(sys.argv[1]), int(sys.argv[2])
    parts = []
    for part in sys.argv[3:]:
        path, size = part.rsplit(":", 1)
        with open(path, "rb") as file:
            parts.append((mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), int(size)))

    def read():
        return [part[:size] for part, size in parts]

    ptrace(ATTACH, pid)
    send = stopped(pid)
    before = read()
    initial = b"".join(before)
    changes, torn = [], 0
    starts = [sum(size for _, size in parts[:i]) // 4 for i in range(len(parts))]
    for _ in range(steps):
        ptrace(SINGLESTEP, pid, send)
        send = stopped(pid)
        now = read()
        if now == before:
            continue
        changed = 0
        for start, old, new in zip(starts, before, now):
            if old == new:
                continue
            for at, (was, value) in enumerate(zip(words(old), words(new))):
                if was != value:
                    changes.append((start + at, value))
                    changed += 1
        torn += changed > 1
        before = now
    ptrace(DETACH, pid)
    result = {"initial": base64.b64encode(initial).decode(), "changes": changes, "torn": torn}
    print(json.dumps(result))


main()
