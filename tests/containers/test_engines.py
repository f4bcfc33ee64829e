"""Real builds of the real Dockerfile, with a small lock and a Debian base.

They take minutes, so they are asked for:   MFO_IMAGES=native pytest -m images
With emulated arm64 and Apptainer as well:   MFO_IMAGES=all pytest -m images

The engine's storage is the tests' own, and removed at the end.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import engines

from containers import bring, builder, carry, lockfile
from containers.builder import Plan
from containers.contents import of_image
from containers.spec import ROOM, Spec, load
from kit.errors import KitError

pytestmark = pytest.mark.images
HERE = platform.machine()
LONG = pytest.mark.skipif(not engines.EVERYTHING, reason="minutes long: MFO_IMAGES=all")
SECRET = "hf_plantedPlantedPlantedPlanted"  # noqa: S105 - no token, only looks like one


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engines.settings(tmp_path_factory.mktemp("conf")).items():
            patch.setenv(name, value)
        patch.setenv("HF_TOKEN", SECRET)
        if why := engines.missing():
            pytest.skip(why)
        yield
        engines.forget()


def fetched(machine: str, folder: Path) -> Path:
    """The small lock's files, from the package index."""
    spec = load()
    lock = lockfile.read(engines.SMALL, spec.platforms)
    try:
        carry.fetch(lock, spec.platform(machine), folder, lambda _: None)
    except KitError as error:
        if "pip cannot download" in error.what:
            pytest.skip(f"no package index in reach: {error.where[:120]}")
        raise
    return folder


def plan(machine: str, wheels: Path) -> Plan:
    return Plan("train", load().platform(machine), engines.base(machine), engines.SMALL, wheels,
                "podman")  # fmt: skip


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fetched(HERE, tmp_path_factory.mktemp("wheels"))
    (folder.parent / "token").write_text(SECRET)
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def built(wheels: Path, out: Path) -> builder.Built:
    builder.look(load(), plan(HERE, wheels), out)
    # Not from layers that an earlier kit left on this machine.
    return builder.build(load(), replace(plan(HERE, wheels), fresh=True), out, lambda _: None)


def test_two_builds_of_one_commit_are_one_image(
    built: builder.Built, wheels: Path, tmp_path: Path
) -> None:
    again = builder.build(load(), replace(plan(HERE, wheels), fresh=True), tmp_path, lambda _: None)
    assert again.id == built.id
    assert again.sbom.read_bytes() == built.sbom.read_bytes()
    assert again.provenance.read_bytes() == built.provenance.read_bytes()


def test_labels_say_what_it_was_made_from(built: builder.Built) -> None:
    found = json.loads(subprocess.check_output(["podman", "image", "inspect", built.tag]))[0]
    labels, lock = found["Config"]["Labels"], lockfile.read(engines.SMALL, [HERE])
    assert labels["mfo.lock.sha256"] == lock.digest(HERE)
    assert labels["org.opencontainers.image.base.digest"].startswith("sha256:")
    source = builder.git_state(ROOM)
    assert labels["org.opencontainers.image.revision"] == source["commit"]
    assert found["Config"]["User"] == "10001:10001"
    statement = json.loads(built.provenance.read_text())
    assert statement["subject"][0]["digest"]["sha256"] == built.id.removeprefix("sha256:")


def test_the_bill_of_materials_is_valid_and_complete(built: builder.Built) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = built.sbom.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told = {c["name"]: c for c in json.loads(text)["components"]}
    assert set(told) == set(lockfile.read(engines.SMALL, [HERE]).all(HERE))
    assert told["click"]["licenses"][0]["license"]["name"] == "BSD-3-Clause"
    assert set(of_image("podman", built.id)) - {"pip"} == set(told)


def test_the_image_tests_itself_and_can_fail(built: builder.Built, tmp_path: Path) -> None:
    words = ["podman", "run", "--rm", "--network=host"]
    tail = [built.id, "python", "/opt/mfo/selftest.py", "--image", "train"]
    done = subprocess.run([*words, *tail], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{HERE}, Python 3.11" in done.stdout
    assert "packages are the lock's" in done.stdout
    assert "skip  vllm        vllm is not in this lock" in done.stdout

    shutil.copytree(engines.SMALL, tmp_path / "lock")
    file = tmp_path / "lock" / f"{HERE}.txt"
    file.write_text(file.read_text().replace("click==8.5.1", "click==8.5.0"))
    words.append(f"--volume={tmp_path / 'lock'}:/opt/mfo/lock:ro")
    done = subprocess.run([*words, *tail], capture_output=True, text=True)
    assert done.returncode == 1
    assert "click 8.5.1 instead of 8.5.0" in done.stdout


def changed(tmp_path: Path) -> Spec:
    room = tmp_path / "containers"
    shutil.copytree(ROOM, room, ignore=shutil.ignore_patterns("locks", "wheels", "__pycache__"))
    return load(room / "images.toml")


@pytest.mark.usefixtures("built")
def test_an_image_that_fails_its_test_is_never_made(wheels: Path, tmp_path: Path) -> None:
    spec = changed(tmp_path)
    (spec.path.parent / "selftest.py").write_text("raise SystemExit('fail  planted')\n")
    with pytest.raises(KitError, match="fail  planted") as error:
        builder.build(spec, plan(HERE, wheels), tmp_path / "out", lambda _: None)
    assert "selftest.py" in error.value.where
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.usefixtures("built")
def test_a_wheel_that_was_changed_does_not_get_in(wheels: Path, tmp_path: Path) -> None:
    shutil.copytree(wheels, tmp_path / "w")
    victim = next((tmp_path / "w").glob("click-*.whl"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(KitError, match="DO NOT MATCH THE HASHES"):
        other = replace(plan(HERE, tmp_path / "w"), fresh=True)
        builder.build(load(), other, tmp_path / "out", lambda _: None)


def layers(archive: Path) -> Iterator[bytes]:
    """Every blob of an OCI archive, unpacked where it is compressed."""
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                data = file.read()
                yield zlib.decompress(data, 31) if data[:2] == b"\x1f\x8b" else data


def names_in(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=BytesIO(layer)) as tar:
        return tar.getnames()


def test_no_secret_is_in_any_layer(built: builder.Built, out: Path, tmp_path: Path) -> None:
    target = tmp_path / "image.oci.tar"
    files = bring.export("train", HERE, "oci", target, "podman", out)
    assert [f.name for f in files] == ["image.oci.tar", "image.oci.tar.provenance.json",
                                       "image.oci.tar.cdx.json"]  # fmt: skip
    blobs = list(layers(target))
    assert any(b"opt/mfo/selftest.py" in blob for blob in blobs), "the layers are read"
    assert not any(SECRET.encode() in blob for blob in blobs)
    names = [n for blob in blobs if blob[257:262] == b"ustar" for n in names_in(blob)]
    assert any(n.endswith("numpy/__init__.py") for n in names)
    assert built.id


@pytest.mark.usefixtures("built")
def test_as_squashfs_it_can_be_mounted_and_runs(out: Path, tmp_path: Path) -> None:
    if shutil.which("mksquashfs") is None:
        pytest.skip("mksquashfs is not installed here (apt-get install squashfs-tools)")
    target = tmp_path / "train.sqsh"
    bring.export("train", HERE, "sqsh", target, "podman", out)
    statement = json.loads((tmp_path / "train.sqsh.provenance.json").read_text())
    assert {s["name"] for s in statement["subject"]} == {f"mfo-train-{HERE}", "train.sqsh"}
    root = tmp_path / "root"
    root.mkdir()
    mount = subprocess.run(["mount", "-o", "loop,ro", str(target), str(root)], capture_output=True)
    if mount.returncode:
        subprocess.run(
            ["unsquashfs", "-f", "-d", str(root), str(target)], check=True, capture_output=True
        )
    try:
        environment = (root / "etc" / "environment").read_text()
        assert "PATH=/opt/venv/bin:" in environment
        assert (root / "etc" / "rc").stat().st_mode & 0o111
        if os.geteuid() == 0:
            words = [
                "chroot",
                str(root),
                "/opt/venv/bin/python",
                "-c",
                "import numpy; print(numpy.__version__)",
            ]
            assert subprocess.check_output(words, text=True).strip() == "2.3.5"
    finally:
        if mount.returncode == 0:
            subprocess.run(["umount", str(root)], check=True)


def test_what_would_end_a_build_is_said_before_it(
    wheels: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = plan(HERE, wheels)
    other = next(p for p in load().platforms.values() if p.name != HERE)
    empty = tmp_path / "empty"
    empty.mkdir()
    faults: list[tuple[Plan, str]] = [
        (replace(good, base="docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04"), "is not pinned"),
        (replace(good, base="localhost/no-such:image"), "there is no image"),
        (replace(good, platform=other), f"is for {load().platform(HERE).oci_arch}, not for"),
        (replace(good, wheels=empty), "10 packages of the lock are not in the folder"),
        (replace(good, lock=empty), "there is no lock"),
    ]
    for fault, says in faults:
        with pytest.raises(KitError, match=says):
            builder.look(load(), fault, out)
    monkeypatch.setattr(builder, "driver_trouble", lambda _: "driver 535 is older than 580")
    assert "warning: this machine's driver 535 is older than 580" in builder.look(load(), good, out)
    foreign = tmp_path / "foreign"
    shutil.copytree(wheels, foreign)
    numpy = next(foreign.glob("numpy-*.whl"))
    numpy.rename(numpy.with_name(numpy.name.replace(HERE, "riscv64")))
    spoilt = tmp_path / "spoilt"
    shutil.copytree(wheels, spoilt)
    with next(spoilt.glob("click-*.whl")).open("ab") as file:
        file.write(b"x")
    for folder, says in ((foreign, f"has no wheel for {HERE}"), (spoilt, "not the file that the")):
        with pytest.raises(KitError, match=says):
            builder.look(load(), replace(good, wheels=folder), out)
    monkeypatch.setattr(builder, "SMALL_GB", 10**9)
    with pytest.raises(KitError, match="GB are free, and the image may take"):
        builder.look(load(), good, out)
    monkeypatch.setattr(builder, "_BINFMT", tmp_path)
    with pytest.raises(KitError, match="cannot run programs for") as error:
        builder._emulation(replace(good, platform=other))
    assert "qemu-user-static" in error.value.fix


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real registry on the loopback interface, without TLS."""
    if shutil.which("docker-registry") is None or shutil.which("skopeo") is None:
        pytest.skip("docker-registry or skopeo is not installed here")
    port = 15000 + os.getpid() % 10000
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path}/store\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    (tmp_path / "registries.conf").write_text(
        f'[[registry]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        for _ in range(50):
            try:
                with urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1):
                    break
            except OSError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.usefixtures("built")
def test_a_digest_is_what_is_built_from_and_pulled(
    registry: str, wheels: Path, tmp_path: Path
) -> None:
    def push(source: str, tag: str) -> None:
        words = [
            "podman",
            "push",
            "--quiet",
            "--tls-verify=false",
            source,
            f"{registry}/kit/base:{tag}",
        ]
        subprocess.run(words, check=True, capture_output=True)

    push(engines.base(HERE), "1")
    digest = bring.digest_of(f"{registry}/kit/base:1", tls=False)
    pinned = f"{registry}/kit/base@{digest}"
    found = builder.build(
        load(), replace(plan(HERE, wheels), base=pinned), tmp_path / "out", lambda _: None
    )
    assert digest.removeprefix("sha256:") in found.provenance.read_text()

    spec = load()
    spec.base.image, spec.base.digest = f"{registry}/kit/base:1", digest
    assert bring.pin(spec, tls=False)[:2] == (digest, True)
    push(f"localhost/mfo-train:{HERE}", "1")  # the tag moves
    now, same, _ = bring.pin(spec, tls=False)
    assert (now != digest, same) == (True, False)

    target = tmp_path / "pulled.oci.tar"
    bring.pull(pinned, HERE, target, tls=False)
    assert tarfile.is_tarfile(target)
    with pytest.raises(KitError, match="is not pinned"):
        bring.pull(f"{registry}/kit/base:1", HERE, target, tls=False)
    with pytest.raises(KitError, match="failed"):
        bring.pull(f"{registry}/kit/base@sha256:{'0' * 64}", HERE, target, tls=False)


@LONG
@pytest.mark.timeout(3000)
def test_emulated_arm64_builds_and_passes_what_needs_no_gpu(out: Path, tmp_path: Path) -> None:
    if HERE == "aarch64":
        pytest.skip("this machine is aarch64 itself")
    chosen = plan("aarch64", fetched("aarch64", tmp_path / "wheels"))
    try:
        builder.look(load(), chosen, out)
    except KitError as error:
        pytest.skip(str(error))
    made = builder.build(load(), chosen, out, lambda _: None)
    words = ["podman", "run", "--rm", "--platform=linux/arm64", "--network=host", made.id]
    assert subprocess.check_output([*words, "uname", "-m"], text=True).strip() == "aarch64"
    done = subprocess.run(
        [*words, "python", "/opt/mfo/selftest.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "aarch64, Python 3.11" in done.stdout


@LONG
@pytest.mark.timeout(3000)
def test_apptainer_builds_it_and_a_failing_test_leaves_no_file(
    built: builder.Built, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{engines.apptainer(tmp_path)}:{os.environ['PATH']}")
    good, bad = tmp_path / "train.sif", tmp_path / "changed.sif"
    bring.export("train", HERE, "sif", good, "podman", out)
    words = ["apptainer", "inspect", "--labels", str(good)]
    assert "Title: mfo-train" in subprocess.check_output(words, text=True)

    changed = tmp_path / "lock.txt"
    text = (engines.SMALL / f"{HERE}.txt").read_text()
    changed.write_text(text.replace("click==8.5.1", "click==8.5.0"))
    for words in (
        ["create", "--name=changed", built.id],
        ["cp", str(changed), f"changed:/opt/mfo/lock/{HERE}.txt"],
        ["commit", "--quiet", "changed", built.tag],
    ):
        subprocess.run(["podman", *words], check=True, capture_output=True)
    try:
        with pytest.raises(KitError, match="its %test included") as error:
            bring.export("train", HERE, "sif", bad, "podman", out)
    finally:
        subprocess.run(["podman", "tag", built.id, built.tag], check=True)
    assert "exit status 1" in error.value.what
    assert not bad.exists()
