//! Checks of the web code: types by tsc, unit tests by node, whole calls in real browsers.

use std::path::{Path, PathBuf};

use crate::steps::{Done, Failure, call, program, root, target_dir};

fn e2e() -> PathBuf {
    root().join("tests/e2e")
}

/// `tsc --checkJs` over what the browser runs. The sources are the program; nothing is emitted.
pub(crate) fn types() -> Done {
    let tsc = e2e().join("node_modules/typescript/bin/tsc");
    let project = root().join("callkit-server/web/tsconfig.json");
    call(
        program("node", &[], &root())
            .arg(tsc)
            .arg("--noEmit")
            .arg("--project")
            .arg(project),
    )
}

/// Unit tests of the web code.
pub(crate) fn units() -> Done {
    let files = test_files(&root().join("callkit-server/web/test"))?;
    call(
        program(
            "node",
            &["--test", "--test-reporter=spec"],
            &root().join("callkit-server/web"),
        )
        .args(files),
    )
}

/// The browser tests: all, or the named files.
pub(crate) fn browsers(names: &[&str]) -> Done {
    let folder = e2e();
    let mut files = test_files(&folder)?;
    if !names.is_empty() {
        for name in names {
            if !files.iter().any(|file| is_named(file, name)) {
                return Err(Failure::new(format!("there is no tests/e2e/{name}.test.mjs")));
            }
        }
        files.retain(|file| names.iter().any(|name| is_named(file, name)));
    }
    let media = target_dir().join("e2e-media");
    // How long a test waits for what it wants to see is no claim of speed, and build machines share their cores.
    let patience = std::env::var("CALLKIT_E2E_PATIENCE").unwrap_or_else(|_| "3".to_owned());
    call(
        program(
            "node",
            &["--test", "--test-concurrency=1", "--test-reporter=spec"],
            &folder,
        )
        .args(files)
        .env("CALLKIT_BIN", server("debug"))
        .env("CALLKIT_LINK", binary("debug", "link"))
        .env("CALLKIT_E2E_PATIENCE", patience)
        .env("CALLKIT_E2E_MEDIA", media),
    )
}

/// Where cargo puts the server's binary.
pub(crate) fn server(profile: &str) -> PathBuf {
    binary(profile, "callkit-server")
}

fn binary(profile: &str, name: &str) -> PathBuf {
    target_dir()
        .join(profile)
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn is_named(file: &Path, name: &str) -> bool {
    file.file_name()
        .and_then(|f| f.to_str())
        .is_some_and(|f| f.strip_suffix(".test.mjs") == Some(name))
}

/// The test files of a folder in the order of their names. A folder without any is an error: it would pass unseen.
fn test_files(folder: &Path) -> Done<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_str().is_some_and(|p| p.ends_with(".test.mjs")))
        .collect();
    files.sort();
    if files.is_empty() {
        Err(Failure::new(format!("{} has no tests", folder.display())))
    } else {
        Ok(files)
    }
}
