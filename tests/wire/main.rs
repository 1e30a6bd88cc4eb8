//! The wire contract: a fixture of every message, which the web client's tests read as well, and a
//! protocol document whose every example is a real message.
//!
//! After a wanted change: `UPDATE_FIXTURES=1 cargo test -p callkit-tests --test wire`, and look at the
//! difference as a client that is a year old would.

mod catalogue;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use callkit_signal::codec::{Incoming, decode_client, decode_server, encode_client, encode_server};
use callkit_signal::message::{ClientMessage, Refusal, Request, codes};
use serde_json::{Map, Value, json};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn protocol_document() -> String {
    std::fs::read_to_string(repository().join("docs/protocol.md")).expect("docs/protocol.md exists")
}

fn parsed(frame: &[u8]) -> Value {
    serde_json::from_slice(frame).expect("an encoded message is JSON")
}

/// Compares with the file, or writes it if asked to.
fn check_fixture(file: &str, content: &Value) {
    let path = repository().join("callkit-server/web/fixtures").join(file);
    let text = format!(
        "{}\n",
        serde_json::to_string_pretty(content).expect("a value is JSON")
    );
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        return std::fs::write(&path, text).expect("the fixture can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{file} is not what the code writes: see the head of tests/wire/main.rs"
    );
}

fn by_name(frames: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let mut all = Map::new();
    for (name, frame) in frames {
        assert!(
            all.insert(name.to_owned(), frame).is_none(),
            "two examples are called {name}"
        );
    }
    Value::Object(all)
}

#[test]
fn client_messages_are_as_in_the_fixtures() {
    let frames = catalogue::client()
        .into_iter()
        .map(|(name, message)| (name, parsed(&encode_client(&message))));
    check_fixture("client_messages.json", &by_name(frames));
}

#[test]
fn server_messages_are_as_in_the_fixtures() {
    let frames = catalogue::server()
        .into_iter()
        .map(|(name, message)| (name, parsed(&encode_server(&message))));
    check_fixture("server_messages.json", &by_name(frames));
}

#[test]
fn codes_are_as_in_the_fixtures() {
    let errors: Map<_, _> = codes::ALL
        .iter()
        .map(|(code, retry)| ((*code).to_owned(), json!(retry)))
        .collect();
    let refusals: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
    check_fixture("codes.json", &json!({ "errors": errors, "refusals": refusals }));
}

#[test]
fn every_message_survives_the_wire() {
    for (name, message) in catalogue::server() {
        assert_eq!(
            decode_server(&encode_server(&message)),
            Ok(Incoming::Message(message)),
            "{name}"
        );
    }
    for (name, message) in catalogue::client() {
        let frame = encode_client(&message);
        let again = decode_client(&frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(encode_client(&again), frame, "{name}");
    }
}

#[test]
fn the_catalogue_has_every_message() {
    let client = catalogue::client();
    let asked: BTreeSet<_> = client
        .iter()
        .filter(|(_, message)| matches!(message, ClientMessage::Request(_)))
        .filter_map(|(_, message)| {
            parsed(&encode_client(message))["type"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(
        asked,
        Request::TYPES.iter().map(|kind| (*kind).to_owned()).collect()
    );
    // serde names the variants that it knows when it meets one that it does not.
    let known = |error: serde_json::Error| {
        let text = error.to_string();
        let names: BTreeSet<_> = text.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        assert!(!names.is_empty(), "{text}");
        names
    };
    let of = |field: &str, within: Option<&str>| -> BTreeSet<String> {
        let frames = catalogue::server()
            .into_iter()
            .map(|(_, message)| parsed(&encode_server(&message)));
        let part = |frame: Value| within.map_or_else(|| frame.clone(), |name| frame[name].clone());
        frames
            .filter_map(|frame| part(frame)[field].as_str().map(str::to_owned))
            .collect()
    };
    use callkit_signal::message::{Event, Outcome, ServerMessage};
    let unknown = |field: &str| json!({ field: "?" });
    assert_eq!(
        of("type", None),
        known(serde_json::from_value::<ServerMessage>(unknown("type")).unwrap_err())
    );
    assert_eq!(
        of("kind", Some("event")),
        known(serde_json::from_value::<Event>(unknown("kind")).unwrap_err())
    );
    assert_eq!(
        of("result", None),
        known(serde_json::from_value::<Outcome>(unknown("result")).unwrap_err())
    );
    let refusals = known(serde_json::from_value::<Refusal>(json!("?")).unwrap_err());
    assert_eq!(
        refusals,
        Refusal::ALL
            .iter()
            .map(|refusal| refusal.as_str().to_owned())
            .collect()
    );
}

/// The JSON examples of the protocol document, with the number of their first line.
fn examples(document: &str) -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim() == "```json" {
            let body = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| line.trim() != "```");
            examples.push((number + 2, body.collect::<Vec<_>>().join("\n")));
        }
    }
    examples
}

#[test]
fn every_example_of_the_protocol_document_is_a_message_of_the_catalogue() {
    let mut known: Vec<_> = catalogue::server()
        .iter()
        .map(|(_, message)| parsed(&encode_server(message)))
        .collect();
    known.extend(
        catalogue::client()
            .iter()
            .map(|(_, message)| parsed(&encode_client(message))),
    );
    let examples = examples(&protocol_document());
    assert!(!examples.is_empty());
    for (line, example) in examples {
        let value: Value =
            serde_json::from_str(&example).unwrap_or_else(|error| panic!("line {line}: {error}"));
        assert!(
            known.contains(&value),
            "docs/protocol.md line {line} is not a message as the code writes it"
        );
    }
}

#[test]
fn the_protocol_document_names_every_message_and_code() {
    let document = protocol_document();
    let mut wanted: BTreeSet<String> = codes::ALL.iter().map(|(code, _)| (*code).to_owned()).collect();
    wanted.extend(Refusal::ALL.iter().map(|refusal| refusal.as_str().to_owned()));
    for (_, message) in catalogue::server() {
        let frame = parsed(&encode_server(&message));
        wanted.extend(
            [&frame["type"], &frame["event"]["kind"], &frame["result"]]
                .map(|one| one.as_str().unwrap_or("hello").to_owned()),
        );
    }
    wanted.extend(catalogue::client().iter().filter_map(|(_, message)| {
        parsed(&encode_client(message))["type"]
            .as_str()
            .map(str::to_owned)
    }));
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !document.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/protocol.md does not explain {missing:?}"
    );
}

#[test]
fn the_protocol_document_says_which_errors_can_be_retried() {
    let document = protocol_document();
    for (code, retryable) in codes::ALL {
        let row = format!("| `{code}` | {} |", if retryable { "yes" } else { "no" });
        assert!(document.contains(&row), "docs/protocol.md has no row {row}");
    }
}

#[test]
fn nothing_private_or_secret_prints() {
    let mut printed = format!("{:?}", catalogue::server());
    printed += &format!("{:?}", catalogue::client());
    for text in ["Anna", "Здравствуйте", "3f2a9c5e7b1d4f60a8c2e4b6d8f00112", "eyJ"] {
        assert!(!printed.contains(text), "{text} prints");
    }
}
