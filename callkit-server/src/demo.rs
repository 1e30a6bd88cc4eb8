//! The demo: a configuration that needs nothing, and what it tells the person who started it.

use std::net::SocketAddr;

use callkit_core::id::AgentId;
use callkit_core::redact::{Private, Secret};

use crate::config::{Config, Role, UserConfig};
use crate::console::say;

/// The demo's staff: sign-in name, name, role, password, its hash. The demo listens on loopback only, so the
/// passwords keep nobody out who is not already on the machine. The hashes are fixed because a staff session
/// ends when the hash of its owner changes, and it has to outlive a restart of the demo.
const STAFF: [(&str, &str, Role, &str, &str); 3] = [
    (
        "irina",
        "Irina",
        Role::Operator,
        "irina-demo",
        "$argon2id$v=19$m=19456,t=2,p=1$RF8sym0IAAVKyKiwlX3Gxw$AZGkNXCS0U9b1E9KL/MlryfJUahH4yyA6x5Nu9BTZYQ",
    ),
    (
        "oleg",
        "Oleg",
        Role::Operator,
        "oleg-demo",
        "$argon2id$v=19$m=19456,t=2,p=1$T+4ri8xnFXGw5WBhryJdYA$wkkhydlhdT90WUDo8QHMhkAjB5cuJxNZqOv8NnFFsdI",
    ),
    (
        "maria",
        "Maria",
        Role::Supervisor,
        "maria-demo",
        "$argon2id$v=19$m=19456,t=2,p=1$IUA/l0BqIQ7oulhvdV4KvQ$tPhBk5OOs6RmWg+Q6uLp9UhhGIVlzG1Nmk6kg/KhWfE",
    ),
];

/// Adds the demo's staff to `config`.
pub(crate) fn with_operators(mut config: Config) -> Config {
    for (id, name, role, _, hash) in STAFF {
        config.staff.users.push(UserConfig {
            id: AgentId::new(id).expect("literals of the allowed characters"),
            name: Private::new(name.to_owned()),
            role,
            queues: Vec::new(),
            password_hash: Secret::new(hash.to_owned()),
        });
    }
    config
}

/// Tells where to go; the last line is for programs.
pub(crate) fn announce(address: SocketAddr) {
    let (console, customer) = (
        format!("http://{address}/console/"),
        format!("http://{address}/call/"),
    );
    say("callkit demo: a call between a customer and an operator");
    say("");
    say(&format!("  Operator console   {console}"));
    for (id, _, role, password, _) in STAFF {
        let what = match role {
            Role::Operator => "operator",
            Role::Supervisor | Role::Admin => "supervisor",
        };
        say(&format!("    {what:<16} {id}  password  {password}"));
    }
    say(&format!("  Customer page      {customer}"));
    say("");
    say("  1. Open the console in one window, sign in, press \"Start shift\".");
    say("  2. Open the customer page in another window (or browser) and press \"Call\".");
    say("  3. Sign in as the supervisor in a third one to listen, whisper or join in.");
    say("  Ctrl-C stops the server; calls and chat are kept for the next start.");
    say("");
    say(&ready_line(&console, &customer));
}

/// One JSON line that says that the server accepts connections.
pub(crate) fn ready_line(console: &str, customer: &str) -> String {
    // Fixed order of keys: people read it too.
    format!(
        r#"{{"ready":true,"console":{},"customer":{}}}"#,
        serde_json::Value::from(console),
        serde_json::Value::from(customer)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::auth_static::{HashMemory, PasswordHash};

    #[test]
    fn the_hashes_are_those_of_the_passwords() {
        for (id, _, _, password, hash) in STAFF {
            let hash = PasswordHash::parse(&Secret::new(hash.to_owned())).unwrap();
            assert!(
                hash.verifies(&Secret::new(password.to_owned()), &mut HashMemory::default()),
                "{id}"
            );
        }
    }

    #[test]
    fn the_ready_line_is_json_with_the_two_links() {
        let line = ready_line("http://127.0.0.1:8080/console/", "http://127.0.0.1:8080/call/");
        assert_eq!(
            line,
            r#"{"ready":true,"console":"http://127.0.0.1:8080/console/","customer":"http://127.0.0.1:8080/call/"}"#
        );
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["ready"], true);
    }
}
