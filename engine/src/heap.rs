//! Memory that was freed but not given back to the system.

/// Gives it back, where the C library keeps it: after a network was dropped, and before the next one
/// is loaded.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's function of this signature, which may be called at any time from any thread.
        unsafe { malloc_trim(0) };
    }
}
