"""Filters: the compiler against a plain reading of the table, and against libseccomp."""

from __future__ import annotations

import random
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionif.filters import profiles
from aionif.filters.bpf import (
    ALLOW,
    AUDIT_ARCH,
    KILL,
    OWN_PID,
    Call,
    Clause,
    Instruction,
    Test,
    bind,
    compile_filter,
    decode,
    encode,
    errno,
    evaluate,
    relocations,
    trap,
)
from aionif.filters.profiles import FSTAT, GRANTS, MARK, PROFILES, program_of
from aionif.filters.syscalls import LAST, name_of, numbers
from tests.support import libseccomp
from tests.support.libseccomp import PID, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aionif.system.processor import Machine

Test.__test__ = False  # type: ignore[attr-defined] # pytest would take it for one of its own

MACHINES: tuple[Machine, ...] = ("x86_64", "aarch64")
X32 = 0x40000000
POLICIES = {
    **PROFILES,
    "network": ("base", "events", "network"),
    "programs": ("base", "files", "code", "events", "fork", "exec"),
    "everything": tuple(GRANTS),
}


# ---- what a table means, read aloud ----


def holds(test: Test, arguments: tuple[int, ...]) -> bool:
    value = PID if test.value == OWN_PID else test.value
    return (arguments[test.argument] & test.mask == value) is not test.unless


def decide(clauses: tuple[Clause, ...], arguments: tuple[int, ...]) -> int:
    return next(
        clause.outcome for clause in clauses if all(holds(test, arguments) for test in clause.tests)
    )


words = st.one_of(
    st.sampled_from([0, 1, 2, PID, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
outcomes = st.sampled_from([ALLOW, KILL, errno(EPERM), errno(ENOSYS), trap(MARK), trap(0)])


@st.composite
def one_test(draw: st.DrawFn) -> Test:
    mask = draw(words.filter(bool))
    return Test(draw(st.integers(0, 5)), mask, draw(words) & mask, draw(st.booleans()))


clauses_of_one = st.builds(
    lambda first, last: (*first, Clause(last)),
    st.lists(st.builds(Clause, outcomes, st.lists(one_test(), max_size=3).map(tuple))),
    outcomes,
)


@given(
    st.dictionaries(st.integers(0, 700), clauses_of_one, min_size=1, max_size=60),
    outcomes,
    st.lists(st.tuples(*[words] * 6), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=150)
def test_a_program_decides_as_its_table_reads(
    table: dict[int, tuple[Clause, ...]], default: int, samples: list[tuple[int, ...]]
) -> None:
    program = bind(compile_filter("x86_64", table, default), PID)
    for number in {*table, 0, 350, 701, X32 - 1}:
        for arguments in samples:
            expected = decide(table.get(number, (Clause(default),)), arguments)
            assert evaluate(program, Call(number, arguments)) == expected


def test_a_far_half_is_reached() -> None:
    wide = tuple(Clause(ALLOW, (Test(i % 6, 0xFF, i),)) for i in range(100))
    table = {number: (*wide, Clause(errno(number))) for number in range(5)}
    program = compile_filter("x86_64", table, KILL)
    assert len(program) > 1000
    for number in range(5):
        none = (200,) * 6
        assert evaluate(program, Call(number, none)) == errno(number)
    assert evaluate(program, Call(5)) == KILL


# ---- the profiles ----


def table_of(machine: Machine, policy: str) -> dict[int, tuple[Clause, ...]]:
    """Return the table that `program_of` compiles."""
    seen = {}

    def keep(_: Machine, table: dict[int, tuple[Clause, ...]], default: int) -> list[Instruction]:
        seen.update(table)
        assert default == errno(ENOSYS)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "compile_filter", keep)
        program_of(machine, POLICIES[policy])
    return seen


def samples_for(clauses: tuple[Clause, ...], source: random.Random) -> Iterator[tuple[int, ...]]:
    """Arguments on both sides of every test, alone and together, with rubbish around."""
    values: list[set[int]] = [{0, (1 << 64) - 1} for _ in range(6)]
    for clause in clauses:
        for test in clause.tests:
            value = PID if test.value == OWN_PID else test.value
            near = {value, value | ~test.mask, value ^ (test.mask & -test.mask), value | 1 << 40}
            near |= {value ^ 1 << bit for bit in range(64) if test.mask >> bit & 1}
            values[test.argument] |= {word & (1 << 64) - 1 for word in near}
    pools = [sorted(pool) for pool in values]
    if any(clause.tests for clause in clauses):
        for _ in range(60):
            yield tuple(source.choice(pool) for pool in pools)
    for clause in clauses:
        exact = [source.choice((0, 7)) for _ in range(6)]
        for test in clause.tests:
            exact[test.argument] = PID if test.value == OWN_PID else test.value
        yield tuple(exact)
    yield tuple(source.getrandbits(64) for _ in range(6))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_profile_decides_as_it_reads(machine: Machine, policy: str) -> None:
    source = random.Random(policy)
    table = table_of(machine, policy)
    program = bind(program_of(machine, POLICIES[policy]), PID)
    assert len(program) < 700, "the kernel takes 4096, a seal 1024"
    assert set(table) == set(numbers(machine).values())
    for number, clauses in table.items():
        for arguments in samples_for(clauses, source):
            call = Call(number, arguments, machine)
            assert evaluate(program, call) == decide(clauses, arguments), call


def by_fallback(
    machine: Machine, table: dict[int, tuple[Clause, ...]]
) -> dict[int, dict[str, list[Clause]]]:
    """The clauses before the last, by what the last one says.

    libseccomp has one default for everything, and can't say "these arguments, or else that errno".
    """
    groups: dict[int, dict[str, list[Clause]]] = {}
    for name, number in numbers(machine).items():
        *some, last = table[number]
        if libseccomp.knows(machine, name):
            own = {clause.tests: clause for clause in reversed(some)}  # the first one counts
            groups.setdefault(last.outcome, {})[name] = list(own.values())
    return groups


@pytest.mark.skipif(libseccomp.library() is None, reason="libseccomp is not installed")
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("policy", POLICIES)
def test_libseccomp_decides_the_same(machine: Machine, policy: str) -> None:
    source = random.Random(policy)
    table = table_of(machine, policy)
    program = bind(program_of(machine, POLICIES[policy]), PID)
    compared = 0
    for fallback, rules in by_fallback(machine, table).items():
        oracle = libseccomp.compile_table(machine, rules, fallback)
        for name in rules:
            number = numbers(machine)[name]
            for arguments in samples_for(table[number], source):
                call = Call(number, arguments, machine)
                assert plain(evaluate(program, call)) == evaluate(oracle, call), (name, arguments)
                compared += 1
    assert compared > 1000


@pytest.mark.skipif(libseccomp.library() is None, reason="libseccomp is not installed")
def test_libseccomp_turns_the_same_strangers_away() -> None:
    ours = program_of("x86_64", PROFILES["compute"])
    oracle = libseccomp.compile_table("x86_64", {"read": [Clause(ALLOW)]}, errno(ENOSYS))
    for number in (0, 1, 59, X32, X32 + 1, X32 + 512, X32 * 2):
        for machine in MACHINES:
            if machine == "x86_64" and number < X32:
                continue
            call = Call(number, machine=machine)
            assert evaluate(ours, call) == evaluate(oracle, call) == KILL


def test_numbers_that_have_no_name_do_not_exist() -> None:
    program = program_of("x86_64", PROFILES["compute"])
    for number in (*range(336, 424), *range(LAST + 1, LAST + 200), X32 - 1):
        assert name_of(number) is None
        assert evaluate(program, Call(number)) == errno(ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_wider_policy_allows_all_that_a_narrower_one_does(machine: Machine) -> None:
    source = random.Random(1)
    narrow, wide = table_of(machine, "compute"), table_of(machine, "everything")
    allowed = 0
    for number, clauses in narrow.items():
        for arguments in samples_for(clauses, source):
            if decide(clauses, arguments) == ALLOW:
                allowed += 1
                assert decide(wide[number], arguments) == ALLOW
    assert allowed > 100


def test_sockets_of_other_families_are_not_there_rather_than_fatal() -> None:
    program = program_of("x86_64", POLICIES["network"])
    socket = numbers("x86_64")["socket"]
    assert evaluate(program, Call(socket, (2, 1 | 0o2000000, 0))) == ALLOW
    assert evaluate(program, Call(socket, (2, 3, 0))) == errno(EAFNOSUPPORT)  # raw
    assert evaluate(program, Call(socket, (1, 1, 0))) == errno(EAFNOSUPPORT)  # AF_UNIX


def test_denied_wins_over_granted_and_allowed_over_arguments() -> None:
    calls = numbers("x86_64")
    program = program_of("x86_64", PROFILES["python"], ["ptrace", "mmap"], ["openat", "ioctl"])
    assert evaluate(program, Call(calls["ptrace"], (1, 2, 3))) == ALLOW
    assert evaluate(program, Call(calls["mmap"], (0, 4096, 7, 0x22))) == ALLOW
    assert evaluate(program, Call(calls["openat"])) == trap(MARK)
    assert evaluate(program, Call(calls["ioctl"])) == trap(MARK)


# ---- programs as data ----


def test_a_program_survives_its_encoding() -> None:
    program = program_of("x86_64", PROFILES["python"])
    own = relocations(program)
    assert own
    assert all(program[index].is_own_pid for index in own)
    assert decode(encode(bind(program, PID))) == [
        found._replace(is_own_pid=False) for found in bind(program, PID)
    ]
    assert len(encode(program)) == 8 * len(program)


def test_the_interpreter_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="0x7"):
        evaluate([Instruction(0x07, 0)], Call(0))


def test_the_marks_are_the_cores() -> None:
    from aionif.core.native import lib

    assert lib.AIONIF_SEAL_MARK == MARK
    assert trap(lib.AIONIF_SEAL_FSTAT) == FSTAT


def test_machines_differ_where_they_should() -> None:
    assert AUDIT_ARCH["x86_64"] != AUDIT_ARCH["aarch64"]
    tables: Mapping[Machine, dict[str, int]] = {machine: numbers(machine) for machine in MACHINES}
    common = {name for name in tables["aarch64"] if tables["aarch64"][name] >= 424}
    assert all(tables["x86_64"][name] == tables["aarch64"][name] for name in common)
    assert "open" not in tables["aarch64"]
