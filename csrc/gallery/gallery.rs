//! The crash gallery, Rust part: panics that leave a function, panics that may not, and the faults
//! that only `unsafe` makes possible. The rules of `gallery.c` hold here too.
//!
//! `extern "C-unwind"` lets a panic pass to the caller; `extern "C"` turns it into an abort.

use std::hint::black_box;
use std::panic::{catch_unwind, panic_any};

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_panic_literal() {
    panic!("a literal reason");
}

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_panic_format() {
    panic!("a formatted reason: {}", black_box(42));
}

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_index_out_of_bounds() -> i32 {
    let numbers = black_box([1, 2, 3]);
    numbers[black_box(7)]
}

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_panic_any() {
    panic_any(42i32);
}

#[no_mangle]
pub extern "C" fn gallery_rust_extern_c() {
    panic!("a panic in an extern \"C\" function");
}

/// # Safety
/// There is none.
#[no_mangle]
pub unsafe extern "C-unwind" fn gallery_rust_segv() {
    black_box(0x90 as *mut i32).write_volatile(1);
}

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_caught() -> i32 {
    match catch_unwind(|| panic!("a panic that stays inside")) {
        Ok(()) => 0,
        Err(_) => 7,
    }
}

fn descend(depth: u32, above: &[u32; 32]) -> u32 {
    let frame = black_box([depth; 32]);
    if depth == u32::MAX {
        return 0;
    }
    descend(depth + 1, &frame) + above[0]
}

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_overflow_recursion() -> u32 {
    descend(1, &[0; 32])
}
