"""Compiles kernels for the CPU, with g++; what was built before is kept and used again."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from emulator.report import BuildError

HERE = Path(__file__).parent.resolve()
VENV = HERE.parent.parent / ".venv"

COMMON = (
    "-std=c++17",
    "-fPIC",
    "-w",
    # What a library defines is its own, however many kernels are loaded.
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    # Shared arrays have no constructors to call at each access.
    "-fno-extern-tls-init",
    # Kernels view their dynamic shared memory as arrays of several types.
    "-fno-strict-aliasing",
    "-fno-math-errno",
)
"""Flags of all that is compiled."""

LINES = ("-gdwarf-4", "-g1")
"""Flags of that in which reports find lines; addr2line takes the wrong file from version 5."""

FAST = (*LINES, "-O2", "-march=native", "-ffp-contract=fast")
"""Flags of kernels; nvcc fuses multiplications and additions too."""

CHECK = (
    "-O1",
    *LINES,
    "-ffp-contract=off",
    "-DEMULATOR_CHECK",
    "-fsanitize=thread,alignment,bounds,shift-exponent",
    "-fsanitize=integer-divide-by-zero,signed-integer-overflow",
)
"""Flags of kernels in check mode. The sanitizers' libraries are not linked."""

RUNTIME = (
    *("fibers.cpp", "collectives.cpp", "copies.cpp", "approximate.cpp"),
    *("draws.cpp", "image.cpp", "reports.cpp"),
)
RUNTIME_OF_CHECK = ("check.cpp", "arrays.cpp", "shadow.cpp", "instrumentation.cpp")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
"""What includes another file of a kernel's folder; the group is its name."""

DYNAMIC_ARRAY = re.compile(r"\bextern\s+__shared__\s[^;]*?(\w+)\s*\[\s*\]\s*;")
"""What declares a dynamic shared array; the group is its name."""


@functools.lru_cache
def unavailable() -> str | None:
    """Return why kernels cannot be emulated on this machine, or None where they can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "the emulator needs Linux on x86-64 or aarch64"
    if shutil.which(compiler()) is None:
        return f"the emulator needs a C++ compiler, and there is no {compiler()}"
    if "Free Software Foundation" not in compiler_version():
        return f"the emulator needs GNU's C++ compiler, which {compiler()} is not"
    if shutil.which("addr2line") is None:
        return "the emulator needs addr2line, of GNU's binutils"
    return None


def compiler() -> str:
    """Return the C++ compiler: ``$CXX``, else ``g++``."""
    return os.environ.get("CXX", "g++")


@functools.lru_cache
def compiler_version() -> str:
    """Return what the compiler says of itself."""
    done = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout


@functools.lru_cache
def linker() -> tuple[str, ...]:
    """Return what makes the compiler link quickly.

    ld takes as long to read libstdc++ as a small kernel to compile. gold, where it is installed,
    reads only what is asked for.
    """
    return ("-fuse-ld=gold",) if shutil.which("ld.gold") else ()


@functools.lru_cache
def processor() -> str:
    """Return what the CPU can do: what ``-march=native`` means differs between machines."""
    facts = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^(flags|Features)\s*:.*$", facts, re.MULTILINE)
    return found.group() if found else platform.processor()


def cache_folder() -> Path:
    """Return where builds are kept."""
    chosen = os.environ.get("GPUSEG_EMULATOR_CACHE")
    if chosen:
        folder = Path(chosen)
    elif VENV.is_dir():
        folder = VENV / ".emulator"
    else:
        folder = Path(tempfile.gettempdir()) / f"gpuseg-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BuildError(f"{folder} belongs to someone else: set GPUSEG_EMULATOR_CACHE")
    return folder


def included(path: Path) -> list[Path]:
    """Return a file and what it includes of its folder: a change of other files is none of it."""
    waiting, known = [path], set[Path]()
    while waiting:
        source = waiting.pop()
        if source in known or not source.is_file():
            continue
        known.add(source)
        waiting += [path.parent / name for name in INCLUDE.findall(source.read_text())]
    return sorted(known)


def built_kernel(path: Path, name: str, macros: Mapping[str, int], check: bool) -> Path:
    """Return a library with one kernel and the runtime, building it if need be.

    Parameters
    ----------
    path : Path
        The kernel's file. It may include files of its folder, and they each other.
    name : str
        The kernel's function.
    macros : mapping of str to int
        What the compiler defines.
    check : bool
        Whether accesses to memory are watched.

    Raises
    ------
    BuildError
        If the compiler refuses the file; its messages are the text.
    """
    path = path.resolve()
    sources = included(path)
    flags = [*COMMON, *(CHECK if check else FAST)]
    flags += [f"-D{macro}={value}" for macro, value in sorted(macros.items())]
    wrapper = _wrapper(path, name, sources)
    # Copies of a kernel in other folders are the same kernel.
    ingredients = [_toolchain(), wrapper.replace(str(path), path.name), *flags]
    key = _digest([*ingredients, *(part for s in sources for part in (s.name, s.read_text()))])
    target = cache_folder() / f"{name}-{'check' if check else 'fast'}-{key}.so"
    if target.exists():
        target.touch()
        return target
    _forget_old_builds()
    header, runtime = _built_header(check), _built_runtime(check)

    def build(library: Path) -> None:
        file, unit = library.with_suffix(".cpp"), library.with_suffix(".o")
        file.write_text(wrapper)
        _compile(*flags, "-include", header, "-c", file, "-o", unit)
        # Linked by itself: with -fsanitize the compiler would add the sanitizers' libraries.
        link = (*linker(), "-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs")
        _compile(*link, unit, runtime, "-o", library)

    return _built_once(target, build)


def _forget_old_builds() -> None:
    """Remove what was not used for a week: every change of a kernel leaves a library behind."""
    for path in (one for end in ("so", "o", "gch") for one in cache_folder().glob(f"*.{end}")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 7 * 24 * 3600:
                path.unlink()


def _built_runtime(check: bool) -> Path:
    """Return the runtime as one object file, building it if need be."""
    names = RUNTIME + RUNTIME_OF_CHECK if check else RUNTIME
    flags = [*COMMON, "-O2", *(["-DEMULATOR_CHECK"] if check else [])]
    target = cache_folder() / f"runtime-{_digest([_toolchain(), *flags, *names])}.o"
    sources = [HERE / name for name in names]
    return _built_once(target, lambda unit: _compile(*flags, "-r", *sources, "-o", unit))


def _built_header(check: bool) -> Path:
    """Return the emulator's CUDA to be included first; beside it, it lies precompiled.

    To read it, and what it includes of the C++ library, takes longer than to compile a small
    kernel. The compiler itself tells whether flags and macros are those it was compiled for, and
    reads the text where they are not.
    """
    flags = [*COMMON, *(CHECK if check else FAST)]
    target = cache_folder() / f"cuda-{_digest([_toolchain(), *flags])}.h.gch"
    header = target.with_suffix("")

    def build(precompiled: Path) -> None:
        text = precompiled.with_suffix(".text")
        text.write_text(f'#include "{HERE / "cuda.h"}"\n')
        text.replace(header)
        _compile(*flags, "-x", "c++-header", header, "-o", precompiled)

    _built_once(target, build)
    return header


def _built_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Return a file, building it where it is not there; other processes wait for it meanwhile.

    Parameters
    ----------
    target : Path
    build : callable
        Makes the file, at the path that it is called with, in a folder of its own. It must not
        build other files: whoever unlocks one of them would unlock this, too.
    """
    if target.exists():
        target.touch()
        return target
    with (
        _lock(target),
        tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder,
    ):
        if not target.exists():
            made = Path(folder) / f"made{target.suffix}"
            build(made)
            made.replace(target)
    return target


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Keep other processes from building the same file: each has a byte of one locked file.

    Threads of one process are not kept apart; they build twice, which does no harm.
    """
    place = int.from_bytes(hashlib.sha256(target.name.encode()).digest()[:6])
    with (target.parent / "lock").open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
        yield


def _wrapper(path: Path, name: str, sources: Iterable[Path]) -> str:
    """Return the file that is compiled: the kernel and its exports."""
    texts = (source.read_text() for source in sources)
    dynamic = sorted({array for text in texts for array in DYNAMIC_ARRAY.findall(text)})
    alias = 'asm(".globl {0}\\n.hidden {0}\\n.type {0}, %tls_object\\n.set {0}, {1}");'
    return "\n".join(
        [
            f'#include "{path}"',
            'extern "C" {',
            "thread_local __attribute__((aligned(128)))",
            "unsigned char emulator_dynamic_shared[emulator::largest_shared];",
            "}",
            *(alias.format(array, "emulator_dynamic_shared") for array in dynamic),
            f"EMULATOR_EXPORT({name})",
            "",
        ]
    )


@functools.lru_cache
def _toolchain() -> str:
    """Return what every build depends on: the compiler, the CPU, the emulator's own files.

    Where these lie is part of it: `module` knows them in the lines of a build by their folder.
    """
    own = sorted(path for path in HERE.iterdir() if path.suffix in (".h", ".cpp"))
    texts = (file.read_text() for file in own)
    tools = (compiler(), compiler_version(), *linker(), processor())
    return _digest([*tools, str(HERE), *texts])


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:20]


def _compile(*arguments: str | Path) -> None:
    command = [compiler(), *map(str, arguments)]
    plain = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    if done.returncode:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")
