//! The dependency direction: core <- {signal, sfu, routing} <- server. The middle crates never see each other; what
//! decides pulls in nothing that does.

use std::collections::BTreeSet;

use crate::steps::{Done, Failure, cargo, read};

/// A crate, built in one way, and what must not be among its dependencies.
struct Rule {
    package: &'static str,
    flags: &'static [&'static str],
    banned: &'static [&'static str],
}

/// Names of packages; a final `*` stands for any ending.
const IO: &[&str] = &[
    "tokio",
    "tokio-*",
    "async-std",
    "smol",
    "mio",
    "axum",
    "axum-*",
    "hyper",
    "hyper-*",
    "tower-http",
    "reqwest",
    "rustls",
    "native-tls",
    "openssl",
    "tungstenite",
    "sqlx",
    "sqlx-*",
    "rusqlite",
    "libsqlite3-sys",
    "rtc-*",
    "webrtc",
    "webrtc-*",
    "socket2",
    "quinn-udp",
];
const RUNTIME: &[&str] = &[
    "tokio",
    "tokio-*",
    "mio",
    "socket2",
    "quinn-udp",
    "axum",
    "hyper",
    "sqlx",
];

const RULES: &[Rule] = &[
    Rule {
        package: "callkit-core",
        flags: &["--all-features"],
        banned: IO,
    },
    Rule {
        package: "callkit-core",
        flags: &[],
        banned: &["callkit-*"],
    },
    Rule {
        package: "callkit-routing",
        flags: &["--all-features"],
        banned: IO,
    },
    Rule {
        package: "callkit-routing",
        flags: &[],
        banned: &["callkit-signal", "callkit-sfu", "callkit-server"],
    },
    Rule {
        package: "callkit-signal",
        flags: &["--no-default-features"],
        banned: RUNTIME,
    },
    Rule {
        package: "callkit-signal",
        flags: &["--all-features"],
        banned: &[
            "callkit-routing",
            "callkit-sfu",
            "callkit-server",
            "sqlx",
            "axum",
            "rtc-*",
        ],
    },
    Rule {
        package: "callkit-sfu",
        flags: &["--no-default-features"],
        banned: RUNTIME,
    },
    Rule {
        package: "callkit-sfu",
        flags: &["--all-features"],
        banned: &[
            "callkit-routing",
            "callkit-signal",
            "callkit-server",
            "sqlx",
            "axum",
        ],
    },
    Rule {
        package: "callkit-server",
        flags: &["--all-features"],
        banned: &["callkit-tests", "callkit-benches"],
    },
];

/// Checks all rules.
pub(crate) fn check() -> Done {
    let mut broken = Vec::new();
    for rule in RULES {
        let tree = tree(rule)?;
        for package in tree.iter().filter(|name| *name != rule.package) {
            if rule.banned.iter().any(|pattern| matches(pattern, package)) {
                let flags = rule.flags.join(" ");
                broken.push(format!("{} {flags} depends on {package}", rule.package));
            }
        }
    }
    if broken.is_empty() {
        println!("{} rules hold", RULES.len());
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} (`cargo tree -p CRATE -i PACKAGE` tells the way)",
        broken.join("; ")
    )))
}

fn tree(rule: &Rule) -> Done<BTreeSet<String>> {
    let mut args = vec![
        "tree",
        "--locked",
        "-p",
        rule.package,
        "-e",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    args.extend(rule.flags);
    let text = read(&mut cargo(&args))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_ending_and_nothing_else_does() {
        assert!(matches("rtc-*", "rtc-srtp"));
        assert!(matches("tokio", "tokio"));
        assert!(!matches("tokio", "tokio-util"));
        assert!(!matches("rtc-*", "artc-srtp"));
    }
}
