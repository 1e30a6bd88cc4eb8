//! The program as it is started by people and by service managers: exit codes, and one clear line for what
//! is wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callkit-server"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CALLKIT_") {
            command.env_remove(name);
        }
    }
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The one line on stderr of a run that ends with `code` and says nothing on stdout.
fn complaint(arguments: &[&str], code: i32) -> String {
    let output = output(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    stderr.trim_end().to_owned()
}

fn file(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("callkit.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_unknown_key_is_one_line_with_file_and_line_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "[http]\nport = 0\ncolour = \"red\"\n");
    for command in [
        &["serve", "--config", path.as_str()][..],
        &["config", "check", "--config", path.as_str()],
    ] {
        let line = complaint(command, 2);
        assert!(
            line.contains(&format!("{path}:3: ")) && line.contains("colour"),
            "{line}"
        );
    }
}

#[test]
fn an_unreadable_file_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let line = complaint(&["serve", "--config", missing.to_str().unwrap()], 2);
    assert!(
        line.contains("missing.toml") && line.contains("No such file"),
        "{line}"
    );
    let line = complaint(
        &["config", "show", "--config", folder.path().to_str().unwrap()],
        2,
    );
    assert!(line.contains("directory"), "{line}");
}

#[test]
fn a_value_that_would_not_work_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "[http]\nbind = \"0.0.0.0\"\n");
    let line = complaint(&["serve", "--config", &path], 2);
    assert!(line.contains("http.bind") && line.contains("https"), "{line}");
}

#[test]
fn unknown_arguments_are_refused() {
    for arguments in [
        &["serve", "--prot", "1"][..],
        &["dance"],
        &[],
        &["demo", "--port", "70000"],
    ] {
        assert_eq!(output(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_busy_http_port_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = folder.path().join("data");
    let line = complaint(
        &[
            "demo",
            "--port",
            &port,
            "--media-port",
            "0",
            "--data",
            data.to_str().unwrap(),
        ],
        1,
    );
    assert!(
        line.contains(&format!("127.0.0.1:{port}")) && line.contains("in use"),
        "{line}"
    );
    assert!(!data.exists(), "a server that cannot start touches no data");
}

#[test]
fn a_busy_media_port_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = complaint(
        &[
            "demo",
            "--port",
            "0",
            "--media-port",
            &port,
            "--data",
            text(folder.path()),
        ],
        1,
    );
    assert!(line.contains(&port) && line.contains("in use"), "{line}");
}

#[test]
fn a_data_folder_that_cannot_be_used_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "not a folder").unwrap();
    let line = complaint(
        &[
            "demo",
            "--port",
            "0",
            "--media-port",
            "0",
            "--data",
            text(&blocked),
        ],
        1,
    );
    assert!(line.contains(text(&blocked)), "{line}");
}

#[test]
fn the_configuration_is_shown_without_secrets_and_with_where_values_come_from_applied() {
    let folder = tempfile::tempdir().unwrap();
    let hash = String::from_utf8(hash_of("correct horse\n").stdout).unwrap();
    let hash = hash.trim_end();
    let user = format!("[[staff.users]]\nid = \"irina\"\nname = \"Irina\"\npassword_hash = \"{hash}\"\n");
    let path = file(&folder, &format!("[http]\nport = 1000\n{user}"));
    let shown = program()
        .args(["config", "show", "--config", &path, "--media-port", "41000"])
        .env("CALLKIT_HTTP__PORT", "2000")
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("port = 2000") && shown.contains("port = 41000"),
        "{shown}"
    );
    assert!(shown.contains("[secret]") && !shown.contains("argon2"), "{shown}");
    assert_eq!(
        output(&["config", "check", "--config", &path]).status.code(),
        Some(0)
    );
}

#[test]
fn a_wrong_variable_is_one_line() {
    let run = program()
        .args(["config", "check"])
        .env("CALLKIT_HTTP__PROT", "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr.lines().count() == 1 && stderr.contains("CALLKIT_HTTP__PROT"),
        "{stderr}"
    );
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_slice(&output(&["config", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["http"].is_object());
}

fn hash_of(password: &str) -> Output {
    let mut child = program()
        .arg("hash-password")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(password.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_password_is_hashed_from_standard_input_and_nothing_is_not_a_password() {
    let hash = String::from_utf8(hash_of("correct horse").stdout).unwrap();
    assert!(hash.starts_with("$argon2id$") && hash.ends_with('\n'), "{hash}");
    assert_ne!(
        hash_of("correct horse").stdout,
        hash.as_bytes(),
        "each hash has a salt of its own"
    );
    assert_eq!(hash_of("\n").status.code(), Some(1));
    assert_eq!(hash_of(&"x".repeat(2000)).status.code(), Some(1));
}

/// A running demo; killed if a test forgets it.
struct Demo {
    child: Child,
    lines: Vec<String>,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut child = program()
            .args(["demo", "--port", "0", "--media-port", "0", "--data", text(data)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().is_some_and(|line| line.starts_with('{')) {
                break;
            }
        }
        Self { child, lines }
    }

    fn ready(&self) -> serde_json::Value {
        let last = self.lines.last().expect("the server ended before it was ready");
        serde_json::from_str(last).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Already ended is what most tests want.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_demo_says_where_to_go_and_then_that_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path());
    let ready = demo.ready();
    assert_eq!(ready["ready"], true);
    let console = ready["console"].as_str().unwrap();
    assert!(
        console.starts_with("http://127.0.0.1:") && console.ends_with("/console/"),
        "{console}"
    );
    let said = demo.lines.join("\n");
    for needed in [
        console,
        ready["customer"].as_str().unwrap(),
        "irina",
        "oleg",
        "password",
        "Ctrl-C",
    ] {
        assert!(said.contains(needed), "{needed} is not said:\n{said}");
    }
}

#[cfg(unix)]
#[test]
fn the_demo_ends_cleanly_when_asked_to_and_can_be_started_again() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-INT", "-TERM"] {
        let mut demo = Demo::start(folder.path());
        assert_eq!(demo.ready()["ready"], true);
        let id = demo.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(demo.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_a_killed_one_leaves_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Demo::start(folder.path());
    let line = complaint(
        &[
            "demo",
            "--port",
            "0",
            "--media-port",
            "0",
            "--data",
            text(folder.path()),
        ],
        1,
    );
    assert!(line.contains("in use by another server"), "{line}");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(Demo::start(folder.path()).ready()["ready"], true);
}
