"""Policies as values: building, reading, comparing them, and what contradicts itself."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifArgumentError, NifLimits, Sandbox
from aionif.filters.places import import_paths
from aionif.sealing.seal import compile_seal

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20

EVERYTHING = (
    Sandbox.python(mode="best_effort", limits=NifLimits(cpu_time=3, address_space=1 << 30))
    .allow_read("/data", Path("/more"))
    .allow_write("/out")
    .allow_exec("/usr/bin/true")
    .allow_syscalls("getpgid", "ptrace")
    .deny_syscalls("uname")
    .with_namespaces("ipc")
    .allow_threads()
    .allow_fork()
    .allow_network()
    .allow_executable_memory()
)


def test_a_policy_reads_as_it_is_written() -> None:
    policy = (
        Sandbox.compute(limits=NifLimits(resident_memory=MIB)).allow_read("/data").allow_network()
    )
    assert repr(policy) == (
        f"Sandbox.compute(limits=NifLimits(resident_memory={MIB})).allow_read('/data').allow_network()"
    )
    assert repr(Sandbox.python()) == "Sandbox.python()"
    required = Sandbox.compute().with_namespaces("net", required=True).with_namespaces("ipc")
    for made in (policy, EVERYTHING, required):
        assert eval(repr(made), {"Sandbox": Sandbox, "NifLimits": NifLimits}) == made


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_policies_are_values(clone: Callable[[Sandbox], Sandbox]) -> None:
    assert clone(EVERYTHING) == EVERYTHING
    assert hash(clone(EVERYTHING)) == hash(EVERYTHING)
    assert compile_seal(clone(EVERYTHING)) == compile_seal(EVERYTHING)
    with pytest.raises(FrozenInstanceError):
        EVERYTHING.mode = "required"  # type: ignore[misc]


def test_no_method_changes_the_policy_it_is_called_on() -> None:
    start = Sandbox.compute()
    before = repr(start)
    start.allow_read("/data").allow_network().with_limits(open_files=50).deny_syscalls("dup")
    assert repr(start) == before
    assert start == Sandbox.compute()


def test_every_weakening_says_so_in_its_name() -> None:
    makers = {"compute", "python"}
    methods = {
        name
        for name, found in vars(Sandbox).items()
        if callable(found) and not name.startswith("_")
    } - {field.name for field in fields(Sandbox)}
    stronger = {"deny_syscalls", "with_cgroup", "with_limits", "with_namespaces"}
    assert {name for name in methods - makers - stronger if not name.startswith("allow_")} == set()
    for name in sorted(methods - makers - stronger):
        argument = {"allow_syscalls": ["ptrace"]}.get(name, ["/data"])
        takes_none = name in {
            "allow_network",
            "allow_fork",
            "allow_threads",
            "allow_executable_memory",
            "allow_stderr",
        }
        start = Sandbox.compute().allow_read("/lib")
        weaker = getattr(start, name)(*([] if takes_none else argument))
        assert weaker.granted >= start.granted
        assert weaker != start


def test_the_python_profile_reads_where_modules_are_and_no_more() -> None:
    readable = Sandbox.python().readable
    assert readable == import_paths()
    assert "/" not in readable
    for path in (Path(pytest.__file__), Path(compile_seal.__code__.co_filename)):
        assert any(path.is_relative_to(place) for place in readable), path
    assert not any(Path("/etc/passwd").is_relative_to(place) for place in readable)
    assert Sandbox.compute().readable == ()


def test_import_paths_leave_out_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, "/", "", "/no/such"])
    monkeypatch.chdir("/")
    found = import_paths()
    assert "/" not in found
    assert "/no/such" not in found
    assert found == tuple(sorted(found, key=lambda path: path.split("/")))


# ---- what is wrong ----

START = Sandbox.compute()

WRONG: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: START.allow_syscalls("sockt"), "allow_syscalls", "Did you mean 'socket'?"),
    (lambda: START.deny_syscalls("execv"), "deny_syscalls", "Did you mean 'execve'?"),
    (lambda: START.deny_syscalls(3), "deny_syscalls", "not a system call"),  # type: ignore[arg-type]
    (lambda: START.deny_syscalls("futex"), "deny_syscalls", "needed by the worker itself"),
    (
        lambda: START.allow_syscalls("ptrace").deny_syscalls("ptrace"),
        "deny_syscalls",
        "is allowed by allow_syscalls",
    ),
    (lambda: START.allow_network().deny_syscalls("socket"), "deny_syscalls", "'network'"),
    (lambda: START.deny_syscalls("clone").allow_fork(), "deny_syscalls", "'fork'"),
    (lambda: START.allow_read("/x").deny_syscalls("openat"), "deny_syscalls", "'files'"),
    (lambda: START.allow_network().with_namespaces("net"), "with_namespaces", "no network"),
    (lambda: START.with_namespaces("mnt"), "with_namespaces", "'user' or 'net'"),  # type: ignore[arg-type]
    (
        lambda: Sandbox.compute(mode="best_effort").with_namespaces("net", required=True),
        "with_namespaces",
        "requires nothing",
    ),
    (lambda: START.allow_exec("/bin/sh"), "allow_exec", "none of the libraries"),
    (lambda: START.allow_read("data"), "allow_read", "not an absolute path"),
    (lambda: START.allow_write(b"/data"), "allow_write", "not an absolute path"),  # type: ignore[arg-type]
    (lambda: START.allow_exec(3), "allow_exec", "not an absolute path"),  # type: ignore[arg-type]
    (lambda: START.allow_read("/a\0b"), "allow_read", "not an absolute path"),
    (lambda: Sandbox.compute(mode="strict"), "mode", "'required' or 'best_effort'"),  # type: ignore[arg-type]
    (lambda: Sandbox(profile="java"), "profile", "'compute' or 'python'"),  # type: ignore[arg-type]
    (lambda: Sandbox.compute(limits=3), "limits", "NifLimits(...)"),  # type: ignore[arg-type]
    (lambda: NifLimits(cpu_time=-1), "cpu_time", "must not be negative"),
    (lambda: NifLimits(open_files=3), "open_files", "at least 16"),
    (lambda: NifLimits(address_space=-1), "address_space", "out of range"),
    (lambda: NifLimits(open_files=1.5), "open_files", "whole number"),  # type: ignore[arg-type]
    (
        lambda: START.allow_write("/x").with_limits(file_size=0),
        "file_size",
        "leaves nothing of 'writing'",
    ),
    (lambda: START.with_limits(processes=0).allow_fork(), "processes", "leaves nothing of 'fork'"),
    (
        lambda: compile_seal(START.allow_read(*(f"/d{i}" for i in range(200)))),
        "sandbox",
        "Allow a directory",
    ),
]


@pytest.mark.parametrize(("make", "argument", "text"), WRONG)
def test_what_is_wrong_is_named(make: Callable[[], Any], argument: str, text: str) -> None:
    with pytest.raises(NifArgumentError) as caught:
        make()
    assert caught.value.argument == argument
    assert text in str(caught.value)


def test_paths_are_made_plain() -> None:
    policy = START.allow_read("/data/../etc//x", "/data", "/data/deeper")
    assert policy.readable == ("/data", "/etc/x")
