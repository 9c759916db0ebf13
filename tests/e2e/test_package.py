"""The package: a wheel with every file, one version everywhere, and locked requirements."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from exporter import __version__, bundle
from tests.kit.clone import clone, files
from tests.kit.paths import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
RUNTIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
PATIENCE = 60.0  # seconds


STALE = "build/lib/exporter/removed.py"  # what an older build left in the tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree as a clone has it, and with the files that an older build left."""
    folder = clone(tmp_path_factory.mktemp("tree"))
    (folder / STALE).parent.mkdir(parents=True)
    (folder / STALE).write_text("REMOVED = True\n")
    return folder


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    before = files(tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(tree)]
    subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True)
    assert files(tree) == before
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile, name: str = "METADATA") -> Message:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return email.message_from_bytes(wheel.read(path))


class TestWheel:
    def test_has_every_module_and_the_type_marker(self, wheel: zipfile.ZipFile) -> None:
        """The wheel has the package, the migrations, the bundle and deploy/, and no tests or benchmarks."""
        shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
        sources = [path for kind in ("*.py", "*.sql") for path in (PROJECT / "exporter").rglob(kind)]
        there = {str(path.relative_to(PROJECT)) for path in sources}
        bundled = {str(path.relative_to(PROJECT)) for path in bundle.shipped().values()}
        deploy = {f"exporter/share/deploy/{name}" for name in files(PROJECT / "deploy")}
        assert shipped == there | bundled | deploy | {"exporter/py.typed"}

    def test_says_what_it_is(self, wheel: zipfile.ZipFile) -> None:
        """The metadata has the name, the version, the licence, the addresses and the command `argus-wg`."""
        about = metadata(wheel)
        assert (about["Name"], about["Version"]) == ("argus-wireguard", __version__)
        assert about["License-Expression"] == "Apache-2.0"
        assert about["Requires-Python"] == ">=3.11"
        addresses = dict(line.split(", ") for line in about.get_all("Project-URL", []))
        assert addresses == PYPROJECT["urls"]
        assert {"Homepage", "Documentation", "Changelog"} <= set(addresses)
        (entries,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        assert "argus-wg = exporter.cli:main" in wheel.read(entries).decode()

    def test_has_the_licence(self, wheel: zipfile.ZipFile) -> None:
        """The licence in the wheel is the one in the tree, and that is Apache's, version 2.0."""
        (path,) = (name for name in wheel.namelist() if name.endswith("/LICENSE"))
        licence = (PROJECT / "LICENSE").read_bytes()
        assert wheel.read(path) == licence
        assert b"Apache License\n                           Version 2.0" in licence

    def test_runs_without_the_tree(self, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
        """The unpacked wheel answers `--version` and the help of every command."""
        wheel.extractall(tmp_path)
        for arguments in (["--version"], ["serve", "--help"], ["show", "--help"], ["demo", "--help"]):
            command = [sys.executable, "-m", "exporter.cli", *arguments]
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=True
            )
            assert done.stdout.startswith(("argus-wg 0", "usage: argus-wg"))

    def test_is_what_an_installation_from_a_clone_has(
        self, tree: Path, wheel: zipfile.ZipFile, tmp_path: Path
    ) -> None:
        """`pip install --no-deps .` installs the files of the wheel and leaves nothing in the clone."""
        before = files(tree)
        options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile"]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, "--target", str(tmp_path), "."],
            cwd=tree,
            check=True,
            timeout=PATIENCE,
        )
        assert files(tree) == before
        assert files(tmp_path / "exporter") == {
            name.removeprefix("exporter/") for name in wheel.namelist() if name.startswith("exporter/")
        }


def test_the_sdist_has_the_tree(tree: Path, built: Path) -> None:
    """The sdist has every file of the tree but links and what an older build left."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        shipped = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    expected = {name for name in files(tree) if not (tree / name).is_symlink()} - {STALE}
    assert shipped == expected | {"PKG-INFO"}


def test_the_version_is_the_newest_in_the_changelog() -> None:
    """The first release in CHANGELOG.md is this version and has a date; only unreleased changes are above."""
    text = (PROJECT / "CHANGELOG.md").read_text()
    entries = re.findall(r"^## (?!Unreleased$)(.*)$", text, re.MULTILINE)
    assert "## Unreleased" not in text.partition(entries[0])[2]
    assert re.fullmatch(rf"{re.escape(__version__)} — \d{{4}}-\d\d-\d\d", entries[0])
    versions = [tuple(map(int, entry.partition(" ")[0].split("."))) for entry in entries]
    assert versions == sorted(set(versions), reverse=True)


def requirements(name: str) -> dict[str, tuple[str, int]]:
    """Each locked distribution: (version, number of hashes)."""
    found: dict[str, tuple[str, int]] = {}
    text = re.sub(r"\s*\\\n\s*", " ", (PROJECT / name).read_text())
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        written = re.fullmatch(r"([a-z0-9-]+)==([^ ;]+)( ; [^-]+)?((?: --hash=sha256:[0-9a-f]{64})*)", line)
        assert written, f"{name}: {line[:80]}"
        found[written[1]] = written[2], written[4].count("--hash=")
    return found


def normal(requirement: str) -> str:
    """`"PyYAML>=6"` → `"pyyaml"`."""
    return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", [RUNTIME, DEVELOPMENT])
class TestRequirements:
    def test_every_line_is_one_version_with_hashes(self, name: str) -> None:
        """Each locked requirement has exactly one version and the hashes of its files."""
        locked = requirements(name)
        assert len(locked) > 10
        assert all(hashes for _, hashes in locked.values())

    def test_no_index_is_named(self, name: str) -> None:
        """The locked requirements name no package index, so that each host uses its own."""
        text = (PROJECT / name).read_text()
        assert "://" not in text
        assert not re.search(r"^\s*(--(extra-)?index-url|--find-links|-i|-f)\b", text, re.MULTILINE)

    def test_every_dependency_is_locked(self, name: str) -> None:
        """Each dependency in pyproject.toml is locked in a version that pyproject.toml allows."""
        wanted = list(PYPROJECT["dependencies"])
        if name == DEVELOPMENT:
            wanted += PYPROJECT["optional-dependencies"]["dev"]
        locked = requirements(name)
        for requirement in wanted:
            version, _ = locked[normal(requirement)]
            assert numbers(version) >= numbers(requirement.partition(">=")[2])


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_both_locks_agree() -> None:
    """The tests run with the same versions that are shipped."""
    runtime, development = requirements(RUNTIME), requirements(DEVELOPMENT)
    assert runtime.items() <= development.items()
