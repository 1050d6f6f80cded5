"""The house rules: imports, packaging, pinned versions, and what the documents promise."""

import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_packages

import roi_agent
import roi_agent.model
from roi_agent.model import errors

ROOT = Path(__file__).parent.parent
LINKED = ["model", "tools", "prompts"]

in_a_clone = pytest.mark.skipif(not ((ROOT / ".git").exists() and shutil.which("git")), reason="needs git and a clone")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def repository_files() -> list[str]:
    """Every file that is committed or would be, as paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(name for name in set(listing.stdout.splitlines()) if (ROOT / name).is_file())


def packages() -> list[str]:
    return list(find_packages(str(ROOT), include=pyproject()["tool"]["setuptools"]["packages"]["find"]["include"]))


def in_package(name: str) -> Path:
    return ROOT.joinpath(*name.split("."))


# Imports


def test_the_import_contract_holds() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_light_modules_load_nothing_heavy() -> None:
    light = ["roi_agent", "roi_agent.prompts", "roi_agent.model", "roi_agent.model.errors", "roi_agent.model.geometry.regions"]
    heavy = {"torch", "torchvision", "transformers", "langchain", "langchain_core", "PIL"}
    program = f"""
import importlib, sys
for module in {light!r}:
    importlib.import_module(module)
    assert not {heavy!r} & set(sys.modules), module
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("package", [roi_agent, roi_agent.model], ids=lambda package: package.__name__)
def test_every_public_name_resolves(package: Any) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None, name
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


# Packaging


@pytest.mark.parametrize("name", LINKED)
def test_the_import_root_links_to_the_top_level_folders(name: str) -> None:
    link = ROOT / "roi_agent" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_the_package_holds_every_module_under_one_import_root() -> None:
    found = packages()
    assert {name.split(".")[0] for name in found} == {"roi_agent"}
    assert {f"roi_agent.{name}" for name in LINKED} <= set(found)
    folders = {path.parent for name in found for path in in_package(name).rglob("*.py")}
    assert folders == {in_package(name) for name in found}, "a folder with modules has no __init__.py"


@in_a_clone
def test_the_package_holds_every_data_file() -> None:
    globs: dict[str, list[str]] = pyproject()["tool"]["setuptools"]["package-data"]
    shipped = {
        path.resolve()
        for name in packages()
        for pattern in globs.get("*", []) + globs.get(name, [])
        for path in in_package(name).glob(pattern)
    }
    folders = tuple(f"{name}/" for name in [*LINKED, "roi_agent"])
    data = {ROOT / name for name in repository_files() if name.startswith(folders) and not name.endswith(".py")}
    assert {path.resolve() for path in data} - shipped == set()


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.]*)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "constraints.txt holds name==version only, and no local versions"
    pinned = {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins if pin}
    project = pyproject()["project"]
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, text


# Documents


@in_a_clone
def test_no_file_names_a_place_on_somebodys_machine() -> None:
    place = re.compile(r"(?<![\w./<~-])(?:file://)?/(?:work|root|opt|home/\w+|Users/\w+)/\w")
    temporary = re.compile(r"(?<![\w./<~-])/tmp/\w")
    for name in repository_files():
        data = (ROOT / name).read_bytes()
        if b"\0" in data:
            continue
        text = data.decode("utf-8")
        assert not place.search(text), name
        assert not temporary.search(text) or name.startswith((".ci/", "tests/")) or name == "Makefile", name


def coded_errors() -> list[type[errors.RoiAgentError]]:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.RoiAgentError)]
    return [each for each in classes if "code" in vars(each) and each is not errors.RoiAgentError]


@pytest.mark.parametrize("error", coded_errors(), ids=lambda error: str(error.code))
def test_every_error_code_has_a_test(error: type[errors.RoiAgentError]) -> None:
    others = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    wanted = re.compile(rf"\b(?:{error.code}|{error.__name__})\b")
    assert any(wanted.search(text) for text in others), f"no test names {error.code}"


def test_error_codes_are_unique() -> None:
    codes = [error.code for error in coded_errors()]
    assert sorted(codes) == sorted(set(codes))
