"""Real work through two libraries that nearly every system has: libz and libsqlite3.

Their headers are not needed: the declarations below are the part of each interface that is used.
"""

from __future__ import annotations

import random
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aionif
from aionif.cli._calls import Row, Show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("WORK", "Work")

_MIB = 1 << 20
_REPEATS = 8
_TIMEOUT = 60.0  # seconds; nothing here takes one

_LIBZ = """
unsigned long compressBound(unsigned long length);
int compress2(unsigned char *to, unsigned long *to_length,
              const unsigned char *from, unsigned long length, int level);
int uncompress(unsigned char *to, unsigned long *to_length,
               const unsigned char *from, unsigned long length);
unsigned long crc32(unsigned long crc, const unsigned char *data, unsigned int length);
"""

_SQLITE = """
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
int sqlite3_open(const char *name, sqlite3 **db);
int sqlite3_close(sqlite3 *db);
int sqlite3_exec(sqlite3 *db, const char *sql, void *callback, void *context, char **error);
int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int length,
                       sqlite3_stmt **statement, const char **tail);
int sqlite3_bind_int64(sqlite3_stmt *statement, int index, long long value);
int sqlite3_bind_text(sqlite3_stmt *statement, int index,
                      const char *text, int length, void *destructor);
int sqlite3_step(sqlite3_stmt *statement);
int sqlite3_reset(sqlite3_stmt *statement);
const unsigned char *sqlite3_column_text(sqlite3_stmt *statement, int column);
long long sqlite3_column_int64(sqlite3_stmt *statement, int column);
double sqlite3_column_double(sqlite3_stmt *statement, int column);
int sqlite3_finalize(sqlite3_stmt *statement);
"""

_SQLITE_OK, _SQLITE_ROW, _SQLITE_DONE = 0, 100, 101
_ROWS = 1000
_CITIES = ("Bergen", "Porto", "Tartu", "Utrecht")


class _WrongResultError(Exception):
    """A library answered something else than it should have."""


def _check(found: object, expected: object) -> None:
    if found != expected:
        raise _WrongResultError(f"{found!r} came back, not {expected!r}")


@dataclass(frozen=True, slots=True)
class Work:
    """Work with one library. package: of Debian, for a machine that does not have it."""

    library: str
    package: str
    declarations: str
    perform: Callable[[aionif.NifLibrary, aionif.NifExecutor, Show], Awaitable[None]]

    def load(self) -> aionif.NifLibrary | Row:
        """Return the library, or a row that says what to install.

        Parsing declarations takes milliseconds of Python, so this is done before the loop runs.
        """
        try:
            return aionif.load(self.library, self.declarations)
        except aionif.NifArgumentError:
            return Row(call=self.library, what=f"skipped, not found: apt install {self.package}")


async def _timed(show: Show, call: str, work: Callable[[], Awaitable[str]]) -> bool:
    """Show a row for `work`, which returns what happened. True if all went well."""
    started = time.perf_counter()
    try:
        what = await work()
    except (aionif.NifError, _WrongResultError) as error:
        seconds = time.perf_counter() - started
        name = type(error).__name__
        show(Row(call=call, what=str(error), error=name, seconds=seconds, problem="no error"))
        return False
    show(Row(call=call, what=what, seconds=time.perf_counter() - started))
    return True


# ---- zlib ----


def _text() -> bytes:
    """Megabytes that can be compressed about as well as prose."""
    source = random.Random(7)  # noqa: S311 - the same text on every run
    words = [source.randbytes(source.randint(2, 9)).hex().encode() for _ in range(500)]
    return b" ".join(source.choices(words, k=_MIB // 12)) * _REPEATS


_DATA = _text()  # at import, as it takes long enough to hold up an event loop


async def _compress(libz: aionif.NifLibrary, executor: aionif.NifExecutor, show: Show) -> None:
    ffi, data = libz.ffi, _DATA
    bound = await executor.execute_nif(libz.compressBound, len(data))
    packed, packed_length = ffi.new("unsigned char[]", bound), ffi.new("unsigned long *", bound)
    plain, plain_length = ffi.new("unsigned char[]", len(data)), ffi.new("unsigned long *")
    plain_length[0] = len(data)

    async def compress() -> str:
        status = await executor.execute_nif(
            libz.compress2, packed, packed_length, data, len(data), 6, timeout=_TIMEOUT
        )
        _check(status, 0)
        return f"{len(data) / _MIB:.1f} MiB became {packed_length[0] / _MIB:.1f} MiB"

    async def uncompress() -> str:
        status = await executor.execute_nif(
            libz.uncompress, plain, plain_length, packed, packed_length[0], timeout=_TIMEOUT
        )
        _check((status, plain_length[0]), (0, len(data)))
        _check(ffi.buffer(plain) == data, expected=True)
        return f"{len(data) / _MIB:.1f} MiB again, equal to the original"

    async def crc32() -> str:
        checksum = await executor.execute_nif(libz.crc32, 0, data, len(data), timeout=_TIMEOUT)
        _check(checksum, zlib.crc32(data))
        return f"{checksum:#010x}, as the zlib module of Python has it"

    if await _timed(show, "zlib compress2", compress):
        await _timed(show, "zlib uncompress", uncompress)
    await _timed(show, "zlib crc32", crc32)


# ---- SQLite ----


class _Database:
    """A database in memory. Its handle stays with one worker, through a session."""

    def __init__(self, sqlite: aionif.NifLibrary, session: aionif.NifSession) -> None:
        self.sqlite = sqlite
        self.call = session.execute_nif
        self.handle: Any = None

    async def open(self) -> str:
        place = self.sqlite.ffi.new("sqlite3 **")
        _check(await self.call(self.sqlite.sqlite3_open, b":memory:", place), _SQLITE_OK)
        self.handle = place[0]
        await self._run(b"CREATE TABLE readings (city TEXT, value INTEGER)")
        return "a table in memory, kept with one worker by a session"

    async def insert(self) -> str:
        sqlite = self.sqlite
        copied = sqlite.ffi.cast("void *", -1)  # SQLITE_TRANSIENT
        await self._run(b"BEGIN")
        statement = await self._prepare(b"INSERT INTO readings VALUES (?, ?)")
        for number in range(_ROWS):
            city = _CITIES[number % len(_CITIES)].encode()
            await self.call(sqlite.sqlite3_bind_text, statement, 1, city, len(city), copied)
            await self.call(sqlite.sqlite3_bind_int64, statement, 2, number)
            _check(await self.call(sqlite.sqlite3_step, statement), _SQLITE_DONE)
            await self.call(sqlite.sqlite3_reset, statement)
        _check(await self.call(sqlite.sqlite3_finalize, statement), _SQLITE_OK)
        await self._run(b"COMMIT")
        return f"{_ROWS:,} rows in a transaction, {_ROWS * 4 + 4:,} native calls"

    async def query(self) -> str:
        sqlite = self.sqlite
        statement = await self._prepare(
            b"SELECT city, count(*), avg(value) FROM readings GROUP BY city ORDER BY city"
        )
        found = []
        while (status := await self.call(sqlite.sqlite3_step, statement)) == _SQLITE_ROW:
            city = await self.call(sqlite.sqlite3_column_text, statement, 0)
            count = await self.call(sqlite.sqlite3_column_int64, statement, 1)
            mean = await self.call(sqlite.sqlite3_column_double, statement, 2)
            found.append((sqlite.ffi.string(city).decode(), count, mean))
        _check(status, _SQLITE_DONE)
        _check(await self.call(sqlite.sqlite3_finalize, statement), _SQLITE_OK)
        _check(found, _expected_groups())
        return "; ".join(f"{city} {count} x {mean:g}" for city, count, mean in found)

    async def close(self) -> str:
        _check(await self.call(self.sqlite.sqlite3_close, self.handle), _SQLITE_OK)
        return "nothing was left open"

    async def _run(self, sql: bytes) -> None:
        null = self.sqlite.ffi.NULL
        status = await self.call(self.sqlite.sqlite3_exec, self.handle, sql, null, null, null)
        _check(status, _SQLITE_OK)

    async def _prepare(self, sql: bytes) -> Any:
        ffi = self.sqlite.ffi
        place = ffi.new("sqlite3_stmt **")
        prepare = self.sqlite.sqlite3_prepare_v2
        _check(await self.call(prepare, self.handle, sql, len(sql), place, ffi.NULL), _SQLITE_OK)
        return place[0]


def _expected_groups() -> list[tuple[str, int, float]]:
    groups = [(city, range(start, _ROWS, len(_CITIES))) for start, city in enumerate(_CITIES)]
    return [(city, len(values), sum(values) / len(values)) for city, values in groups]


async def _query(sqlite: aionif.NifLibrary, executor: aionif.NifExecutor, show: Show) -> None:
    async with executor.session() as session:
        database = _Database(sqlite, session)
        _ = (
            await _timed(show, "sqlite3_open", database.open)
            and await _timed(show, "INSERT", database.insert)
            and await _timed(show, "SELECT ... GROUP BY", database.query)
            and await _timed(show, "sqlite3_close", database.close)
        )


WORK = (
    Work("libz.so.1", "zlib1g", _LIBZ, _compress),
    Work("libsqlite3.so.0", "libsqlite3-0", _SQLITE, _query),
)
