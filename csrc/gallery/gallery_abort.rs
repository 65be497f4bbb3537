//! The crash gallery, Rust part for `-C panic=abort`: the same panic as in `gallery.rs`, in a
//! library whose panics never unwind. A crate has one panic strategy, hence the file of its own.

#[no_mangle]
pub extern "C-unwind" fn gallery_rust_panic_abort() {
    panic!("a panic that aborts");
}
