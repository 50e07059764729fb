"""Takes out of an image what serving never loads, and says how much that was.

    python3 docker/trim.py /opt/venv/lib/python3.11/site-packages [--keep FOLDER]

Needs binutils, libblas64-dev and liblapack64-dev of Debian. Each line below names files of the
wheels in requirements/*.lock; one that a newer wheel does not have ends this with status 1 and its
name, before anything is changed.
"""

import argparse
import shutil
import ssl  # noqa: F401, loads what OF_THE_BASE names
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PYTHON = sysconfig.get_python_version()  # as 3.11

# requirements/build.lock, but for cffi, which stays
BUILT_WITH = tuple(
    f"{name}{suffix}"
    for name in (
        "hatchling",
        "packaging",
        "pathspec",
        "pkgconfig",
        "pluggy",
        "setuptools",
        "tomlkit",
        "trove_classifiers",
    )
    for suffix in ("", "-*.dist-info")
)

# The steps call a dozen functions of OpenCV's core, imgproc, imgcodecs and dnn; OpenVINO runs IR on
# a CPU; of nvidia-pytriton, tritonserver and the Python backend are used.
REMOVED = (
    "cv2/data/*.xml",
    "opencv_python_headless.libs/libcrypto-*",
    "opencv_python_headless.libs/libgfortran-*",
    "opencv_python_headless.libs/libquadmath-*",
    "opencv_python_headless.libs/libssl-*",
    "opencv_python_headless.libs/libswresample-*",
    "opencv_python_headless.libs/libvpx-*",
    "openvino/frontend/jax",
    "openvino/frontend/onnx",
    "openvino/frontend/paddle",
    "openvino/frontend/pytorch",
    "openvino/frontend/tensorflow",
    "openvino/include",
    "openvino/libs/cache.json",  # of the GPU
    "openvino/libs/libopenvino_auto_batch_plugin.so",
    "openvino/libs/libopenvino_auto_plugin.so",
    "openvino/libs/libopenvino_c.so.*",
    "openvino/libs/libopenvino_gguf_frontend.so.*",
    "openvino/libs/libopenvino_hetero_plugin.so",
    "openvino/libs/libopenvino_intel_gpu_plugin.so",
    "openvino/libs/libopenvino_intel_npu_plugin.so",
    "openvino/libs/libopenvino_jax_frontend.so.*",
    "openvino/libs/libopenvino_onnx_frontend.so.*",
    "openvino/libs/libopenvino_paddle_frontend.so.*",
    "openvino/libs/libopenvino_pytorch_frontend.so.*",
    "openvino/libs/libopenvino_tensorflow_frontend.so.*",
    "openvino/libs/libopenvino_tensorflow_lite_frontend.so.*",
    "openvino/tools",
    "openvino/torch",
    "openvino_telemetry",  # sends usage data
    "openvino_telemetry-*.dist-info",
    "numpy/core/_simd.*.so",  # numpy's own tests load it
    "numpy/distutils",
    "numpy/f2py",
    "nvidia_pytriton.libs/libpython3-*",
    # what only those in HOLLOWED link
    "nvidia_pytriton.libs/libcom_err-*",
    "nvidia_pytriton.libs/libffi-*",
    "nvidia_pytriton.libs/libgmp-*",
    "nvidia_pytriton.libs/libgnutls-*",
    "nvidia_pytriton.libs/libhogweed-*",
    "nvidia_pytriton.libs/libicudata-*",
    "nvidia_pytriton.libs/libicuuc-*",
    "nvidia_pytriton.libs/libk5crypto-*",
    "nvidia_pytriton.libs/libkeyutils-*",
    "nvidia_pytriton.libs/libkrb5-*",
    "nvidia_pytriton.libs/libkrb5support-*",
    "nvidia_pytriton.libs/libp11-kit-*",
    "nvidia_pytriton.libs/libsasl2-*",
    "nvidia_pytriton.libs/libtasn1-*",
    "nvidia_pytriton.libs/libunistring-*",
    "_distutils_hack",
    "distutils-precedence.pth",
    "pip",
    "pip-*.dist-info",
    *BUILT_WITH,
)

# Linked, so they have to be there, but nothing that serves calls them: OpenCV's video and linear
# algebra; of tritonserver repositories in object storage and metrics of GPUs; and what libcurl,
# which sends spans by HTTP, has for other protocols, logins and alphabets.
CV2, CURL, SSH, TRITON = (
    "cv2/cv2.abi3.so",
    "nvidia_pytriton.libs/libcurl-*",
    "nvidia_pytriton.libs/libssh-*",
    "nvidia_pytriton.libs/libtritonserver-*",
)
ARCHIVE = "nvidia_pytriton.libs/libarchive-*"
HOLLOWED = {  # library -> who links it
    "opencv_python_headless.libs/libavcodec-*": [CV2],
    "opencv_python_headless.libs/libavformat-*": [CV2],
    "opencv_python_headless.libs/libavutil-*": [CV2],
    "opencv_python_headless.libs/libopenblas-*": [CV2],
    "opencv_python_headless.libs/libswscale-*": [CV2],
    "nvidia_pytriton.libs/libdcgm-*": [TRITON],
    "nvidia_pytriton.libs/libgssapi_krb5-*": [CURL, SSH],
    "nvidia_pytriton.libs/libidn2-*": [CURL],
    "nvidia_pytriton.libs/liblber-*": [CURL],
    "nvidia_pytriton.libs/libldap-*": [CURL],
    "nvidia_pytriton.libs/libpsl-*": [CURL],
    "nvidia_pytriton.libs/librtmp-*": [CURL],
    "nvidia_pytriton.libs/libxml2-*": [TRITON, ARCHIVE],
}

# of OpenSSL 3.0.2, whose later faults the base's own has mended
OF_THE_BASE = {
    "nvidia_pytriton.libs/libcrypto-*": "libcrypto.so.3",
    "nvidia_pytriton.libs/libssl-*": "libssl.so.3",
}

# numpy calls 57 routines of linear algebra. OpenBLAS has each for fifteen kinds of CPUs; Debian's
# reference BLAS and LAPACK, with integers of 64 bits, give the same more slowly. No step uses them.
OPENBLAS = "numpy.libs/libopenblas64_*"
BLAS_USERS = ("numpy/core/_multiarray_umath.*.so", "numpy/linalg/_umath_linalg.*.so",
              "numpy/linalg/lapack_lite.*.so")  # fmt: skip
ARCHIVES = ("liblapack64_pic.a", "blas64/libblas64.a")
ARCHIVES_IN = Path("/usr/lib/x86_64-linux-gnu")
SUFFIX = "64_"  # which the names in numpy's OpenBLAS have over those in the archives

# of debug symbols
STRIPPED = (
    "_libvips.abi3.so",
    "cryptography/hazmat/bindings/_rust.abi3.so",
    "numpy/core/_multiarray_umath.*.so",
    "nvidia_pytriton.libs/libtritonserver-*",
    "obstore/_obstore.abi3.so",
    "opencv_python_headless.libs/libpng16-*",
    "pytriton/tritonserver/backends/python/libtriton_python.so",
    "pytriton/tritonserver/bin/tritonserver",
    f"pytriton/tritonserver/python_backend_stubs/{PYTHON}/triton_python_backend_stub",
)


def files(site: Path, pattern: str) -> list[Path]:
    """What `pattern` names in site-packages. FileNotFoundError if it is nothing."""
    found = sorted(site.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{pattern}: none in {site}; has the wheel changed?")
    return found


def one(site: Path, pattern: str) -> Path:
    """The one file that `pattern` names. FileNotFoundError without any, ValueError for several."""
    found = files(site, pattern)
    if len(found) > 1:
        raise ValueError(f"{pattern}: {len(found)} files, expected one")
    return found[0]


def symbols(library: Path, which: str) -> list[tuple[str, str]]:
    """(name, type as nm writes it) of the dynamic symbols, a name as name@VERSION if it has one."""
    command = ["nm", "--dynamic", "--portability", "--with-symbol-versions", f"--{which}-only"]
    lines = subprocess.check_output([*command, library], text=True).splitlines()
    return [(words[0].replace("@@", "@"), words[1]) for words in map(str.split, lines)]


def hollow(library: Path, users: list[Path]) -> None:
    """Overwrites `library` with one that has the names which `users` take from it, and no more.

    Whoever calls one of its functions is ended by the processor; its data are zeros.
    """
    types = dict(symbols(library, "defined"))
    taken = {name for user in users for name, _ in symbols(user, "undefined")}
    if not (wanted := sorted(taken & types.keys())):
        raise ValueError(f"{library.name}: {users[0].name} takes nothing from it")
    assembly: list[str] = []
    versions: dict[str, list[str]] = {}
    for symbol in wanted:
        name, _, version = symbol.partition("@")
        if types[symbol] in "TWi":
            assembly.append(f".text\n.globl {name}\n.type {name},@function\n{name}: ud2")
        else:
            assembly.append(f".data\n.globl {name}\n.type {name},@object\n{name}: .zero 64")
        if version:
            versions.setdefault(version, []).append(name)
    script = "".join(f"{name} {{ {'; '.join(held)}; }};\n" for name, held in versions.items())
    link(library, "\n".join(assembly), script, [])


def relink_blas(library: Path, users: list[Path]) -> None:
    """Overwrites numpy's OpenBLAS with those routines of ARCHIVES that `users` call."""
    held = {name for name, _ in symbols(library, "defined")}
    wanted = {name for user in users for name, _ in symbols(user, "undefined")} & held
    options: list[str | Path] = []
    for name in sorted(wanted):
        routine = name.removesuffix(SUFFIX)
        options += [f"--undefined={routine}", f"--defsym={name}={routine}"]
    options += ["--gc-sections", "--no-undefined", "-rpath", "$ORIGIN"]
    options += [*(ARCHIVES_IN / name for name in ARCHIVES), one(library.parent, "libgfortran-*")]
    # what the archive's own does about a wrong argument, of which numpy has none, cannot be linked
    complaint = ".text\n.globl cblas_xerbla\n.type cblas_xerbla,@function\ncblas_xerbla: ud2"
    script = f"{{ global: {'; '.join(sorted(wanted))}; local: *; }};\n"
    link(library, complaint, script, [*options, "-l:libm.so.6", "-l:libc.so.6"])


def link(library: Path, assembly: str, script: str, options: list[str | Path]) -> None:
    """Overwrites `library` with what ld makes of `assembly`, a version script and `options`."""
    with tempfile.TemporaryDirectory() as folder:
        source, code, exported, made = (Path(folder, name) for name in ("s", "o", "versions", "so"))
        source.write_text(assembly + '\n.section .note.GNU-stack,"",@progbits\n')
        exported.write_text(script)
        subprocess.check_call(["as", source, "-o", code])
        versions = [f"--version-script={exported}"] if script else []
        command: list[str | Path] = [
            "ld",
            "-shared",
            "--strip-all",
            "-soname",
            library.name,
            "-o",
            made,
            code,
        ]
        subprocess.check_call([*command, *versions, *options])
        library.unlink()
        shutil.copyfile(made, library)


def of_the_base(name: str) -> Path:
    """Where the library of that name is which this Python's own `ssl` has loaded.

    Raises FileNotFoundError if it has none of that name.
    """
    found = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for path in map(Path, sorted(found)):
        if path.name == name:
            return path
    raise FileNotFoundError(f"{name}: not what this Python links; has the base changed?")


def strip(program: Path) -> None:
    """Removes what only a debugger reads."""
    stripped = program.with_name(program.name + ".stripped")
    subprocess.check_call(["strip", program, "-o", stripped])
    stripped.replace(program)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


def trim(site: Path, keep: str = "") -> None:
    """All of the above, and other Pythons' stubs, tests and what the first import would compile;
    what is in the folder `keep` of `site` stays whole.

    Raises FileNotFoundError or ValueError, before anything is changed, where a list does not fit.
    """

    def goes(pattern: str) -> bool:
        return not (keep and pattern.startswith(f"{keep}/"))

    removed = [path for pattern in REMOVED if goes(pattern) for path in files(site, pattern)]
    stubs = files(site, "pytriton/tritonserver/python_backend_stubs/3.*")
    removed += [path for path in stubs if path.name != PYTHON]
    hollowed = [
        (one(site, library), [one(site, user) for user in users])
        for library, users in HOLLOWED.items()
        if goes(library)
    ]
    linked = [(one(site, library), of_the_base(name)) for library, name in OF_THE_BASE.items()]
    stripped = [one(site, pattern) for pattern in STRIPPED]
    blas, blas_users = one(site, OPENBLAS), [one(site, pattern) for pattern in BLAS_USERS]
    for name in ARCHIVES:
        one(ARCHIVES_IN, name)
    relink_blas(blas, blas_users)
    for library, users in hollowed:
        hollow(library, users)
    for library, path in linked:
        library.unlink()
        library.symlink_to(path)
    for program in stripped:
        strip(program)
    for path in removed:
        remove(path)
    for name in ("tests", "__pycache__"):
        for path in sorted(site.rglob(name)):
            if path.is_dir():
                remove(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=Path, help="the image's site-packages")
    parser.add_argument("--keep", default="", metavar="FOLDER", help="stays whole")
    arguments = parser.parse_args()
    before = size_mb(arguments.site)
    try:
        trim(arguments.site, arguments.keep)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"trim: {error}")
    after = size_mb(arguments.site)
    print(f"{arguments.site}: {before:.0f} MB, {after:.0f} MB after trimming")
