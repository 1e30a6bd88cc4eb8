//! The command line: arguments to a configuration, and what is printed.

use std::error::Error;
use std::io::{IsTerminal as _, Read as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use callkit_core::redact::Secret;
use clap::{Args, Parser, Subcommand};

use crate::adapter::auth_static::{MAX_PASSWORD_BYTES, PasswordHash};
use crate::config::{self, Config, ConfigError, Override};
use crate::console::{complain, say, say_aside};
use crate::{demo, load, run, telemetry};

/// The configuration or the arguments are wrong.
const EXIT_CONFIG: u8 = 2;
/// The server cannot start or run.
const EXIT_RUNTIME: u8 = 1;

/// Self-hosted video calls between customers and operators.
#[derive(Debug, Parser)]
#[command(name = "callkit-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a complete server on this machine, with two operators to try it out.
    Demo(DemoArgs),
    /// Run the server with a configuration file.
    Serve(ServeArgs),
    /// Look at the configuration.
    Config(ConfigArgs),
    /// Load a server with synthetic calls, measure, and say whether it keeps given limits.
    Load(Box<load::LoadArgs>),
    /// Read a password from standard input and print its hash for the configuration file.
    HashPassword,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// HTTP port on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Folder of database and keys.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// UDP port of media; 0 takes a free one.
    #[arg(long, value_name = "N")]
    media_port: Option<u16>,
    /// UDP and TCP port of the TURN server, for browsers that cannot reach the media port; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    turn_port: u16,
    /// Serve the pages from this folder instead of the embedded ones.
    #[arg(long, value_name = "DIR")]
    web_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: ServeFlags,
}

#[derive(Debug, Args)]
struct ServeFlags {
    /// Address to listen on for HTTP.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// HTTP port; 0 takes a free one.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Folder of database and keys.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// First UDP port of media; 0 takes free ones.
    #[arg(long, value_name = "N")]
    media_port: Option<u16>,
    /// Serve the pages from this folder instead of the embedded ones.
    #[arg(long, value_name = "DIR")]
    web_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check file, environment and flags, and say whether the server would accept them.
    Check(ServeArgs),
    /// Print the settings as the server would use them, secrets left out.
    Show(ServeArgs),
    /// Print the JSON schema of the configuration file.
    Schema,
}

/// Why a command ends without success.
#[derive(Debug)]
struct Failure {
    error: Box<dyn Error>,
    code: u8,
}

impl Failure {
    fn runtime(error: impl Into<Box<dyn Error>>) -> Self {
        Self {
            error: error.into(),
            code: EXIT_RUNTIME,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self {
            error: Box::new(error),
            code: EXIT_CONFIG,
        }
    }
}

/// Does what the arguments of this process say. Failures are one line on stderr.
#[must_use]
pub fn main() -> ExitCode {
    // Wrong arguments end the process with clap's own message and code 2.
    let cli = Cli::parse();
    match perform(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(failure.error.as_ref());
            ExitCode::from(failure.code)
        }
    }
}

fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => {
            let config = demo_config(&args)?;
            start(config, demo::announce)
        }
        Command::Serve(args) => {
            let config = load(&args)?;
            let public = config.http.public_url.clone();
            start(config, move |address| {
                let base = public.unwrap_or_else(|| format!("http://{address}"));
                let base = base.trim_end_matches('/');
                say(&demo::ready_line(
                    &format!("{base}/console/"),
                    &format!("{base}/call/"),
                ));
            })
        }
        Command::Config(ConfigArgs {
            command: ConfigCommand::Check(args),
        }) => {
            load(&args)?;
            say("the configuration is valid");
            Ok(())
        }
        Command::Config(ConfigArgs {
            command: ConfigCommand::Show(args),
        }) => {
            say(load(&args)?.to_redacted_toml().trim_end());
            Ok(())
        }
        Command::Config(ConfigArgs {
            command: ConfigCommand::Schema,
        }) => {
            say(&format!("{:#}", Config::schema()));
            Ok(())
        }
        Command::Load(args) => run_load(*args),
        Command::HashPassword => hash_password(),
    }
}

fn start(config: Config, ready: impl FnOnce(std::net::SocketAddr)) -> Result<(), Failure> {
    telemetry::start(&config.telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?;
    runtime
        .block_on(run::run(config, ready))
        .map_err(Failure::runtime)
}

/// The overrides of flags that are set, in the order given.
fn flags<const N: usize>(set: [(&str, &str, Option<String>); N]) -> Vec<Override> {
    set.into_iter()
        .filter_map(|(flag, path, value)| Some(Override::text(flag, path, value?)))
        .collect()
}

fn path_text(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

fn load(args: &ServeArgs) -> Result<Config, ConfigError> {
    let ServeFlags {
        bind,
        port,
        data,
        media_port,
        web_dir,
    } = &args.flags;
    let mut overrides = config::from_environment(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    overrides.extend(flags([
        ("--bind", "http.bind", bind.map(|bind| bind.to_string())),
        ("--port", "http.port", port.map(|port| port.to_string())),
        ("--data", "storage.path", path_text(data.as_ref())),
        (
            "--media-port",
            "media.port",
            media_port.map(|port| port.to_string()),
        ),
        ("--web-dir", "http.web_dir", path_text(web_dir.as_ref())),
    ]));
    config::load(args.config.as_deref(), &overrides)
}

fn demo_config(args: &DemoArgs) -> Result<Config, Failure> {
    let overrides = flags([
        ("--port", "http.port", args.port.map(|port| port.to_string())),
        ("--data", "storage.path", path_text(args.data.as_ref())),
        (
            "--media-port",
            "media.port",
            args.media_port.map(|port| port.to_string()),
        ),
        ("--web-dir", "http.web_dir", path_text(args.web_dir.as_ref())),
        ("demo", "turn.mode", Some("embedded".to_owned())),
        ("--turn-port", "turn.port", Some(args.turn_port.to_string())),
        // People see the links, not the log; RUST_LOG-style filters come by the environment in `serve`.
        ("demo", "telemetry.log", Some("warn".to_owned())),
    ]);
    let config = config::load(None, &overrides)?;
    Ok(demo::with_operators(config))
}

/// The server does not keep a limit that was given.
#[derive(Debug, thiserror::Error)]
#[error("a limit was not kept")]
struct LimitMissed;

fn run_load(args: load::LoadArgs) -> Result<(), Failure> {
    let settings = args.settings().map_err(|error| Failure {
        error: Box::new(error),
        code: EXIT_CONFIG,
    })?;
    let quiet = settings.quiet;
    let report = load::run(&settings, |line| {
        if !quiet {
            say_aside(line);
        }
    })
    .map_err(Failure::runtime)?;
    say(&report.to_string());
    if report.is_ok() {
        Ok(())
    } else {
        Err(Failure::runtime(LimitMissed))
    }
}

/// The password as given cannot be hashed.
#[derive(Debug, thiserror::Error)]
enum PasswordInput {
    #[error("no password on standard input: pipe one in, or type it and press Ctrl-D")]
    Empty,
    #[error("the password is longer than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
}

fn hash_password() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        say("Type the password (it is shown), then Enter and Ctrl-D:");
    }
    let mut text = String::new();
    let limit = MAX_PASSWORD_BYTES as u64 + 3;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut text)
        .map_err(Failure::runtime)?;
    // One line ending belongs to the terminal or to echo, not to the password.
    let password = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if password.is_empty() {
        return Err(Failure::runtime(PasswordInput::Empty));
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(Failure::runtime(PasswordInput::TooLong));
    }
    let hash = PasswordHash::of(&Secret::new(password.to_owned())).map_err(Failure::runtime)?;
    say(hash.expose());
    Ok(())
}
