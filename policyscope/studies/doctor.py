"""What this machine has: versions, devices, and the line that installs what is missing."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from policyscope.table import Column, Shown, Table

NEEDED = ("policyscope", "torch", "numpy", "scipy", "gymnasium", "safetensors", "rich", "jinja2")
OPTIONAL = {
    "Box2D": "box2d",
    "mujoco": "mujoco",
    "ale-py": "atari",
    "minigrid": "minigrid",
    "stable-baselines3": "sb3",
    "transformers": "dt",
    "tensordict": "torchrl",
    "huggingface-hub": "hub",
}
"""Packages that bring environments or agents, and the extra that installs each."""


@dataclass(frozen=True)
class Diagnosis(Shown):
    """Versions by package (None where it is not installed) and the devices torch can use."""

    python: str
    system: str
    packages: dict[str, str | None]
    devices: tuple[str, ...]
    threads: int

    def table(self) -> Table:
        """One row per package."""
        rows = [
            (name, found or "not installed", "" if found else install_line(name))
            for name, found in self.packages.items()
        ]
        columns = (
            Column("package", side="left"),
            Column("version", side="left"),
            Column("to install", side="left"),
        )
        note = (
            f"Python {self.python} on {self.system}; devices: {', '.join(self.devices)}; "
            f"{self.threads} torch threads."
        )
        return Table("policyscope doctor", columns, tuple(rows), note)

    def to_json(self) -> dict[str, Any]:
        """The document of `doctor --json`."""
        missing = {name: install_line(name) for name, found in self.packages.items() if not found}
        return {**vars(self), "devices": list(self.devices), "missing": missing}


def diagnose() -> Diagnosis:
    """What this machine has."""
    devices = ["cpu"]
    devices += [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages={name: installed(name) for name in (*NEEDED, *OPTIONAL)},
        devices=tuple(devices),
        threads=torch.get_num_threads(),
    )


def installed(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def install_line(package: str) -> str:
    """What to type to get a package."""
    extra = OPTIONAL.get(package)
    return f"pip install 'policyscope[{extra}]'" if extra else f"pip install {package}"
