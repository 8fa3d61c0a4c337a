"""mailsyncd under cProfile, by its main thread's own CPU time: profiled.py OUT TREE ARGUMENTS.

OUT takes the profile, OUT.cpu the seconds of the main thread and of all; TREE is where the package is."""

from __future__ import annotations

import cProfile
import runpy
import sys
import time
from pathlib import Path

out, tree, *arguments = sys.argv[1:]
sys.path.insert(0, tree)
sys.argv = ["mailsyncd", *arguments]
profile = cProfile.Profile(time.thread_time)
try:
    profile.runcall(runpy.run_module, "mailsyncd", run_name="__main__", alter_sys=True)
finally:
    profile.dump_stats(out)
    Path(out + ".cpu").write_text(f"{time.thread_time()} {time.process_time()}")
