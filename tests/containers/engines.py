"""A real engine for the tests: its settings, its own storage, and a base without a registry."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from containers.spec import ROOM

SMALL = Path(__file__).parent / "small"
#: With this set, the parts that take many minutes run as well: emulated arm64, Apptainer.
EVERYTHING = os.environ.get("MFO_IMAGES") == "all"
#: Building takes minutes and a package index, so it is asked for: MFO_IMAGES=native, or all.
ASKED = os.environ.get("MFO_IMAGES") in ("native", "all")
#: Bases that were made once; Debian's archive is not asked again.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mfo-tests"
_CODENAME = "bookworm"  # its Python is the small lock's


def settings(folder: Path) -> dict[str, str]:
    """Variables for an engine in a sandbox: runc and the host's network, as nested ones need.

    Its storage is the tests' own: no image that somebody built here is touched, or reused.
    """
    conf, storage = folder / "containers.conf", folder / "storage.conf"
    conf.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\nnetns = "host"\n'
        + ('[engine]\nruntime = "runc"\n' if shutil.which("runc") else "")
    )
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
    )
    return {"CONTAINERS_CONF": str(conf), "CONTAINERS_STORAGE_CONF": str(storage)}


def base(machine: str) -> str:
    """Give a Debian base image for an architecture, made now if it is not here."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    tag = f"localhost/mfo-base:{_CODENAME}-{arch}"
    if subprocess.run(["podman", "image", "exists", tag]).returncode == 0:
        return tag
    words = ["podman", "import", "--os", "linux", "--arch", arch, str(_tar(arch)), tag]
    subprocess.run(words, check=True, capture_output=True)
    return tag


def _tar(arch: str) -> Path:
    tar = CACHE / f"{_CODENAME}-{arch}.tar"
    if tar.is_file():
        return tar
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed here (apt-get install mmdebstrap)")
    CACHE.mkdir(parents=True, exist_ok=True)
    half = tar.with_suffix(f".{os.getpid()}.half.tar")
    # Asking whether another architecture can be run needs one more program; running it will tell.
    words = ["mmdebstrap", "--quiet", "--skip=check/qemu", "--variant=minbase",
             f"--architectures={arch}", "--include=ca-certificates,python3-venv",
             _CODENAME, str(half)]  # fmt: skip
    try:
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"Debian's archive gives no base image: {done.stderr.strip()[-200:]}")
        half.replace(tar)
    finally:
        half.unlink(missing_ok=True)
    return tar


def missing() -> str:
    """Why no image can be built here; "" where one can. Call it with the settings in place."""
    if not ASKED:
        return "real images are built on demand: MFO_IMAGES=native pytest -m images"
    if shutil.which("podman") is None:
        return "podman is not installed here (apt-get install podman buildah runc mmdebstrap)"
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"the small lock has nothing for {platform.machine()}"
    words = ["podman", "run", "--rm", "--network=host", base(platform.machine()), "true"]
    probe = subprocess.run(words, capture_output=True, text=True)
    return (
        f"podman runs no container here: {probe.stderr.strip()[-300:]}" if probe.returncode else ""
    )


#: Apptainer in a root file system of its own, with every capability: a sandbox's root may lack some
#: of them, and a user namespace's has all.
_APPTAINER = """\
#!/bin/sh
set -eu
here=$PWD ready=$(mktemp -u)
mkfifo "$ready"
unshare --user --mount sh -ec '
  root=$1 kit=$2 here=$3 ready=$4; shift 4
  read _ < "$ready"
  mount --bind "$root" "$root"
  for d in /proc /dev /sys /tmp "$kit"; do mkdir -p "$root$d"; mount --rbind "$d" "$root$d"; done
  mkdir -p "$root/old"; cd "$root"; pivot_root . old; umount -l /old; cd "$here"
  exec env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin apptainer "$@"
' sh {root} {kit} "$here" "$ready" "$@" &
while [ "$(readlink /proc/$!/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.1; done
echo "0 0 65536" > /proc/$!/uid_map
echo "0 0 65536" > /proc/$!/gid_map
echo > "$ready"
rm "$ready"
wait $!
"""


def apptainer(folder: Path) -> str:
    """Give the folder of a program `apptainer`: this machine's, or Debian unstable's."""
    if found := shutil.which("apptainer"):
        return str(Path(found).parent)
    if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        pytest.skip("apptainer is not installed here, and only root can unpack Debian's")
    root = CACHE / "apptainer"
    if not (root / "etc" / "hosts").is_file():
        shutil.rmtree(root, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        # Its signatures are checked; its age is not, for a mirror may lag behind.
        words = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=apptainer",
                 '--aptopt=Acquire::Check-Valid-Until "false"', "sid", str(root)]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"Debian's archive gives no apptainer: {done.stderr.strip()[-200:]}")
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    program = folder / "apptainer"
    program.write_text(_APPTAINER.format(root=root, kit=ROOM.parent))
    program.chmod(0o755)
    return str(folder)


def forget() -> None:
    """Remove everything that the tests' engine holds; call it with the settings in place."""
    for words in (["rm", "--all", "--force"], ["rmi", "--all", "--force"]):
        subprocess.run(["podman", *words], capture_output=True)
