"""Whether this process dies with its workers where memory runs out.

Workers stand before the program in the list of the kernel's OOM killer. A control group with
`memory.oom.group` set is killed as a whole, though, and workers are in the group of the program.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ("group_of", "killed_together")


def killed_together(process: Path = Path("/proc/self")) -> Path | None:
    """Return the control group, of this process or above it, that is killed as a whole.

    None: there is none, or it can't be told: there is no procfs, or no second version of cgroups.
    """
    try:
        group, top = group_of(process)
    except (OSError, ValueError):
        return None
    for each in (group, *group.parents):
        if _is_set(each / "memory.oom.group"):
            return each
        if each == top:
            break
    return None


def group_of(process: Path) -> tuple[Path, Path]:
    """Return the directories of its group, and of the topmost one that is to be seen from here.

    Raises:
        OSError, ValueError: it has none.
    """
    lines = (process / "cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::/")), None)
    for line in (process / "mountinfo").read_text(encoding="utf-8").splitlines():
        place, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 ") and path is not None:
            root, mounted = place.split()[3:5]
            top = Path(mounted.replace(r"\040", " "))
            inside = Path(path).is_relative_to(root)
            return (top / Path(path).relative_to(root) if inside else top), top
    raise ValueError("no second version of cgroups is mounted")


def _is_set(file: Path) -> bool:
    try:
        return file.read_text(encoding="ascii").strip() == "1"
    except OSError:  # the topmost group has none, and older kernels
        return False
