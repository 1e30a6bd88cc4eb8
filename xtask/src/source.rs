//! Rules of the sources that no compiler knows: each file says what it owns, stays short, and holds no path of the
//! machine it was written on.

use std::path::Path;

use crate::steps::{Done, Failure, program, read, root};

/// Longest Rust file, lines without its tests.
const MAX_LINES: usize = 900;
/// Folders of single machines. Written in pieces, so that this file passes its own check.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
];
/// Read for machine paths: text that people write.
const TEXT: &[&str] = &[
    "rs", "toml", "md", "js", "mjs", "html", "css", "json", "sql", "sh", "yml", "yaml",
];

/// Checks all files that git knows, or would take.
pub(crate) fn check() -> Done {
    let root = root();
    let list = read(&mut program(
        "git",
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        &root,
    ))?;
    let mut broken = Vec::new();
    let mut checked = 0_usize;
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or("");
        let is_script = name.starts_with(".ci/");
        if !TEXT.contains(&extension) && !is_script {
            continue;
        }
        // A file deleted in the work tree is still in the index.
        let Ok(bytes) = std::fs::read(root.join(name)) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            broken.push(format!("{name} is not UTF-8"));
            continue;
        };
        checked += 1;
        if extension == "rs" {
            broken.extend(rust(name, &text));
        }
        if let Some(line) = machine_path(&text) {
            broken.push(format!("{name}:{line} holds a path of one machine"));
        }
    }
    if broken.is_empty() {
        println!("{checked} files");
        return Ok(());
    }
    Err(Failure::new(broken.join("\n  ")))
}

fn rust(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !text.starts_with("//!") {
        broken.push(format!("{name} does not begin with `//!` and what it owns"));
    }
    let lines = lines_without_tests(text);
    let is_test_file = name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("/tests.rs");
    if lines > MAX_LINES && !is_test_file {
        broken.push(format!(
            "{name} has {lines} lines without its tests, more than {MAX_LINES}"
        ));
    }
    broken
}

/// Lines before the test module at the end of the file.
fn lines_without_tests(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count()
}

fn machine_path(text: &str) -> Option<usize> {
    text.lines()
        .position(|line| MACHINE_PATHS.iter().any(|path| names_path(line, path)))
        .map(|at| at + 1)
}

/// Whether the path stands in the line on its own, not as the middle of a URL or of a relative path.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '}' | '*' | ')'))
    })
}

#[cfg(test)]
mod tests {
    use super::{lines_without_tests, machine_path, rust};

    #[test]
    fn a_path_of_one_machine_is_found_and_a_url_is_not() {
        let home = concat!("/ho", "me/anna/x");
        assert_eq!(machine_path(&format!("a\nlet p = \"{home}\";")), Some(2));
        assert_eq!(machine_path(&format!("https://example.com{home}")), None);
    }

    #[test]
    fn the_test_module_does_not_count_as_length() {
        let text = format!(
            "//! Own.\nfn a() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "// x\n".repeat(2000)
        );
        assert_eq!(lines_without_tests(&text), 2);
        assert!(rust("a/src/b.rs", &text).is_empty());
    }

    #[test]
    fn a_file_must_say_what_it_owns() {
        assert_eq!(rust("a/src/b.rs", "fn a() {}\n").len(), 1);
    }
}
