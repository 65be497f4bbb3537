// The crash gallery, C++ part: exceptions of every kind that leave a function with a C interface,
// and the ways to end in std::terminate. The rules of gallery.c hold here too. What an exception
// object costs is given back by whoever catches it, which for most of these is the caller.

#include <atomic>
#include <cstdint>
#include <exception>
#include <stdexcept>

#define SPECIMEN extern "C" __attribute__((noinline, visibility("default")))

namespace {

struct Custom {
    int code;
};

struct ThrowsWhenDestroyed {
    ~ThrowsWhenDestroyed() noexcept(false) { throw std::runtime_error("thrown by a destructor"); }
};

struct WhatCrashes : std::exception {
    const char *what() const noexcept override {
        std::uintptr_t address = 0x80;
        __asm__ volatile("" : "+r"(address));
        return *reinterpret_cast<const char *volatile *>(address);
    }
};

std::atomic<int> destroyed{0};

struct Counted {
    ~Counted() { destroyed++; }
};

__attribute__((noinline)) void throw_below(int frames) {
    Counted counted;
    if (frames == 1)
        throw std::runtime_error("thrown below three destructors");
    throw_below(frames - 1);
}

// The compiler sees through a noexcept function that does nothing but throw, and warns.
__attribute__((noinline)) void throw_if(bool yes) {
    if (yes)
        throw std::runtime_error("thrown in a noexcept function");
}

__attribute__((noinline)) void promise_not_to_throw(bool yes) noexcept { throw_if(yes); }

} // namespace

SPECIMEN void gallery_cxx_std_exception() { throw std::runtime_error("message"); }

SPECIMEN void gallery_cxx_int() { throw 42; }

SPECIMEN void gallery_cxx_cstring() { throw "text"; }

SPECIMEN void gallery_cxx_custom() { throw Custom{42}; }

SPECIMEN void gallery_cxx_rethrow() {
    try {
        throw std::logic_error("rethrown");
    } catch (const std::exception &) {
        throw;
    }
}

// The destructor runs while the first exception is on its way to the handler in this very function,
// so this ends in std::terminate whether or not the caller would catch anything.
SPECIMEN void gallery_cxx_throwing_destructor() {
    try {
        ThrowsWhenDestroyed thrower;
        throw std::runtime_error("thrown first");
    } catch (const std::exception &) {
    }
}

SPECIMEN void gallery_cxx_noexcept() { promise_not_to_throw(true); }

// Where something catches, each call adds 3 to gallery_cxx_destroyed(); where nothing does, the
// C++ runtime terminates without unwinding at all.
SPECIMEN void gallery_cxx_nested_cleanup() { throw_below(3); }

SPECIMEN int gallery_cxx_destroyed() { return destroyed; }

SPECIMEN void gallery_cxx_what_crashes() { throw WhatCrashes(); }

SPECIMEN int gallery_cxx_caught() {
    try {
        throw_if(true);
    } catch (const std::exception &) {
        return 7;
    }
    return 0;
}
