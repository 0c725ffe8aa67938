"""Every task of the project: `nox -l` lists them.

The sessions share one environment, `.nox/shared-<version>`, installed again only when `pyproject.toml` or
`constraints.txt` changes. On a Jetson it sees the system's packages, and the torch that NVIDIA ships stays as
it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nox

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # nox may be an installed script, which does not see the checkout

from engine.gate.machine import is_jetson  # noqa: E402

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["tests"]

SHARED = HERE / ".nox" / "shared-{}.{}".format(*sys.version_info)
PYTHON = SHARED / "bin" / "python"
COMMAND = SHARED / "bin" / "ishowtts"
STAMP = SHARED / "installed"
VENDOR = SHARED / "vendor-constraints.txt"

VENDOR_PACKAGES = ("torch", "torchaudio", "torchvision", "triton")
"""What NVIDIA ships for a Jetson and the registry would replace."""

TORCH = "2.13.0"
"""What `constraints.txt` pins for CI; a CPU build or a CUDA one, whichever the package index offers."""

MUTANTS_KILLED = 0.9

EXTRAS = ".[gate,quality,onnx,serve,cluster,docs,dev]"


def venv_arguments(jetson: bool) -> list[str]:
    """Arguments for virtualenv. A Jetson's environment sees NVIDIA's torch among the system's packages."""
    return ["--system-site-packages"] if jetson else []


def vendor_constraints(installed: Mapping[str, str]) -> str:
    """A constraints file that holds NVIDIA's packages as they are, so that replacing one is an error.

    Raises:
        ValueError: there is no torch to hold.
    """
    if "torch" not in installed:
        raise ValueError(
            "This Jetson's Python has no torch: expected the one that NVIDIA ships for its JetPack. "
            "Install that, then run nox again; the registry's torch does not know this GPU."
        )
    return "".join(f"{name}=={installed[name]}\n" for name in VENDOR_PACKAGES if name in installed)


def pip_arguments(jetson: bool) -> list[str]:
    """Arguments for `pip install`: the project, its extras, and what holds the versions."""
    constraints = VENDOR if jetson else HERE / "constraints.txt"
    return ["--constraint", str(constraints), "--editable", EXTRAS]


def perf_command(arguments: list[str]) -> list[str]:
    """The gate, whose flags mean the same everywhere; through pytest where its benchmarks are asked for."""
    if any(argument.startswith("--benchmark") for argument in arguments):
        return [str(PYTHON), "-m", "pytest", "tests/perf", "-p", "engine.gate.pytest_plugin", *arguments]
    return [str(COMMAND), "gate", *arguments]


def killed_share(counts: Mapping[str, int]) -> float:
    """The share of mutmut's mutants that the tests noticed; a mutant that hangs was noticed too."""
    return (counts["killed"] + counts["timeout"]) / counts["total"]


def constraint_lines(frozen: list[str]) -> list[str]:
    """`pip freeze` as constraints: no local build tags; held from Python 3.11 on, torch always."""
    pairs = [line.split("==") for line in frozen if "==" in line]
    pins = sorted(
        f"{re.sub('[-_.]+', '-', name).lower()}=={version.split('+')[0]}" for name, version in pairs
    )
    return [pin if pin.startswith("torch==") else f'{pin} ; python_version >= "3.11"' for pin in pins]


def installed_vendor_packages(session: nox.Session) -> dict[str, str]:
    """Name to version of the vendor's packages that the shared environment sees."""
    script = (
        "import importlib.metadata as m\n"
        f"names = {VENDOR_PACKAGES!r}\n"
        "found = {d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}\n"
        "print(*(f'{n}={found[n]}' for n in names if n in found))"
    )
    answer = str(session.run(str(PYTHON), "-c", script, silent=True, log=False))
    return dict(pair.split("=", 1) for pair in answer.split())


def install(session: nox.Session, jetson: bool) -> None:
    """Make the shared environment where there is none, and install what the project asks for now."""
    if not PYTHON.exists():
        session.run(sys.executable, "-m", "virtualenv", "--quiet", *venv_arguments(jetson), str(SHARED))
    if jetson:
        try:
            VENDOR.write_text(vendor_constraints(installed_vendor_packages(session)))
        except ValueError as error:
            session.error(str(error))
    session.log("Installing into %s: this takes minutes the first time.", SHARED.relative_to(HERE))
    session.run(str(PYTHON), "-m", "pip", "install", "-qq", *pip_arguments(jetson))


def prepare(session: nox.Session) -> None:
    """Make the shared environment, unless it stands and nothing that describes it has changed."""
    jetson = is_jetson()
    described = [(HERE / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    state = hashlib.sha256(b"\0".join([*described, str(jetson).encode()])).hexdigest()
    if not (STAMP.is_file() and STAMP.read_text() == state):
        install(session, jetson)
        STAMP.write_text(state)
    session.env["VIRTUAL_ENV"] = str(SHARED)
    session.env["PATH"] = os.pathsep.join([str(SHARED / "bin"), os.environ["PATH"]])


def run(session: nox.Session, module: str, *arguments: str, success_codes: tuple[int, ...] = (0,)) -> None:
    """Run one module of the shared environment."""
    session.run(str(PYTHON), "-m", module, *arguments, success_codes=list(success_codes))


def judge(session: nox.Session, command: list[str]) -> None:
    """Run the gate and leave with its own exit code: nox would turn undecided (3) into regression (1).

    What is no exit code of the gate, such as those of pytest above 3, is misuse (2); those of signals stay.
    """
    session.log(" ".join(command))
    environment = {name: value for name, value in {**os.environ, **session.env}.items() if value is not None}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code < 0:
        sys.exit(128 - code)
    if code:
        sys.exit(code if code <= 3 or code > 128 else 2)


def check_lint(session: nox.Session) -> None:
    """Rules, format, and the direction of imports."""
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")
    session.run(str(SHARED / "bin" / "lint-imports"))


def check_notebooks(session: nox.Session, *arguments: str, pictures: bool = False) -> None:
    """Execute each notebook once; a cell that raises fails. A browser looks at the pages of that run."""
    executed = HERE / "build" / "executed"
    shutil.rmtree(executed, ignore_errors=True)
    nbval = ("--nbval-lax", "--nbval-current-env", "--executed", str(executed))
    run(session, "pytest", "notebooks", *nbval, *arguments)
    renewed = ("--pictures",) if pictures else ()
    session.run(str(PYTHON), "notebooks/render.py", str(executed), "build/reports", *renewed)
    looked_at = ("tests/integration/test_reports.py", "-k", "every_page or index or sticks_out")
    if not arguments:
        session.env["ISHOWTTS_REPORTS"] = "build/reports"
        run(session, "pytest", *looked_at)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Everything CI needs, coverage included. No network, no GPU."""
    prepare(session)
    check_lint(session)
    run(session, "mypy")
    run(session, "pytest", "tests/unit", "-n", "2", "--cov", "--cov-report=term", *session.posargs)
    run(session, "pytest", "tests/integration", "-n", "2", "--durations=10", *session.posargs)
    check_notebooks(session)
    smoke = ["--blocks", "1", "--runs", "3", "--quick", "--options", "nfe=7", "--against-options", "nfe=8"]
    session.run(*perf_command(smoke), success_codes=[0, 3])  # toggles of one checkout show no regression


@nox.session(venv_backend="none", default=False)
def perf(session: nox.Session) -> None:
    """Judge this checkout: change since the merge base, limits, drift. Exits 0, 1, 2 or 3.

    `-- --quick` takes 3 minutes, `-- --limits --runs 3` half a minute; `ishowtts gate --help` names the rest.
    """
    prepare(session)
    judge(session, perf_command(session.posargs))


@nox.session(venv_backend="none", default=False)
def record(session: nox.Session) -> None:
    """Add a session to this machine's baseline, if the machine is fit and the tree clean."""
    prepare(session)
    judge(session, [str(COMMAND), "gate", "--record", *session.posargs])


@nox.session(venv_backend="none", default=False)
def gpu(session: nox.Session) -> None:
    """Hold a CUDA device at base size against its limits: RTF, steadiness, share of the ceiling, batches."""
    prepare(session)
    session.run(str(PYTHON), "-c", "import torch; torch.cuda.init()")  # no device: an error, not a skip
    run(session, "pytest", "tests/perf/test_gpu.py", "-m", "gpu", "-rA", *session.posargs)


@nox.session(default=False, reuse_venv=True)
def history(session: nox.Session) -> None:
    """Report drift points over the recorded runs (Apache Otava, which pins its own numpy)."""
    session.install("apache-otava>=0.7,<1", "pydantic>=2.7")
    session.run("python", "-m", "engine.gate.report.history", *session.posargs)


@nox.session(venv_backend="none", default=False)
def status(session: nox.Session) -> None:
    """Write build/status.html: what the runs of the last 30 days said, and which day had none."""
    prepare(session)
    run(session, "engine.gate.report.status", *session.posargs)


@nox.session(venv_backend="none", default=False)
def notebooks(session: nox.Session) -> None:
    """Execute the notebooks, and render what came out: build/reports/index.html."""
    prepare(session)
    check_notebooks(session, *session.posargs)


@nox.session(venv_backend="none", default=False)
def lab(session: nox.Session) -> None:
    """Open JupyterLab on the notebooks, with this environment as their kernel."""
    prepare(session)
    run(session, "jupyterlab", "--notebook-dir", "notebooks", *session.posargs)


@nox.session(venv_backend="none", default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation into build/site, strictly; `-- serve` shows it while it is written."""
    prepare(session)
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    run(session, "mkdocs", *(session.posargs or ("build", "--strict", "--quiet")))


@nox.session(venv_backend="none", default=False)
def study(session: nox.Session) -> None:
    """Run a study, such as `-- ladder` or `-- calibrate`; without a name, list them."""
    prepare(session)
    run(session, "tests.studies", *session.posargs)


@nox.session(venv_backend="none", default=False)
def load(session: nox.Session) -> None:
    """Hold the service to the limits in baselines/load.json: requests a minute, waiting, memory, losses.

    About four minutes; `-- --long` watches memory for half an hour. Exits 1 where a limit does not hold.
    """
    prepare(session)
    judge(session, [str(PYTHON), "-m", "tests.studies.load", *session.posargs])


@nox.session(venv_backend="none", default=False)
def lint(session: nox.Session) -> None:
    """Run ruff and import-linter."""
    prepare(session)
    check_lint(session)


@nox.session(venv_backend="none", default=False)
def types(session: nox.Session) -> None:
    """Run mypy, strict, on the package."""
    prepare(session)
    run(session, "mypy", *session.posargs)


@nox.session(venv_backend="none", default=False)
def unit(session: nox.Session) -> None:
    """Run the unit tests: seconds, CPU only."""
    prepare(session)
    run(session, "pytest", "tests/unit", "-n", "2", *session.posargs)


@nox.session(venv_backend="none", default=False)
def integration(session: nox.Session) -> None:
    """Run the integration tests; `-- -m base` asks for those at base size."""
    prepare(session)
    run(session, "pytest", "tests/integration", *session.posargs)


@nox.session(venv_backend="none", default=False)
def pictures(session: nox.Session) -> None:
    """Render what the README plays and shows, the first figure of each report included."""
    prepare(session)
    session.run(str(PYTHON), "notebooks/pictures.py")
    check_notebooks(session, pictures=True)


@nox.session(venv_backend="none", default=False)
def contract(session: nox.Session) -> None:
    """Fingerprint the installed f5-tts and vocos again, once a new release has been read."""
    prepare(session)
    session.run(str(PYTHON), "third_party/contract.py", "--write")


@nox.session(default=False)
def pin(session: nox.Session) -> None:
    """Renew constraints.txt from a fresh environment that holds the newest releases."""
    session.install(f"torch=={TORCH}", "--editable", EXTRAS)
    frozen = str(session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)).splitlines()
    path = HERE / "constraints.txt"
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    path.write_text("\n".join(head + constraint_lines(frozen)) + "\n")


@nox.session(default=False, reuse_venv=True)
def mutants(session: nox.Session) -> None:
    """Mutate the gate's own logic; its tests must kill nine of ten mutants."""
    # Its own environment: mutmut wants a newer rich than f5-tts allows, and needs no torch.
    needed = ("numpy", "scipy", "pydantic", "psutil", "rich", "filelock")
    session.install("mutmut>=3.3,<4", "pytest", "hypothesis", "jsonschema", *needed)
    session.run("mutmut", "run", *session.posargs)
    session.run("mutmut", "results")
    session.run("mutmut", "export-cicd-stats")
    counts = json.loads((HERE / "mutants" / "mutmut-cicd-stats.json").read_text())
    killed = killed_share(counts)
    session.log("%.1f %% of %d mutants were killed.", 100 * killed, counts["total"])
    if killed < MUTANTS_KILLED:
        session.error(
            f"Expected at least {MUTANTS_KILLED:.0%}. `mutmut show NAME` shows a survivor: test for it."
        )
