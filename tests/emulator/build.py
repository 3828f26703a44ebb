"""Compile kernels for the CPU with g++, and cache the builds."""

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
    # Libraries share no symbols, however many kernels are loaded.
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    # Shared arrays have no constructors to call at each access.
    "-fno-extern-tls-init",
    # Kernels view their dynamic shared memory as arrays of several types.
    "-fno-strict-aliasing",
    "-fno-math-errno",
)
"""Flags of all compilations."""

LINES = ("-gdwarf-4", "-g1")
"""Flags of code in which reports look up lines; addr2line misreads files in DWARF 5."""

FAST = (*LINES, "-O1", "-fexpensive-optimizations", "-march=native", "-ffp-contract=fast")
"""Flags of kernels; nvcc fuses multiplications and additions too.

g++ does so only with its expensive optimizations. The others of ``-O2`` cost more time to compile
than they save in the runs.
"""

CHECK = (
    "-O0",
    *LINES,
    "-ffp-contract=off",
    "-DEMULATOR_CHECK",
    "-fsanitize=thread,alignment,bounds,shift-exponent",
    "-fsanitize=integer-divide-by-zero,signed-integer-overflow",
)
"""Flags of kernels in check mode. The sanitizers' libraries are not linked.

Optimizations would take as much time as all the rest of a compilation. Runs would not be faster,
since nearly all of their time is that of the checks.
"""

RUNTIME = (
    *("fibers.cpp", "collectives.cpp", "copies.cpp", "approximate.cpp"),
    *("draws.cpp", "image.cpp", "reports.cpp"),
)
RUNTIME_OF_CHECK = ("check.cpp", "arrays.cpp", "shadow.cpp", "instrumentation.cpp")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
"""Includes another file of the kernels; the group is its path in their folder."""

DYNAMIC_ARRAY = re.compile(r"\bextern\s+__shared__\s[^;]*?(\w+)\s*\[\s*\]\s*;")
"""Declares a dynamic shared array; the group is its name."""


@functools.lru_cache
def unavailable() -> str | None:
    """Return the reason why this machine cannot emulate kernels, or None if it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "the emulator needs Linux on x86-64 or aarch64"
    if shutil.which(compiler()) is None:
        return f"the emulator needs a C++ compiler, and there is no {compiler()}"
    if "Free Software Foundation" not in compiler_version():
        return f"the emulator needs GNU's C++ compiler, and {compiler()} is another one"
    if shutil.which("addr2line") is None:
        return "the emulator needs addr2line, of GNU's binutils"
    return None


def compiler() -> str:
    """Return the C++ compiler: ``$CXX``, else ``g++``."""
    return os.environ.get("CXX", "g++")


@functools.lru_cache
def compiler_version() -> str:
    """Return the version text of the compiler."""
    done = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout


@functools.lru_cache
def linker() -> tuple[str, ...]:
    """Return the flags of the fastest linker.

    ld takes as long to read libstdc++ as g++ takes to compile a small kernel. gold, where it is
    installed, reads only the symbols that are needed.
    """
    return ("-fuse-ld=gold",) if shutil.which("ld.gold") else ()


@functools.lru_cache
def processor() -> str:
    """Return the features of the CPU, which ``-march=native`` depends on."""
    facts = Path("/proc/cpuinfo").read_text()
    match = re.search(r"^(flags|Features)\s*:.*$", facts, re.MULTILINE)
    return match.group() if match else platform.processor()


def cache_folder() -> Path:
    """Return the folder of the builds."""
    configured = os.environ.get("GPUSEG_EMULATOR_CACHE")
    if configured:
        folder = Path(configured)
    elif VENV.is_dir():
        folder = VENV / ".emulator"
    else:
        folder = Path(tempfile.gettempdir()) / f"gpuseg-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BuildError(f"{folder} belongs to another user: set GPUSEG_EMULATOR_CACHE")
    return folder


def included(path: Path, folder: Path) -> list[Path]:
    """Return a file and the files below a folder that it includes, directly or not."""
    waiting, visited = [path], set[Path]()
    while waiting:
        source = waiting.pop()
        if source in visited or not source.is_file():
            continue
        visited.add(source)
        waiting += [folder / name for name in INCLUDE.findall(source.read_text())]
    return sorted(visited)


def built_kernel(
    path: Path, folder: Path, name: str, macros: Mapping[str, int], check: bool
) -> Path:
    """Return a library with one kernel and the runtime; build it where it is missing.

    Parameters
    ----------
    path : Path
        The kernel's file.
    folder : Path
        Where the paths of ``#include`` start.
    name : str
        The kernel's function.
    macros : mapping of str to int
        What the compiler defines.
    check : bool
        Whether accesses to memory are watched.

    Raises
    ------
    BuildError
        If the file does not compile; the text is the compiler's messages.
    """
    path, folder = path.resolve(), folder.resolve()
    sources = included(path, folder)
    flags = [*COMMON, *(CHECK if check else FAST)]
    flags += [f"-D{macro}={value}" for macro, value in sorted(macros.items())]
    wrapper = _wrapper(path, name, sources)
    # A copy of a kernel in another folder is the same kernel.
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
        _compile(*flags, f"-I{folder}", "-include", header, "-c", file, "-o", unit)
        # Linked separately: with -fsanitize the compiler would add the sanitizers' libraries.
        link = (*linker(), "-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs")
        _compile(*link, unit, runtime, "-o", library)

    return _built_once(target, build)


def _forget_old_builds() -> None:
    """Remove builds that were not used for a week: every change of a kernel adds a library."""
    for path in (one for end in ("so", "o", "gch") for one in cache_folder().glob(f"*.{end}")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 7 * 24 * 3600:
                path.unlink()


def _built_runtime(check: bool) -> Path:
    """Return the runtime as one object file; build it where it is missing.

    Its files are one compilation unit: reading the headers of the C++ library takes longer than
    compiling most of them.
    """
    names = RUNTIME + RUNTIME_OF_CHECK if check else RUNTIME
    flags = [*COMMON, "-O2", *(["-DEMULATOR_CHECK"] if check else [])]
    target = cache_folder() / f"runtime-{_digest([_toolchain(), *flags, *names])}.o"

    def build(unit: Path) -> None:
        file = unit.with_suffix(".cpp")
        file.write_text("".join(f'#include "{HERE / name}"\n' for name in names))
        _compile(*flags, "-c", file, "-o", unit)

    return _built_once(target, build)


def _built_header(check: bool) -> Path:
    """Return the header with the emulator's CUDA; its precompiled form is in the same folder.

    Reading it, with the headers of the C++ library, takes longer than compiling a small kernel.
    The compiler checks whether flags and macros match those of the precompiled form, and reads the
    text where they do not.
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
    """Return a file; build it where it is missing, while other processes wait.

    Parameters
    ----------
    target : Path
    build : callable
        Writes the file to the path that it gets, in a new folder. It must not build other files:
        releasing the lock of one of them would release this one too.
    """
    if target.exists():
        target.touch()
        return target
    with (
        _lock(target),
        tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder,
    ):
        if not target.exists():
            built = Path(folder) / f"built{target.suffix}"
            build(built)
            built.replace(target)
    return target


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Keep other processes from building the same file: each file has one byte of a lock file.

    The lock does not exclude threads of one process; they build twice, which is harmless.
    """
    offset = int.from_bytes(hashlib.sha256(target.name.encode()).digest()[:6])
    with (target.parent / "lock").open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, offset)
        yield


def _wrapper(path: Path, name: str, sources: Iterable[Path]) -> str:
    """Return the text of the compilation unit: the kernel and its exports."""
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
    """Return a digest of what all builds depend on: compiler, CPU, and the emulator's files.

    It includes the folder of these files: `module` recognizes their lines in a build by it.
    """
    files = sorted(path for path in HERE.iterdir() if path.suffix in (".h", ".cpp"))
    texts = (file.read_text() for file in files)
    tools = (compiler(), compiler_version(), *linker(), processor())
    return _digest([*tools, str(HERE), *texts])


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:20]


def _compile(*arguments: str | Path) -> None:
    command = [compiler(), *map(str, arguments)]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")
