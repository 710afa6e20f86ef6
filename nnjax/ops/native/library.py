"""The compiled kernels: built from the sources beside this file at first use, loaded, registered.

A wheel that is built on one machine cannot know the next one's jaxlib, and a build at installation
would need a compiler there; so half a minute is spent at the first use on a machine, and the
library is kept under a name that holds the hash of everything it was made from.
"""

import ctypes
import dataclasses
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from nnjax import cache
from nnjax.machine import processors

HERE = Path(__file__).parent
TARGETS = (
    'ConvolutionX', 'ConvolutionW', 'ConvolutionY', 'MatmulNN', 'MatmulNT', 'MatmulTN',
    'LstmForward', 'LstmBackward', 'GruForward', 'GruBackward', 'ColumnMoments', 'ColumnSums', 'PoolMaximum', 'PoolSpread',
    'MelBands', 'WinogradX', 'WinogradW', 'WinogradY',
)  # fmt: skip
SIZES = ('ConvolutionScratch', 'MatmulScratch', 'RecurrentScratch', 'WinogradScratch')
PACKAGES = ('onednn-cpu-gomp', 'onednn-devel-cpu-gomp')
PASS = 32  # FLOPs that a number counts for where memory takes the time
PIECE = 4_000_000  # FLOPs, 20 microseconds: waking a thread takes as long as a good part of it
FLAGS = ('-O3', '-fno-math-errno', '-fno-trapping-math', '-std=c++17', '-fopenmp', '-fPIC')


@dataclasses.dataclass(frozen=True)
class Library:
    """The kernels of this process.

    Attributes:
      path: the shared library, or None where there is none.
      why: why there is none, in one line; '' if there is one.
      tag: what the names of its targets end on, so that no program meets another build's kernel.
      handle: the loaded library.
    """

    path: Path | None
    why: str = ''
    tag: str = ''
    handle: ctypes.CDLL | None = None


_lock = threading.Lock()


def load() -> Library:
    """Finds, or builds, and loads the kernels, once; says why where that cannot be."""
    with _lock:
        return _load()


@functools.cache
def _load() -> Library:
    if os.environ.get('NNJAX_NATIVE', '1') == '0':
        return Library(None, 'NNJAX_NATIVE=0 turns them off')
    if platform.system() != 'Linux' or platform.machine() != 'x86_64':
        return Library(None, f'they exist for Linux on x86-64, this is {platform.platform()}')
    runtime, header = _installed(PACKAGES[0], 'libdnnl.so.3'), _installed(PACKAGES[1], 'dnnl.hpp')
    if runtime is None or header is None:
        return Library(None, f'oneDNN is not installed: pip install {" ".join(PACKAGES)}')
    texts = [path.read_bytes() for path in sorted([*HERE.glob('*.cc'), *HERE.glob('*.h')])]
    versions = [jaxlib.__version__, *map(metadata.version, PACKAGES), str(runtime), *FLAGS]
    tag = hashlib.sha256(b'\0'.join([*texts, *map(str.encode, versions)])).hexdigest()[:12]
    path = cache.root() / 'native' / f'kernels-{tag}.so'
    if not path.is_file() and (why := _build(path, runtime, header)):
        return Library(None, why)
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        return Library(None, f'{path} cannot be loaded: {error}')
    for name in SIZES:
        getattr(handle, name).restype = ctypes.c_int64
    for name in TARGETS:
        jax.ffi.register_ffi_target(
            f'nnjax_{name}_{tag}', jax.ffi.pycapsule(getattr(handle, name)), platform='cpu'
        )
    return Library(path, '', tag, handle)


def _installed(package: str, name: str) -> Path | None:
    """A file of an installed package by its name."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    found = (f for f in files if f.name == name and 'oneapi' not in f.parts)
    return next((Path(f.locate()).resolve() for f in found), None)


def _build(path: Path, runtime: Path, header: Path) -> str:
    """Compiles the sources to `path`, whole or not at all; '' or why it failed."""
    compiler = next(
        filter(None, map(shutil.which, (os.environ.get('CXX', ''), 'g++', 'c++'))), None
    )
    if compiler is None:
        return 'they need a C++ compiler: install g++ (on Debian: apt install g++)'
    print('nnjax: building the CPU kernels (once) ...', file=sys.stderr)
    include = [f'-I{header.parent}', f'-isystem{jax.ffi.include_dir()}']
    link = [f'-L{runtime.parent}', f'-l:{runtime.name}', f'-Wl,-rpath,{runtime.parent}', '-shared']
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix='.building') as folder:
            objects = {source: f'{folder}/{source.stem}.o' for source in sorted(HERE.glob('*.cc'))}
            why = _run(
                [compiler, *FLAGS, *include, '-c', str(source), '-o', made]
                for source, made in objects.items()
            ) or _run([[compiler, *FLAGS, *objects.values(), *link, '-o', f'{folder}/all.so']])
            if not why:
                os.replace(f'{folder}/all.so', path)
            return why
    except OSError as error:
        return f'they could not be built: {error}'


def _run(commands: Iterable[list[str]]) -> str:
    """Runs compilers side by side; '' or the first error."""
    running = [
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for command in commands
    ]
    why = ''
    for process in running:
        text = process.communicate()[1]
        if process.returncode and not why:
            lines = [line for line in text.splitlines() if 'error' in line] or ['']
            why = f'{process.args[0]} could not build them: {lines[0]}'
    return why


def serves(*arrays: jax.Array) -> bool:
    """Whether there are kernels, and these arrays are for them: of one type they know, not empty."""
    known = (np.float32, jnp.bfloat16)
    one = arrays[0].dtype
    right = one in known and all(a.dtype == one and a.size > 0 for a in arrays)
    return right and load().path is not None


def call(target: str, size: str, numbers: Sequence[int], results: list, *arrays, **attributes):
    """The results of a kernel on arrays, or None where oneDNN does not serve them.

    Args:
      target: one of TARGETS.
      size: one of SIZES, which says how much scratch memory the call needs.
      numbers: what `size` asks for; the C++ beside this file says what.
      results: their jax.ShapeDtypeStructs; the scratch memory is one more.
      arrays: operands.
      attributes: integers and tuples of them.
    """
    whole = (ctypes.c_int64 * len(numbers))(*map(int, numbers))
    scratch = getattr(load().handle, size)(whole)
    return None if scratch < 0 else run(target, scratch, results, *arrays, **attributes)


def run(target: str, scratch: int, results: list, *arrays, **attributes) -> list[jax.Array]:
    """The results of a kernel that needs so many bytes of scratch memory; see `call`."""
    memory = jax.ShapeDtypeStruct((scratch,), np.uint8)
    function = jax.ffi.ffi_call(f'nnjax_{target}_{load().tag}', [*results, memory])
    static = {name: np.array(value, np.int64)[()] for name, value in attributes.items()}
    return function(*arrays, **static)[:-1]


def pieces(rows: int, flops: int) -> int:
    """How many threads share a kernel's work: never more than rows, and none for too little of it."""
    return max(1, min(rows, threads(), flops // PIECE))


def threads() -> int:
    """The processors that this process may use, or OMP_NUM_THREADS if that is less."""
    own = os.environ.get('OMP_NUM_THREADS', '').split(',')[0]
    allowed = processors()
    return min(int(own), allowed) if own.isdigit() and int(own) > 0 else allowed
