//! What an operator of the server gets told when the configuration is wrong, and that the documents are right.

use std::path::Path;

use super::*;

const EXAMPLE: &str = include_str!("../../../config.example.toml");

fn parsed(text: &str) -> Result<Config, String> {
    parse(text, Path::new("callkit.toml"), &[]).map_err(|error| error.to_string())
}

fn with_env(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let overrides = from_environment(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    parse(text, Path::new("callkit.toml"), &overrides).map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_a_valid_configuration() {
    let config = parsed("").unwrap();
    assert!(config.http.bind.is_loopback());
    assert_eq!(
        config.routing.default_queue().map(|queue| queue.as_str()),
        Some("support")
    );
}

#[test]
fn the_example_is_valid_and_shows_every_setting() {
    let example = parsed(EXAMPLE).unwrap();
    assert_eq!(example.staff.users.len(), 1);
    let schema = Config::schema();
    for (section, definition) in schema["$defs"].as_object().unwrap() {
        let Some(properties) = definition["properties"].as_object() else {
            continue;
        };
        for key in properties.keys() {
            let shown = EXAMPLE.lines().any(|line| {
                line.trim_start_matches("# ")
                    .split_once('=')
                    .is_some_and(|(name, _)| name.trim() == key)
                    || line
                        .trim_start_matches("# ")
                        .starts_with(&format!("[[{}.{key}]]", key_section(section)))
            });
            assert!(shown, "config.example.toml does not show {section}.{key}");
        }
    }
}

fn key_section(definition: &str) -> &str {
    match definition {
        "RoutingSection" => "routing",
        "StaffConfig" => "staff",
        other => other,
    }
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let error = parsed("[http]\nport = 8080\nprot = 1\n").unwrap_err();
    assert!(
        error.starts_with("callkit.toml:3: ") && error.contains("prot"),
        "{error}"
    );
    let error = parsed("[htp]\n").unwrap_err();
    assert!(
        error.starts_with("callkit.toml:1: ") && error.contains("htp"),
        "{error}"
    );
    let error = parsed("\n\n[[staff.users]]\nid = \"a\"\nname = \"A\"\npasword_hash = \"x\"\n").unwrap_err();
    assert!(
        error.starts_with("callkit.toml:6: ") && error.contains("pasword_hash"),
        "{error}"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_line() {
    for (text, line) in [
        ("[http]\nport = \"eighty\"\n", 2),
        ("[http]\nport = 70000\n", 2),
        ("[http]\n\nbind = \"localhost\"\n", 3),
        ("[media]\nshards = -1\n", 2),
        ("[[routing.queues]]\nid = \"Two Words\"\nname = \"x\"\n", 2),
        ("[http\n", 1),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(
            error.starts_with(&format!("callkit.toml:{line}: ")),
            "{text:?}: {error}"
        );
        assert!(!error.contains('\n'), "{error:?}");
    }
}

#[test]
fn the_environment_goes_over_the_file() {
    let file = "[http]\nport = 1000\n[brand]\nname = \"File\"\n";
    let config = with_env(
        file,
        &[
            ("CALLKIT_HTTP__PORT", "2000"),
            ("CALLKIT_BRAND__NAME", "2024"),
            ("CALLKIT_MEDIA__EXTERNAL_ADDRESSES", "[\"192.0.2.1\"]"),
            ("CALLKIT_HTTP__BIND", "::1"),
            ("CALLKIT_STORAGE__PATH", "/var/lib/callkit"),
            ("CALLKIT_SEED", "7"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.http.port, 2000);
    assert_eq!(config.brand.name, "2024");
    assert_eq!(config.media.external_addresses.len(), 1);
    assert_eq!(config.http.bind.to_string(), "::1");
    assert_eq!(config.storage.path, Path::new("/var/lib/callkit"));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("CALLKIT_HTTP__PRT", "1"),
        ("CALLKIT_HTTP__PORT", "x"),
        ("CALLKIT_NO__KEY", "1"),
    ] {
        let error = with_env("", &[(name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
    }
}

#[test]
fn flags_go_over_the_environment() {
    let mut overrides = from_environment([("CALLKIT_HTTP__PORT".to_owned(), "2000".to_owned())]);
    overrides.push(Override::new("--port", "http.port", "3000"));
    assert_eq!(parse("", Path::new(""), &overrides).unwrap().http.port, 3000);
    let wrong = [Override::new("--port", "http.port", "many")];
    assert!(
        parse("", Path::new(""), &wrong)
            .unwrap_err()
            .to_string()
            .starts_with("--port: ")
    );
}

#[test]
fn pages_without_https_are_not_offered_to_the_network() {
    let error = parsed("[http]\nbind = \"0.0.0.0\"\n").unwrap_err();
    assert!(
        error.starts_with("http.bind: ") && error.contains("behind_tls_proxy"),
        "{error}"
    );
    assert!(parsed("[http]\nbind = \"0.0.0.0\"\nbehind_tls_proxy = true\n").is_ok());
    assert!(parsed("[http]\nbehind_tls_proxy = true\npublic_url = \"http://a.example\"\n").is_err());
}

#[test]
fn what_does_not_fit_together_is_named() {
    let user = "[[staff.users]]\nid = \"a\"\nname = \"A\"\npassword_hash = \"HASH\"\n".replace(
        "HASH",
        "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$oWNvRCtYNPeJwGRGqsXUYBC7vUIeJTAHvnoIr2zCNiw",
    );
    for (text, key) in [
        ("[routing]\nqueues = []\n".to_owned(), "routing.queues"),
        (
            "[routing]\ndefault_queue = \"sales\"\n".to_owned(),
            "routing.default_queue",
        ),
        (
            "[routing]\noffer_timeout_s = 1\n".to_owned(),
            "routing.offer_timeout_s",
        ),
        (format!("{user}{user}"), "staff.users.a.id"),
        (format!("{user}queues = [\"sales\"]\n"), "staff.users.a.queues"),
        (user.replace("argon2id", "argon2d"), "staff.users.a.password_hash"),
        ("[brand]\naccent = \"blue\"\n".to_owned(), "brand.accent"),
        (
            "[brand]\nlogo = \"https://evil.example/x.png\"\n".to_owned(),
            "brand.logo",
        ),
        ("[media]\nshards = 0\n".to_owned(), "media.shards"),
        ("[media]\nport = 65535\nshards = 2\n".to_owned(), "media.port"),
        (
            "[media]\nexternal_addresses = [\"0.0.0.0\"]\n".to_owned(),
            "media.external_addresses",
        ),
        (
            "[http]\nallowed_origins = [\"https://a.example/path\"]\n".to_owned(),
            "http.allowed_origins",
        ),
        (
            "[http]\npublic_url = \"calls.example.com\"\n".to_owned(),
            "http.public_url",
        ),
        ("[telemetry]\nlog = \"a=b=c\"\n".to_owned(), "telemetry.log"),
    ] {
        let error = parsed(&text).unwrap_err();
        assert!(error.starts_with(&format!("{key}: ")), "{text:?}: {error}");
    }
}

#[test]
fn shown_settings_hold_no_secret() {
    let shown = parsed(EXAMPLE).unwrap().to_redacted_toml();
    assert!(shown.contains("[secret]") && !shown.contains("argon2"), "{shown}");
    let debugged = format!("{:?}", parsed(EXAMPLE).unwrap());
    assert!(!debugged.contains("argon2"), "{debugged}");
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    let origins = |text: &str| parsed(text).unwrap().http.origins(8081);
    assert_eq!(origins(""), ["http://127.0.0.1:8081", "http://localhost:8081"]);
    assert_eq!(
        origins("[http]\nbind = \"::1\"\n"),
        ["http://[::1]:8081", "http://localhost:8081"]
    );
    let public = "[http]\npublic_url = \"https://Calls.Example.com:443/\"\nallowed_origins = [\"https://shop.example:8443\"]\n";
    assert_eq!(
        origins(public),
        ["https://calls.example.com", "https://shop.example:8443"]
    );
}
