//! The demo: a configuration that needs nothing, and what it tells the person who started it.

use std::net::SocketAddr;

use callkit_core::id::AgentId;
use callkit_core::redact::{Private, Secret};

use crate::adapter::auth_static::{InvalidHash, PasswordHash};
use crate::config::{Config, Role, UserConfig};
use crate::console::say;

/// The demo's operators: sign-in name, name, password. The demo listens on loopback only, so the passwords
/// keep nobody out who is not already on the machine.
const OPERATORS: [(&str, &str, &str); 2] = [("irina", "Irina", "irina-demo"), ("oleg", "Oleg", "oleg-demo")];

/// Adds the demo's operators to `config`.
pub(crate) fn with_operators(mut config: Config) -> Result<Config, InvalidHash> {
    for (id, name, password) in OPERATORS {
        let hash = PasswordHash::of(&Secret::new(password.to_owned()))?;
        config.staff.users.push(UserConfig {
            id: AgentId::new(id).expect("literals of the allowed characters"),
            name: Private::new(name.to_owned()),
            role: Role::Operator,
            queues: Vec::new(),
            password_hash: Secret::new(hash.expose().to_owned()),
        });
    }
    Ok(config)
}

/// Tells where to go; the last line is for programs.
pub(crate) fn announce(address: SocketAddr) {
    let (console, customer) = (format!("http://{address}/console/"), format!("http://{address}/call/"));
    say("callkit demo: a call between a customer and an operator");
    say("");
    say(&format!("  Operator console   {console}"));
    for (id, _, password) in OPERATORS {
        say(&format!("    sign in as       {id}  password  {password}"));
    }
    say(&format!("  Customer page      {customer}"));
    say("");
    say("  1. Open the console in one window, sign in, press \"Start shift\".");
    say("  2. Open the customer page in another window (or browser) and press \"Call\".");
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
