"""Factories of one's own, "package.module:factory": where their sources are, what those are, and running them."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import xxhash

from datadiet.foundation.atomic import checksum
from datadiet.foundation.errors import BadInputError

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_GIVE = "Give it as 'package.module:factory', importable from the current folder or the environment."


def code_of_factory(name: str) -> str:
    """A digest of the code of a factory's module and of what that imports from its own folder.

    Where that code was imported in this process and is another now, it is imported again. Of an installed package it
    is the name and the version.

    Args:
        name: "package.module:factory".

    Raises:
        BadInputError: the module cannot be read, or imported again.
    """
    module, _, attribute = name.partition(":")
    found = _sources(module)
    if found is not None and found.installed is None:
        _import_again_if_changed(module, found)
    return _code_of(module, attribute)


def code_of_function(function: Callable[..., Any]) -> str:
    """As `code_of_factory`, of a function at hand: its code when it was first asked for."""
    if function not in _functions:
        _functions[function] = _code_of(function.__module__, function.__name__)
    return _functions[function]


def _code_of(module: str, attribute: str) -> str:
    found = _sources(module)
    if found is not None:
        return found.installed or found.digest
    try:
        return xxhash.xxh3_128_hexdigest(
            inspect.getsource(getattr(sys.modules.get(module), attribute)).encode()
        )
    except (AttributeError, OSError, TypeError):  # typed into an interpreter
        return ""


def place_of_factory(name: str) -> str | None:
    """Where the code of a factory comes from, for a sentence; None of an installed package. Nothing is imported."""
    found = _sources(name.partition(":")[0])
    if found is None or found.installed is not None:
        return None
    here = Path.cwd()
    if found.first.is_relative_to(here):
        return f"'{found.first.relative_to(here)}' in the current folder"
    return f"'{found.first}'"


def import_factory(name: str) -> Callable[..., Any]:
    """The factory of that name; its module is run where it was not yet.

    Raises:
        BadInputError: it cannot be imported, or is not callable.
    """
    module, _, attribute = name.partition(":")
    _sources(module)
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if not isinstance(error, ImportError | AttributeError | ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise BadInputError(f"The model factory {name!r} cannot be imported: {reason}. {_GIVE}") from error
    if not callable(factory):
        raise BadInputError(f"The model factory {name!r} is not callable.")
    return factory  # type: ignore[no-any-return]


class _Sources:
    """The sources of a module: its own file, and files beside it that it imports, directly or not.

    Args:
        first: the module's own file.
        base: the folder that the first part of its name lies in.
        top: that first part.
    """

    def __init__(self, first: Path, base: Path, top: str) -> None:
        self.first, self.base = first, base
        self.installed = _distribution(first, top)
        self.files: list[Path] = [] if self.installed else sorted(_reached(first, base))

    @property
    def digest(self) -> str:
        found = xxhash.xxh3_128()
        for file in self.files:
            found.update(
                f"{file.relative_to(self.base).as_posix()}\n{checksum(file)}\n".encode(
                    errors="surrogateescape"
                )
            )
        return found.hexdigest()

    @property
    def modules(self) -> list[str]:
        """The names that its files are imported by."""
        names = (file.relative_to(self.base).with_suffix("").parts for file in self.files)
        return [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in names]


_functions: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
_imported: dict[
    str, tuple[Path, str]
] = {}  # module -> its file and the digest of its sources when it was imported
_added: list[str] = []  # the current folder, while it is searched for modules


def _sources(module: str) -> _Sources | None:
    """The sources of a module that need not be imported; None where it has no file."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        raise BadInputError(f"{module!r} is not the name of a Python module. {_GIVE}")
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return None if file is None else _Sources(Path(file), Path(file).parent, module)
    _search_current_folder()
    importlib.invalidate_caches()
    places: Sequence[str] | None = None
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), places)
        if spec is None:
            return None
        places = spec.submodule_search_locations or []
    assert spec is not None
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    first = Path(spec.origin).absolute()
    base = first.parents[len(parts) - (0 if spec.submodule_search_locations is not None else 1)]
    found = _Sources(first, base, parts[0])
    if found.installed is None:
        _FromSource.folders.add(base)
        if not any(isinstance(finder, _FromSource) for finder in sys.meta_path):
            sys.meta_path.insert(0, _FromSource())
    return found


def _search_current_folder() -> None:
    """Have modules be found in the current folder too, after all others."""
    here = str(Path.cwd())
    for old in [place for place in _added if place != here]:
        _added.remove(old)
        if old in sys.path:
            sys.path.remove(old)
    if here not in sys.path:
        sys.path.append(here)  # at the end, so that no file there hides an installed package
        _added.append(here)


def _import_again_if_changed(module: str, found: _Sources) -> None:
    there, now = sys.modules.get(module), (found.first, found.digest)
    if there is not None and module != "__main__":
        before = _imported.get(module)
        if before is None:
            file = getattr(there, "__file__", None)
            changed = file is None or Path(file).absolute() != found.first
        else:
            changed = before != now
        if changed:
            for name in found.modules:
                sys.modules.pop(name, None)
    _imported[module] = now


def _distribution(first: Path, top: str) -> str | None:
    """Name and version of the distribution that a file was installed with; None of one's own files."""
    if not _INSTALLED & set(first.parts):
        return None
    try:
        return (
            ", ".join(f"{name} {version(name)}" for name in sorted(packages_distributions().get(top, ())))
            or None
        )
    except PackageNotFoundError:
        return None


def _reached(first: Path, base: Path) -> set[Path]:
    """A file and all below its base that it imports, directly or not, wherever in it the import stands."""
    found: set[Path] = set()
    waiting = [first]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # which its import will say
            continue
        except OSError as error:
            raise BadInputError(
                f"The model's code '{path}' cannot be read: {error.strerror or error}."
            ) from error
        package = path.parent.relative_to(base).parts
        waiting += _inits(base, package)
        for node in ast.walk(tree):
            for folder, name in _names(node, base, path.parent, package):
                waiting += _files(folder, name)
    return found


def _names(
    node: ast.AST, base: Path, beside: Path, package: tuple[str, ...]
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The modules that a statement may import: a folder, and parts of a name in it."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            for folder in {base, beside}:
                yield folder, tuple(alias.name.split("."))
    elif isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else ()
        stem = (*start, *(node.module.split(".") if node.module else ()))
        for folder in {base} if node.level else {base, beside}:
            yield folder, stem
            for alias in node.names:
                yield folder, (*stem, alias.name)


def _files(folder: Path, name: tuple[str, ...]) -> Iterator[Path]:
    """The files of a module and of the packages that it lies in."""
    if not name:
        return
    yield from _inits(folder, name)
    file = folder.joinpath(*name).with_suffix(".py")
    if file.is_file():
        yield file


def _inits(folder: Path, package: tuple[str, ...]) -> list[Path]:
    files = [folder.joinpath(*package[:count], "__init__.py") for count in range(1, len(package) + 1)]
    return [file for file in files if file.is_file()]


class _SourceLoader(SourceFileLoader):
    """Compiles the source each time: bytecode that lies beside it is told apart by size and seconds alone."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _FromSource(MetaPathFinder):
    """Finds modules below some folders, to be run from their sources."""

    folders: set[Path] = set()  # noqa: RUF012 (of all)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return None
        file = Path(spec.origin).absolute()
        if _INSTALLED & set(file.parts) or not any(file.is_relative_to(folder) for folder in self.folders):
            return None
        spec.loader = _SourceLoader(fullname, spec.origin)
        return spec
