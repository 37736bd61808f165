"""The tests of loops, samplers and gradients under other versions of Python and of what Trainers come from.

    python tests/matrix.py [NAME...] [--pythons python3.12 ...]

Each environment is a folder `.venv-NAME` beside `.venv`, made when it is missing or what it is made from has changed;
what its tests printed is in the file `tests.log` in it. `make test-matrix` runs all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("integrations", "dynamic", "pergrad", "tracking")
TOOLS = ("pytest>=8.0", "hypothesis>=6.100")
SHOWN = ("torch", "transformers", "lightning")


@dataclass(frozen=True)
class Environment:
    """What is installed, and what has to be set.

    Attributes:
        constraints: files beside this folder.
        packages: beside the package with its extras and the tools of tests.
        variables: of the environment in which the tests run.
        python: that the environment is made with.
    """

    constraints: tuple[str, ...] = ("constraints.txt",)
    packages: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable


ENVIRONMENTS = {
    "low": Environment(
        ("constraints.txt", "constraints-low.txt"),
        # These versions read the states of optimisers and generators of their own checkpoints by torch.load without
        # weights_only, which torch refuses since 2.6 where they hold more than tensors.
        variables={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    ),
    "high": Environment(),
    "trl": Environment(packages=("trl", "peft")),
}


def prepare(name: str, environment: Environment) -> Path:
    """Make the environment, unless it is there; its Python."""
    folder = ROOT / f".venv-{name}"
    python, mark = folder / "bin" / "python", folder / "installed"
    files = [ROOT / each for each in ("pyproject.toml", *environment.constraints)]
    made_from = repr((environment, TOOLS)).encode() + b"".join(each.read_bytes() for each in files)
    digest = hashlib.sha256(made_from).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return python
    subprocess.run([environment.python, "-m", "venv", "--clear", folder], check=True)
    # The pip that comes with Python 3.10 cannot build seqeval.
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
    constraints = [part for each in environment.constraints for part in ("--constraint", each)]
    wanted = ["--editable", ".[transformers,lightning]", *environment.packages, *TOOLS]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, *wanted], cwd=ROOT, check=True)
    mark.write_text(digest)
    return python


def versions(python: Path) -> str:
    """Those of Python and of the packages that matter."""
    code = (
        "import platform, importlib.metadata as m\n"
        f"print('Python', platform.python_version(), *(f'{{n}} {{m.version(n)}}' for n in {SHOWN}), sep=', ')"
    )
    shown = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return shown.replace("Python, ", "Python ", 1)


def run(name: str, environment: Environment) -> tuple[bool, str]:
    """Run the tests; whether all passed, and a line that says so."""
    try:
        python = prepare(name, environment)
    except (subprocess.CalledProcessError, OSError) as error:
        return False, f"{name}: could not be installed ({error})"
    log = ROOT / f".venv-{name}" / "tests.log"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{room}" for room in ROOMS)]
    variables = {**os.environ, **environment.variables, "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        done = subprocess.run(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)
    last = log.read_text().strip().splitlines()[-1]
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", last)
    return done.returncode == 0, f"{name}: {versions(python)}: {', '.join(counts) or last}"


def main(names: list[str], pythons: list[str]) -> int:
    """Run every environment; 1 where one of them fails."""
    known = {name: ENVIRONMENTS[name] for name in names}
    for each in pythons:
        python = found(each)
        if python is None:
            print(f"{each}: not found")
        else:
            known[each.replace("python", "py")] = Environment(python=python)
    outcomes = []
    for name, environment in known.items():
        print(f"{name} ...", flush=True)
        outcomes.append(run(name, environment))
    print(*(line for _, line in outcomes), sep="\n")
    return 0 if all(fine for fine, _ in outcomes) else 1


def found(command: str) -> str | None:
    """A Python of this name that can be started: on the path, where a shim may lack its Python, or pyenv's."""
    of_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"*/bin/{command}"))
    for place in (shutil.which(command), *map(str, of_pyenv)):
        if place and subprocess.run([place, "-V"], capture_output=True).returncode == 0:
            return place
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {list(ENVIRONMENTS)}; all by default")
    parser.add_argument("--pythons", nargs="*", default=[], help="others that are tried where they are found")
    given = parser.parse_args()
    if unknown := set(given.names) - set(ENVIRONMENTS):
        parser.error(f"no environment {', '.join(sorted(unknown))}; there are {', '.join(ENVIRONMENTS)}")
    names = given.names or ([] if given.pythons else list(ENVIRONMENTS))
    sys.exit(main(names, given.pythons))
