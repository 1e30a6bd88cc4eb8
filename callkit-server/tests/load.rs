//! The load tester against a server in this process, and against one that it starts itself. Real time, on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Output, Stdio};

use callkit_core::redact::Secret;
use callkit_server::adapter::auth_static::PasswordHash;
use callkit_server::app::App;
use callkit_server::config::{self, Config};
use callkit_server::http::listener::{ListenLimits, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callkit-server"));
    command.arg("load").args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

fn json(folder: &TempDir) -> Value {
    serde_json::from_slice(&std::fs::read(folder.path().join("result.json")).unwrap()).unwrap()
}

/// A configuration with as many operators and supervisors as calls, and the file that tells the tester of them.
fn config(folder: &TempDir, calls: usize) -> Config {
    let hash = PasswordHash::of(&Secret::new("of-the-test".to_owned())).unwrap();
    let mut text = format!(
        "[storage]\npath = {:?}\n[media]\nport = 0\nbind = \"127.0.0.1\"\n",
        folder.path().join("data")
    );
    let mut accounts = String::new();
    for number in 0..calls {
        for role in ["operator", "supervisor"] {
            text.push_str(&format!(
                "[[staff.users]]\nid = \"{role}-{number}\"\nname = \"{role}\"\nrole = \"{role}\"\n\
                 queues = [\"support\"]\npassword_hash = \"{}\"\n",
                hash.expose()
            ));
            let mark = if role == "supervisor" { " supervisor" } else { "" };
            accounts.push_str(&format!("{role}-{number} of-the-test{mark}\n"));
        }
    }
    std::fs::write(folder.path().join("accounts.txt"), accounts).unwrap();
    config::parse(&text, folder.path(), &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_of_three_are_held_and_measured_at_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 2);
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0))
        .await
        .unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let limits = ListenLimits::of(&config.http);
    let app = App::builder(config)
        .with_port(address.port())
        .start()
        .await
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = app.router();
    let server = tokio::spawn(async move {
        serve(listener, router, limits, async {
            let _ = stopped.await;
        })
        .await;
    });

    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (url, staff, result) = (
        format!("http://{address}"),
        path("accounts.txt"),
        path("result.json"),
    );
    let pid = std::process::id().to_string();
    let output = tokio::task::spawn_blocking(move || {
        let own = [
            "--server",
            &url,
            "--staff",
            &staff,
            "--server-pid",
            &pid,
            "--json",
            &result,
        ];
        let test = [
            "--calls",
            "2",
            "--participants",
            "3",
            "--duration",
            "3",
            "--video-kbps",
            "300",
            "--max-loss",
            "1",
        ];
        load(&[&own[..], &test[..]].concat())
    })
    .await
    .unwrap();
    let (table, progress) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{progress}\n{table}");
    let result = json(&folder);
    assert_eq!(result["ok"], true);
    assert_eq!(result["calls"]["up"], 2);
    assert_eq!(result["calls"]["connected_at_end"], 6);
    assert_eq!(result["join_third"]["count"], 2, "{table}");
    let arrived = result["media"]["media_packets_arrived"].as_u64().unwrap();
    assert!(arrived > 1000, "{arrived} packets arrived\n{table}");
    assert!(
        result["media"]["delivered_percent"].as_f64().unwrap() > 95.0,
        "{table}"
    );
    assert!(result["media"]["delay"]["p50_ms"].as_f64().unwrap() > 0.0);
    assert!(result["server"]["rss_mib"].as_f64().unwrap() > 1.0);
    assert!(progress.lines().count() > 3, "{progress}");
    assert!(table.contains("verdict"), "{table}");
    stop.send(()).unwrap();
    server.await.unwrap();
    app.stop().await;
}

#[test]
fn a_server_of_the_testers_own_is_started_loaded_and_ended_and_a_missed_limit_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let result = folder.path().join("result.json");
    let arguments = [
        "--calls",
        "1",
        "--muted",
        "--duration",
        "1",
        "--quiet",
        "--max-rss",
        "1",
        "--json",
        result.to_str().unwrap(),
    ];
    let output = load(&arguments);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "no server is that small: {table}");
    assert!(table.contains("MISSED  server_rss_mib"), "{table}");
    let result = json(&folder);
    assert_eq!(result["calls"]["up"], 1);
    assert_eq!(result["calls"]["refused"], serde_json::json!({}));
    let server = &result["server"];
    assert!(
        server["files_after"].as_u64() <= server["files_before"].as_u64(),
        "{server}"
    );
}

#[test]
fn wrong_arguments_are_told_by_their_flag() {
    let output = load(&["--loss", "150"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--loss"), "{stderr}");
}
