"""What is installed is whole: the wheel alone, away from the checkout, has its commands, schema and demo."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from proxy import __version__

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("proxy", "pyproject.toml", "README.md", "LICENSE")
PATIENCE = 60.0  # seconds for each step on a busy machine


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that the checkout stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=source, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a new environment, whose dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=PATIENCE)
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    # Behind the wheel on the path; an editable install of the checkout there must not count.
    (Path(purelib.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin/countersign"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COUNTERSIGN_SERVER__ADMIN": "127.0.0.1:0"}


def test_the_wheel_holds_the_package_its_license_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"countersign_proxy-{__version__}.dist-info/METADATA").decode()
    assert {name.split("/")[0] for name in names} == {"proxy", f"countersign_proxy-{__version__}.dist-info"}
    assert "proxy/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "Requires-Python: >=3.11" in metadata
    assert "# Countersign" in metadata


def test_the_installed_command_is_not_the_checkouts(installed: Path, tmp_path: Path) -> None:
    python = installed.with_name("python")
    where = subprocess.check_output([python, "-c", "import proxy; print(proxy.__file__)"], cwd=tmp_path, text=True)
    assert Path(where.strip()).is_relative_to(installed.parents[1])


def test_it_tells_its_version(installed: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    said = subprocess.check_output([installed, "--version"], cwd=tmp_path, env=environ, text=True, timeout=PATIENCE)
    assert said == f"countersign {__version__}\n"


def test_it_prints_the_schema(installed: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    said = subprocess.check_output([installed, "schema"], cwd=tmp_path, env=environ, text=True, timeout=PATIENCE)
    assert json.loads(said) == json.loads((ROOT / "config/schema.json").read_text())


@pytest.fixture
def demo(installed: Path, tmp_path: Path, environ: dict[str, str]) -> Iterator[str]:
    """The URL of an installed demo's proxy."""
    with subprocess.Popen(
        [installed, "demo", "--listen", "127.0.0.1:0"],
        cwd=tmp_path, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            match = re.search(r"listening on (http://\S+)", said)
            assert match, said + process.stderr.read()
            yield match[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_its_demo_answers(demo: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{demo}/basic/hello", timeout=PATIENCE) as answer:
        saw = json.load(answer)
    assert saw["authenticated"] == "HTTP Basic, user demo-user"
