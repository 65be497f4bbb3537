"""What a sandboxed worker may do, as a value: built and checked before any process exists.

Everything starts from a profile, the least that a kind of work needs. Each method returns another
policy: `allow_...` weakens and says so in its name; `deny_syscalls`, `with_limits` and
`with_namespaces` strengthen. A policy is plain data; `aionif/sealing/seal.py` applies it to a
process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from aionif.errors import NifArgumentError
from aionif.errors.checks import check_choice
from aionif.filters.places import import_paths, roots
from aionif.filters.profiles import NEEDED, PROFILES
from aionif.filters.syscalls import check_name
from aionif.limits import NO_LIMITS, NifLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

from aionif.filters.profiles import GrantName

__all__ = ("Mode", "Namespace", "Profile", "Sandbox")

Profile = Literal["compute", "python"]
Mode = Literal["required", "best_effort"]
Namespace = Literal["user", "net", "ipc"]
Stderr = Literal["report", "pass"]
Weakening = Literal["threads", "fork", "network", "jit"]

_MODES = ("required", "best_effort")
_NAMESPACES = ("user", "net", "ipc")


# What Python reads on its own behalf, besides what is on sys.path.
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sandbox:
    """What a worker may do once it is sealed. Start from `Sandbox.compute()` or `.python()`.

    profile: what everything starts from.
    mode: "required" refuses to run where a part of the policy can't be enforced; "best_effort"
        enforces what it can, logs the rest once and shows it in the statistics.
    limits: resources of the process; NifPolicy.limits says the same of a worker.
    grants: which of "threads", "fork", "network" and "jit" are allowed.
    syscalls, denied: names of system calls allowed, and denied, whatever the rest says.
    read, write, execute: absolute paths of files, and of directories with all below.
    namespaces, required_namespaces: entered where the kernel lets us, and those that must be.
    stderr: what becomes of a worker's: "report" keeps the end of it for crash reports, "pass"
        passes it on to the program's as well.
    environment: names of variables that workers have besides harmless ones.
    fresh: each worker is an interpreter started by exec, with a stack canary and a layout of its
        own. Else those of its siblings are the same, until some of them have crashed. It takes
        some tens of milliseconds, and memory of its own, for each.
    cgroup: whether each worker is to be in a control group of its own: see `with_cgroup`.

    Raises:
        NifArgumentError: a name or path is wrong, or two parts contradict each other.
    """

    profile: Profile
    mode: Mode = "required"
    limits: NifLimits = NO_LIMITS
    grants: frozenset[Weakening] = frozenset()
    syscalls: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    namespaces: frozenset[Namespace] = frozenset()
    required_namespaces: frozenset[Namespace] = frozenset()
    stderr: Stderr = "report"
    environment: tuple[str, ...] = ()
    fresh: bool = False
    cgroup: Mode | None = None

    # ---- profiles ----

    @classmethod
    def compute(
        cls, *, mode: Mode = "required", limits: NifLimits | None = None, fresh: bool = False
    ) -> Self:
        """Return the profile for native functions: memory, time and descriptors already open.

        No file can be opened, no thread or process started, no memory made executable.
        """
        return cls(profile="compute", mode=mode, limits=limits or NO_LIMITS, fresh=fresh)

    @classmethod
    def python(
        cls, *, mode: Mode = "required", limits: NifLimits | None = None, fresh: bool = False
    ) -> Self:
        """Return the profile for Python callables.

        It adds reading the standard library and installed packages, mapping the code of extension
        modules, threads, and what event loops are made of. The program's own modules are imported
        before the seal, as calls bring them.
        """
        return cls(profile="python", mode=mode, limits=limits or NO_LIMITS, fresh=fresh)

    # ---- weakenings ----

    def allow_syscalls(self, *names: str) -> Self:
        """Allow these system calls whatever their arguments, also where a profile looks at them."""
        return replace(self, syscalls=self.syscalls | set(names))

    def allow_read(self, *paths: str | os.PathLike[str]) -> Self:
        """Allow reading these files, and these directories with all below."""
        return replace(self, read=(*self.read, *_paths("read", paths)))

    def allow_write(self, *paths: str | os.PathLike[str]) -> Self:
        """Allow reading, writing, making and removing files here."""
        return replace(self, write=(*self.write, *_paths("write", paths)))

    def allow_exec(self, *paths: str | os.PathLike[str]) -> Self:
        """Allow starting these programs, or those in these directories, in new processes.

        They are under the same sandbox, and what it denies kills them: nothing in them turns the
        denial into an error. They read their libraries, so those need `allow_read` too.
        """
        return replace(self, execute=(*self.execute, *_paths("execute", paths)))

    def allow_network(self) -> Self:
        """Allow IPv4 and IPv6 sockets, to anywhere."""
        return self._with("network")

    def allow_threads(self) -> Self:
        """Allow starting threads, which the `python` profile does anyway."""
        return self._with("threads")

    def allow_fork(self) -> Self:
        """Allow child processes, though not other programs. They end with their call.

        Each call has a worker of its own then, but for those of a session.
        """
        return self._with("fork")

    def allow_environment(self, *names: str) -> Self:
        """Let workers have these environment variables, as the program has them by then."""
        return replace(self, environment=(*self.environment, *names))

    def allow_stderr(self) -> Self:
        """Pass on what workers write to stderr: in lines, with their ids, and escaped."""
        return replace(self, stderr="pass")

    def allow_executable_memory(self) -> Self:
        """Allow making memory executable: for compilers at run time, and for attackers."""
        return self._with("jit")

    # ---- the other way ----

    def deny_syscalls(self, *names: str) -> Self:
        """Trap these system calls, though the profile or a weakening would allow them."""
        return replace(self, denied=self.denied | set(names))

    def with_limits(self, **limits: Any) -> Self:
        """Change some of the limits; the names are those of NifLimits."""
        return replace(self, limits=replace(self.limits, **limits))

    def with_namespaces(self, *names: Namespace, required: bool = False) -> Self:
        """Give the worker namespaces of its own where the kernel allows it.

        names: "net" has no network at all, "ipc" no System V objects of others, "user" is the means
            by which a process without privileges gets the other two.
        required: refuse to run where the kernel does not allow it. Worker processes have all of
            them anyway where it does; `seal_process` enters those that are named here.
        """
        wanted = self.required_namespaces | set(names) if required else self.required_namespaces
        return replace(self, namespaces=self.namespaces | set(names), required_namespaces=wanted)

    def with_cgroup(self, *, required: bool = False) -> Self:
        """Hold each worker to its limits by a control group of its own, where one is delegated.

        The kernel keeps its memory and processes to `resident_memory` and `processes`, and all that
        a call has started ends with its worker. Workers have such a group anyway where it is to be
        had; this has it said, in the log and the statistics, where it is not.

        required: refuse to run without one, or without a controller that a limit needs.
        """
        return replace(self, cgroup="required" if required else "best_effort")

    # ---- what it comes to ----

    @property
    def granted(self) -> frozenset[GrantName]:
        """The grants of `aionif/filters/profiles.py` that all of this adds up to."""
        grants: set[GrantName] = {*PROFILES[self.profile], *self.grants}
        if self.read or self.write or self.execute:
            grants.add("files")
        if self.write:
            grants.add("writing")
        if self.execute:
            grants |= {"exec", "fork", "code", "events"}
        if "network" in self.grants:
            grants.add("events")
        return frozenset(grants)

    @property
    def forks(self) -> bool:
        """Whether child processes may be started."""
        return bool({"fork"} & self.granted or {"fork", "vfork", "clone", "clone3"} & self.syscalls)

    @property
    def readable(self) -> tuple[str, ...]:
        """The paths that may be read, those of the profile included, none below another."""
        own = import_paths() if self.profile == "python" else ()
        return roots((*own, *self.read))

    def _with(self, weakening: Weakening) -> Self:
        return replace(self, grants=self.grants | {weakening})

    def __post_init__(self) -> None:
        check_choice("profile", self.profile, tuple(PROFILES))
        check_choice("mode", self.mode, _MODES)
        check_choice("stderr", self.stderr, ("report", "pass"))
        if self.cgroup is not None:
            check_choice("cgroup", self.cgroup, _MODES)
        for variable in self.environment:
            _check_variable(variable)
        if not isinstance(self.limits, NifLimits):
            raise _wrong(
                "limits", self.limits, "is not a NifLimits", "Write limits=NifLimits(...)."
            )
        for name in sorted(self.syscalls, key=str):
            check_name(name, "allow_syscalls")
        for name in sorted(self.denied, key=str):
            check_name(name, "deny_syscalls")
        _check_contradictions(self)

    def __repr__(self) -> str:
        start = [f"mode={self.mode!r}"] if self.mode != "required" else []
        start += [f"limits={self.limits!r}"] if self.limits != NO_LIMITS else []
        start += ["fresh=True"] if self.fresh else []
        calls = [f"{self.profile}({', '.join(start)})"]
        for method, given in (
            ("allow_read", self.read),
            ("allow_write", self.write),
            ("allow_exec", self.execute),
            ("allow_syscalls", sorted(self.syscalls)),
            ("deny_syscalls", sorted(self.denied)),
            ("with_namespaces", sorted(self.namespaces - self.required_namespaces)),
            ("allow_environment", self.environment),
        ):
            calls += [f"{method}({', '.join(map(repr, given))})"] if given else []
        if self.required_namespaces:
            names = ", ".join(map(repr, sorted(self.required_namespaces)))
            calls.append(f"with_namespaces({names}, required=True)")
        calls += [f"{_METHODS[weakening]}()" for weakening in sorted(self.grants)]
        calls += ["allow_stderr()"] if self.stderr == "pass" else []
        if self.cgroup is not None:
            calls.append(f"with_cgroup({'required=True' * (self.cgroup == 'required')})")
        return ".".join(("Sandbox", *calls))


_METHODS: dict[Weakening, str] = {
    "threads": "allow_threads",
    "fork": "allow_fork",
    "network": "allow_network",
    "jit": "allow_executable_memory",
}

# A weakening, the system call that it is about, and the limit that leaves nothing of it at 0.
_ESSENTIALS: tuple[tuple[GrantName, str, str | None], ...] = (
    ("network", "socket", None),
    ("exec", "execve", None),
    ("fork", "clone", "processes"),
    ("threads", "clone", "processes"),
    ("writing", "openat", "file_size"),
    ("files", "openat", None),
)


def _check_variable(name: object) -> None:
    if not isinstance(name, str) or not name or not {"=", "\0"}.isdisjoint(name):
        problem = "is not the name of an environment variable"
        raise _wrong("allow_environment", name, problem, "Write its name alone.")


def _check_contradictions(sandbox: Sandbox) -> None:
    for name in sorted(sandbox.denied):
        if name in sandbox.syscalls:
            raise _wrong("deny_syscalls", name, "is allowed by allow_syscalls", "Choose one.")
        if name in NEEDED:
            raise _wrong("deny_syscalls", name, "is needed by the worker itself", "Leave it out.")
    for grant, call, limit in _ESSENTIALS:
        if grant in sandbox.granted and call in sandbox.denied:
            raise _wrong("deny_syscalls", call, f"is what {grant!r} is about", "Choose one.")
        if limit and grant in sandbox.granted and getattr(sandbox.limits, limit) == 0:
            raise _wrong(limit, 0, f"leaves nothing of {grant!r}, which is allowed", "Choose one.")
    if sandbox.execute and not sandbox.readable:
        remedy = "First add .allow_read() of what they need, such as /lib, /lib64 and /usr/lib."
        problem = "allows programs, but none of the libraries that they read"
        raise _wrong("allow_exec", ", ".join(sandbox.execute), problem, remedy)
    _check_namespaces(sandbox)


def _check_namespaces(sandbox: Sandbox) -> None:
    for name in (*sandbox.namespaces, *sandbox.required_namespaces):
        check_choice("with_namespaces", name, _NAMESPACES)
    if "net" in sandbox.namespaces and "network" in sandbox.grants:
        problem = "has no network, which allow_network() allows"
        raise _wrong("with_namespaces", "net", problem, "Choose one.")
    if sandbox.cgroup == "required" and sandbox.mode == "best_effort":
        problem = 'is required, and mode="best_effort" requires nothing'
        raise _wrong("with_cgroup", "required", problem, 'Use mode="required".')
    if sandbox.required_namespaces and sandbox.mode == "best_effort":
        names = ", ".join(sorted(sandbox.required_namespaces))
        problem = 'is required, and mode="best_effort" requires nothing'
        raise _wrong("with_namespaces", names, problem, 'Use mode="required".')


def _wrong(argument: str, value: object, problem: str, remedy: str) -> NifArgumentError:
    return NifArgumentError(argument=argument, value=value, problem=problem, remedy=remedy)


def _paths(what: str, paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return `paths` as absolute strings without `..`; symbolic links are followed when sealing."""
    found = []
    for path in paths:
        try:
            text: object = os.fspath(path)
        except TypeError:
            text = ""
        if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
            raise _wrong(
                f"allow_{'exec' if what == 'execute' else what}",
                path,
                "is not an absolute path",
                "A worker's current directory is not the caller's: write the whole path.",
            )
        found.append(os.path.normpath(text))
    return found
