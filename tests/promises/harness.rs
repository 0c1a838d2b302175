//! The harness keeps its own promises: what the other files are built on is proven first.

mod clean_up;
mod failures;
mod missing;
mod views;

use std::path::{Path, PathBuf};

/// This test binary, to be run again as a child, even if it has been built anew since it was started.
pub(crate) fn this_binary() -> PathBuf {
    // The link leads to the file itself, whatever its name leads to by now.
    let link = Path::new("/proc/self/exe");
    if link.exists() { link.to_owned() } else { std::env::current_exe().unwrap_or_else(|e| panic!("{e}")) }
}
