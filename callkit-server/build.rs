//! Rebuilds the program when a file of the pages is added or removed: `include_dir!` sees changes of known
//! files only.

fn main() {
    println!("cargo::rerun-if-changed=web");
    println!("cargo::rerun-if-changed=migrations");
}
