"""Seconds until the first train step is done, compiled anew and from the compilation cache.

  python experiments/benchmarks/first_step.py [--recipe=googlenet-64]

Two fresh processes, one after the other, with a compilation cache of their own that is empty at
first. The step's time is from the call to the updated parameters; the whole process's also has the
imports, the data and the initial values.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

RECIPE = flags.DEFINE_string('recipe', 'googlenet-64', 'as in cpu_training.py')


def first_step(recipe: str, cache: str) -> tuple[float, float]:
    """Seconds of the step, and of the whole process."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name('contenders.py')), 'nnjax', recipe],
        input='1\n',
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={
            **os.environ,
            'JAX_COMPILATION_CACHE_DIR': cache,
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        },
    )
    return float(done.stdout), time.monotonic() - began


def main(_):
    with tempfile.TemporaryDirectory() as cache:
        for name in ('cold', 'from the cache'):
            step, whole = first_step(RECIPE.value, cache)
            print(
                f'{RECIPE.value}, {name}: first step {step:.1f} s, process {whole:.1f} s',
                flush=True,
            )


if __name__ == '__main__':
    app.run(main)
