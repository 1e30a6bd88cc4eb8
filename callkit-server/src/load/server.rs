//! A server of the tester's own: a child process of the same program on free ports, with accounts made for the test
//! and a store that goes away with it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use callkit_core::BoxError;
use callkit_core::redact::Secret;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;

use super::person::Account;
use crate::adapter::auth_static::PasswordHash;

/// Why the tester has no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("cannot prepare the server of the test")]
    Prepare(#[source] BoxError),
    #[error("the server of the test does not start: see its message above")]
    NotReady,
    #[error("cannot read {}", path.display())]
    Staff {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}, line {line}: `name password` or `name password supervisor` is expected", path.display())]
    StaffLine { path: PathBuf, line: usize },
}

fn prepare(error: impl Into<BoxError>) -> ServerError {
    ServerError::Prepare(error.into())
}

/// The accounts of a test.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) operators: Vec<Account>,
    pub(super) supervisors: Vec<Account>,
}

impl Accounts {
    /// Reads a file of accounts.
    pub(super) fn read(path: &Path) -> Result<Self, ServerError> {
        let text = fs::read_to_string(path).map_err(|source| ServerError::Staff {
            path: path.to_owned(),
            source,
        })?;
        let mut accounts = Self::default();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (account, is_supervisor) = match words[..] {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [user, password] => ((user, password), false),
                [user, password, "supervisor"] => ((user, password), true),
                _ => {
                    return Err(ServerError::StaffLine {
                        path: path.to_owned(),
                        line: number + 1,
                    });
                }
            };
            let account = Account {
                user: account.0.to_owned(),
                password: Secret::new(account.1.to_owned()),
            };
            if is_supervisor {
                accounts.supervisors.push(account);
            } else {
                accounts.operators.push(account);
            }
        }
        Ok(accounts)
    }
}

/// The running child. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub(super) struct OwnServer {
    child: Child,
    folder: PathBuf,
    /// `host:port` of HTTP.
    pub(super) authority: String,
    pub(super) accounts: Accounts,
}

impl OwnServer {
    /// Starts a server with `shards` media threads, `operators` and `supervisors`, whose one queue is `queue`. Blocks
    /// until it accepts connections.
    pub(super) fn start(
        shards: u16,
        queue: &str,
        operators: usize,
        supervisors: usize,
    ) -> Result<Self, ServerError> {
        let mut secret = [0; 12];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| prepare("the operating system gives no random numbers"))?;
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = std::env::temp_dir().join(format!("callkit-load-{}", &hex[..8]));
        make_private(&folder).map_err(prepare)?;
        // One password for all: the server lives on loopback for the time of the test.
        let password = Secret::new(hex);
        let hash = PasswordHash::of(&password).map_err(prepare)?;
        let account = |kind: &str, number: usize| Account {
            user: format!("{kind}-{number}"),
            password: password.clone(),
        };
        let accounts = Accounts {
            operators: (0..operators).map(|number| account("operator", number)).collect(),
            supervisors: (0..supervisors)
                .map(|number| account("supervisor", number))
                .collect(),
        };
        let config = config(shards, queue, &folder, &accounts, hash.expose());
        let path = folder.join("callkit.toml");
        fs::write(&path, config).map_err(prepare)?;
        let program = std::env::current_exe().map_err(prepare)?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CALLKIT_") {
                command.env_remove(name);
            }
        }
        let child = command
            .arg("serve")
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(prepare)?;
        let mut server = Self {
            child,
            folder,
            authority: String::new(),
            accounts,
        };
        server.authority = server.ready().ok_or(ServerError::NotReady)?;
        Ok(server)
    }

    /// Waits for the line that says where the server listens.
    fn ready(&mut self) -> Option<String> {
        let lines = BufReader::new(self.child.stdout.take()?).lines();
        for line in lines.map_while(Result::ok) {
            let Ok(line) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let console = line.get("console").and_then(Value::as_str)?;
            let authority = console.strip_prefix("http://")?.split('/').next()?;
            return Some(authority.to_owned());
        }
        None
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // Nothing of it is kept, so it need not end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(unix)]
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> std::io::Result<()> {
    fs::create_dir(folder)
}

/// The configuration file of the child.
fn config(shards: u16, queue: &str, folder: &Path, accounts: &Accounts, hash: &str) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let folder = text(&folder.to_string_lossy());
    let (hash, queue) = (text(hash), text(queue));
    let mut config = format!(
        "[http]\nbind = \"127.0.0.1\"\nport = 0\n\n[media]\nport = 0\nshards = {shards}\n\n[storage]\npath = {folder}\n\n\
         [telemetry]\nlog = \"warn\"\n\n[routing]\nmax_queue_length = 100000\n\n\
         [[routing.queues]]\nid = {queue}\nname = \"Load\"\n"
    );
    let people = accounts.operators.iter().map(|account| (account, "operator"));
    let people = people.chain(accounts.supervisors.iter().map(|account| (account, "supervisor")));
    for (account, role) in people {
        let user = text(&account.user);
        // Supervisors look after the queue; they get no calls of it because they never become available.
        config.push_str(&format!(
            "\n[[staff.users]]\nid = {user}\nname = {user}\nrole = \"{role}\"\nqueues = [{queue}]\npassword_hash = {hash}\n"
        ));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_child_is_one_that_the_server_accepts() {
        let account = |user: &str| Account {
            user: user.to_owned(),
            password: Secret::new("secret".to_owned()),
        };
        let accounts = Accounts {
            operators: vec![account("operator-0"), account("operator-1")],
            supervisors: vec![account("supervisor-0")],
        };
        let hash = PasswordHash::of(&Secret::new("secret".to_owned())).unwrap();
        let text = config(
            2,
            "support",
            Path::new("/somewhere/\"quoted\""),
            &accounts,
            hash.expose(),
        );
        let config = crate::config::parse(&text, Path::new("callkit.toml"), &[]).unwrap();
        assert_eq!(config.staff.users.len(), 3);
        assert_eq!(config.media.shards, 2);
    }

    #[test]
    fn accounts_are_read_line_by_line_and_a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("staff.txt");
        fs::write(&path, "# who\n\nanna secret1\nboris secret2 supervisor\n").unwrap();
        let accounts = Accounts::read(&path).unwrap();
        assert_eq!((accounts.operators.len(), accounts.supervisors.len()), (1, 1));
        assert_eq!(accounts.supervisors[0].user, "boris");
        fs::write(&path, "anna secret1\nboris\n").unwrap();
        assert!(matches!(
            Accounts::read(&path),
            Err(ServerError::StaffLine { line: 2, .. })
        ));
    }
}
