"""aionif.testing, as its users have it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aionif
from aionif import testing
from aionif.testing import assert_no_leaks, gallery, holdings, kinds, provoke, provoke_inline
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Of every outcome one or two, and none that taints the process of the other tests.
HARMLESS: dict[str, type[aionif.NifError]] = {
    "segv_read": aionif.NifSignal,
    "abort": aionif.NifSignal,
    "overflow_recursion": aionif.NifStackOverflow,
    "spin": aionif.NifTimeout,
    "cxx_std_exception": aionif.NifPanic,
}

DEADLY_INLINE = {"exit", "underscore_exit", "quick_exit", "malloc_locked", "sleep_forever"} & set(
    kinds()
)


def outcome_of(call: Callable[..., object], *arguments: object) -> str:
    try:
        call(*arguments)
    except aionif.NifArgumentError:
        return "refused"
    except aionif.NifError as error:
        return type(error).__name__
    return "result"


def provoke_all(backend: str) -> None:
    """In a child. Print the kinds that came to something else than the gallery lists."""
    for kind in sorted(kinds(), key=lambda kind: kind.endswith("_locked")):
        came_to = outcome_of(support.run_on, backend, provoke, kind)
        if came_to != gallery.SPECIMENS[kind].outcome:
            print(kind, came_to, flush=True)
    print("end", flush=True)
    os._exit(0)  # exit() would want locks that are held


def provoke_all_inline() -> None:
    for kind in kinds():
        came_to = outcome_of(provoke_inline, kind)
        if came_to != gallery.SPECIMENS[kind].outcome:
            print(kind, came_to, flush=True)
        if blocked := signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            print(kind, "left signals blocked:", blocked, flush=True)
    print("end", flush=True)
    os._exit(0)


# ---- provoke ----


@pytest.mark.parametrize("kind", HARMLESS)
def test_provoke_raises_what_the_kind_says(run: Callable[..., Any], kind: str) -> None:
    with pytest.raises(HARMLESS[kind]) as caught:
        run(provoke, kind)
    assert type(caught.value) is HARMLESS[kind]
    assert caught.value.function == gallery.SPECIMENS[kind].symbol
    assert caught.value.tier == "thread"


@pytest.mark.parametrize("kind", HARMLESS)
def test_provoke_inline_raises_what_the_kind_says(kind: str) -> None:
    with pytest.raises(HARMLESS[kind]) as caught:
        provoke_inline(kind)
    assert caught.value.tier == "inline"


def test_a_kind_may_return(run: Callable[..., Any]) -> None:
    assert run(provoke, "add") == 5
    assert provoke_inline("add") == 5


def test_every_kind_comes_to_what_the_gallery_lists(backend: str) -> None:
    done = support.run_child(provoke_all, backend)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_every_kind_inline_is_survived_or_refused() -> None:
    done = support.run_child(provoke_all_inline)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {"end"} | {f"{kind} refused" for kind in DEADLY_INLINE}


def exit_often() -> None:
    for _ in range(40):
        print(outcome_of(anyio.run, provoke, "exit"), flush=True)
    hashlib.sha384(b"OpenSSL, for one, is gone once its exit handler has run").digest()
    raise SystemExit(7)


@pytest.mark.skipif("exit" not in kinds(), reason="this libc's exit() holds a lock")
def test_exit_may_be_provoked_as_often_as_one_likes() -> None:
    done = support.run_child(exit_often)
    assert (done.returncode, done.stdout) == (7, "NifExit\n" * 40), done.stderr


def test_provoke_takes_an_executor_or_a_session(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with aionif.NifExecutor() as executor:
            with pytest.raises(aionif.NifSignal):
                await provoke("fpe", executor=executor)
            assert executor.statistics().failed == 1
            async with executor.session() as session:
                with pytest.raises(aionif.NifSignal):
                    await provoke("fpe", executor=session)
                assert session.broken

    run(main)


def test_a_timeout_can_be_given(run: Callable[..., Any]) -> None:
    with pytest.raises(aionif.NifTimeout) as caught:
        run(lambda: provoke("spin", timeout=0.02))
    assert caught.value.timeout == 0.02
    with pytest.raises(aionif.NifTimeout) as caught:
        provoke_inline("spin", timeout=0.02)
    assert caught.value.timeout == 0.02


# ---- kinds ----


def test_kinds_are_those_that_can_be_called_here() -> None:
    assert "segv_read" in kinds()
    assert set(kinds()) == {s.name for s in gallery.available() if s.outcome != "death"}


@pytest.mark.parametrize(
    ("kind", "problem", "remedy"),
    [
        ("segv_raed", "is not a kind of crash", "Did you mean 'segv_read'?"),
        ("zzz", "is not a kind of crash", "aionif.testing.kinds() lists them."),
        (7, "is not a kind of crash", "aionif.testing.kinds() lists them."),
        ("crash_in_thread", "would end this process", ""),
    ],
)
def test_a_kind_that_cannot_be_called_is_refused(kind: Any, problem: str, remedy: str) -> None:
    with pytest.raises(aionif.NifArgumentError, match=problem) as caught:
        asyncio.run(provoke(kind))
    assert (caught.value.argument, caught.value.value) == ("kind", kind)
    assert caught.value.remedy == remedy
    with pytest.raises(aionif.NifArgumentError, match=problem):
        provoke_inline(kind)


def test_a_kind_that_was_not_built_names_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["aionif"], "__path__", [])
    assert kinds() == ()
    with pytest.raises(aionif.NifArgumentError, match="install rustc"):
        provoke_inline("rust_segv")


def test_exit_is_refused_inline() -> None:
    with pytest.raises(aionif.NifArgumentError, match=r"exit\(\) is not stopped") as caught:
        provoke_inline("underscore_exit")
    assert caught.value.remedy == "Use provoke()."


# ---- assert_no_leaks ----


def test_crashes_leak_nothing(backend: str) -> None:
    async def main() -> None:
        async with aionif.NifExecutor(max_workers=2) as executor:
            for kind in ("segv_read", "spin_cooperative", "underscore_exit"):
                with contextlib.suppress(aionif.NifError):
                    await provoke(kind, executor=executor, timeout=0.02)

    assert_no_leaks(lambda: support.run_on(backend, main))


def test_a_descriptor_is_found() -> None:
    kept: list[int] = []
    try:
        with pytest.raises(AssertionError, match=r"leaked in 4 calls: 4 descriptors \(\d+ before"):
            assert_no_leaks(lambda: kept.append(os.dup(0)), times=4)
    finally:
        for descriptor in kept:
            os.close(descriptor)


def test_a_thread_is_found() -> None:
    """In a child: a thread of an earlier test could end meanwhile."""
    child = support.run_child(leak_threads)
    assert child.returncode == 0, child.stderr


def leak_threads() -> None:
    end = threading.Event()

    def start() -> None:
        threading.Thread(target=end.wait).start()

    try:
        with pytest.raises(AssertionError, match="2 threads"):
            assert_no_leaks(start, times=2)
    finally:
        end.set()


def test_a_mapping_is_found() -> None:
    kept: list[mmap.mmap] = []

    def map_two_pages() -> None:
        """Of different protection, so that the kernel can't join them with their neighbours."""
        protections = (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)
        kept.extend(mmap.mmap(-1, mmap.PAGESIZE, prot=each) for each in protections)

    with pytest.raises(AssertionError, match="mappings"):
        assert_no_leaks(map_two_pages)
    for mapping in kept:
        mapping.close()


def test_holdings_are_counts_of_this_process() -> None:
    """Something of an earlier test may end between the two looks, but not each time."""
    assert any(tuple(holdings()) == tuple(support.holdings()) for _ in range(100))


# ---- fixtures, in a project of their own ----


def run_pytest(directory: Path, tests: str) -> str:
    (directory / "conftest.py").write_text('pytest_plugins = ["aionif.testing"]\n')
    (directory / "test_project.py").write_text(
        "import asyncio, contextlib, pytest, structlog, aionif\n"
        "from aionif.testing import provoke\n" + textwrap.dedent(tests)
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-rA"]
    done = subprocess.run(
        [*command, directory],
        capture_output=True,
        text=True,
        check=False,
        timeout=support.DEADLINE,
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # they take long to import
    )
    return done.stdout


def test_fixtures_are_available(tmp_path: Path) -> None:
    output = run_pytest(
        tmp_path,
        """
        def test_executor(nif_executor, nif_log):
            async def main():
                async with nif_executor(max_workers=1) as executor:
                    with pytest.raises(aionif.NifSignal):
                        await provoke("segv_read", executor=executor)
                return executor
            executor = asyncio.run(main())
            assert executor.statistics().failed == 1
            (fields,) = (event.fields for event in nif_log if event.event == "nif_signal")
            assert fields["function"] == "gallery_segv_read"
            assert fields["signal"] == "SIGSEGV"

        def test_nothing_is_logged_on_success(nif_log):
            asyncio.run(provoke("add"))
            assert not [event for event in nif_log if event.event.startswith("nif_")]

        def test_leaks(assert_no_leaks):
            assert_no_leaks(lambda: asyncio.run(provoke("add")))
        """,
    )
    assert "3 passed" in output, output


def test_executors_left_open_or_short_of_threads_fail(tmp_path: Path) -> None:
    output = run_pytest(
        tmp_path,
        """
        async def lose_a_thread(executor):
            policy = aionif.NifPolicy(on_timeout="abandon")
            async with executor:
                with contextlib.suppress(aionif.NifTimeout):
                    lib = aionif.load("libc.so.6", "int usleep(unsigned microseconds);")
                    await executor.execute_nif(lib.usleep, 300000, timeout=0.01, policy=policy)

        def test_open(nif_executor):
            nif_executor()

        def test_lost(nif_executor):
            asyncio.run(lose_a_thread(nif_executor()))

        def test_lost_but_allowed(nif_executor):
            asyncio.run(lose_a_thread(nif_executor(allow_lost=1)))
        """,
    )
    assert "3 passed, 2 errors" in output, output
    assert "an executor was left open" in output
    assert "1 abandoned, 0 retired, where 0 may be" in output


@pytest.mark.parametrize("configured", [True, False])
def test_nif_log_does_not_depend_on_how_logging_is_set_up(
    tmp_path: Path, *, configured: bool
) -> None:
    setup = "structlog.configure(processors=[structlog.processors.JSONRenderer()])"
    output = run_pytest(
        tmp_path,
        f"""
        def test_log(nif_log, capsys, caplog):
            if {configured}:
                {setup}
            with contextlib.suppress(aionif.NifError):
                asyncio.run(provoke("cxx_std_exception"))
            (panic,) = (event for event in nif_log if event.event == "nif_panic")
            assert panic.fields["reason"] == "message"
            seen = capsys.readouterr().out if {configured} else caplog.text
            assert "nif_panic" in seen

        def test_no_longer(capsys):
            from aionif import log
            from aionif.loops import core_events
            assert core_events.warn is log.warn
            assert log.warn.__qualname__ == "warn"
        """,
    )
    assert "2 passed" in output, output


def test_notices_of_the_core_are_in_the_log(tmp_path: Path) -> None:
    output = run_pytest(
        tmp_path,
        """
        async def main(nif_log):
            policy = aionif.NifPolicy(on_timeout="abandon")
            library = aionif.load("libc.so.6", "int usleep(unsigned microseconds);")
            async with aionif.NifExecutor(policy=policy) as executor:
                with pytest.raises(aionif.NifTimeout):
                    await executor.execute_nif(library.usleep, 200_000, timeout=0.01)
                while "worker_abandoned" not in [event.event for event in nif_log]:
                    await asyncio.sleep(0.01)

        def test_log(nif_log):
            asyncio.run(asyncio.wait_for(main(nif_log), 30))
            assert "nif_timeout" in [event.event for event in nif_log]
        """,
    )
    assert "1 passed" in output, output


def test_it_can_be_used_without_pytest() -> None:
    code = """
    import sys
    sys.modules["pytest"] = None
    import aionif, aionif.testing
    try:
        aionif.testing.provoke_inline("fpe")
    except aionif.NifSignal as error:
        print(error.signal.name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=support.DEADLINE,
    )
    assert (done.returncode, done.stdout) == (0, "SIGFPE\n"), done.stderr


def test_what_is_public_is_documented() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
