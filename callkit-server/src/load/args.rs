//! What the load tester is asked to do: arguments, checked into [`Settings`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use callkit_core::id::QueueId;
use callkit_sfu::testing::{LinkSettings, MediaShape};
use clap::Args;

use super::plan::Plan;
use super::report::Limits;

/// Arguments of `callkit-server load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Server to load, `http://host:port`; without it one is started for the test, with a scratch store.
    #[arg(long, value_name = "URL", requires = "staff")]
    server: Option<String>,
    /// Accounts to sign in with: lines of `name password`, and `name password supervisor` for the third.
    #[arg(long, value_name = "FILE")]
    staff: Option<PathBuf>,
    /// Process id of the server, if it runs on this machine: its processor time and memory are reported.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Media threads of the server that is started; the number of cores if not given.
    #[arg(long, value_name = "N", conflicts_with = "server")]
    shards: Option<u16>,
    /// Queue that customers call.
    #[arg(long, value_name = "NAME", default_value = "support")]
    queue: String,
    /// Local addresses to connect from, in turn; a server limits what one address may do.
    #[arg(long, value_name = "IP")]
    source: Vec<IpAddr>,
    /// Calls at the same time.
    #[arg(long, value_name = "N", default_value_t = 10)]
    calls: u32,
    /// People in each call; the third is a supervisor who joins in.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    participants: u8,
    /// New calls per second until all are up.
    #[arg(long, value_name = "PER-SECOND", default_value_t = 5.0)]
    ramp: f64,
    /// How long to measure once all calls were started, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    duration: f64,
    /// Calls that end and are replaced, per second.
    #[arg(long, value_name = "PER-SECOND", default_value_t = 0.0)]
    churn: f64,
    /// Bitrate of each camera, kbit/s.
    #[arg(long, value_name = "KBPS", default_value_t = 2000)]
    video_kbps: u32,
    /// Voice only.
    #[arg(long)]
    audio_only: bool,
    /// Connected, but nothing is sent: microphones and cameras are off.
    #[arg(long, conflicts_with = "audio_only")]
    muted: bool,
    /// Share of datagrams lost on each way, percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,
    /// Delay of each way, milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// Largest deviation from the delay, milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter: u64,
    /// Bottleneck of each participant and way, kbit/s; 0: none.
    #[arg(long, value_name = "KBPS", default_value_t = 0)]
    rate_kbps: u64,
    /// Give the packets of a picture to the kernel in one piece: cheaper for tester and server than what
    /// browsers do.
    #[arg(long)]
    gso: bool,
    /// Media threads of the tester.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Seeds everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What makes the verdict; one that is not given is not checked.
#[derive(Debug, Args)]
struct LimitArgs {
    /// Calls that may be refused or fail.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_refused: u64,
    /// From media.offer to the first packet of somebody else, 95 of 100.
    #[arg(long, value_name = "MS")]
    max_join_ms_p95: Option<f64>,
    /// Packets that never arrived.
    #[arg(long, value_name = "PERCENT")]
    max_loss: Option<f64>,
    /// What arrived of what was owed to the others; less was lost or withheld by the server.
    #[arg(long, value_name = "PERCENT")]
    min_delivered: Option<f64>,
    /// One way through the server, 99 of 100.
    #[arg(long, value_name = "MS")]
    max_delay_ms_p99: Option<f64>,
    /// Processor time of the server, percent of one core.
    #[arg(long, value_name = "PERCENT")]
    max_cpu: Option<f64>,
    /// Memory of the server.
    #[arg(long, value_name = "MIB")]
    max_rss: Option<f64>,
    /// Growth of the server's memory from the first tenth of the measurement to its end.
    #[arg(long, value_name = "PERCENT")]
    max_rss_growth: Option<f64>,
}

/// A value that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: {message}")]
pub(crate) struct BadArgument {
    flag: &'static str,
    message: &'static str,
}

/// Which server is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// One that runs.
    Running {
        /// `host:port`.
        authority: String,
        /// Its accounts.
        staff: PathBuf,
        /// Its process, if known.
        pid: Option<u32>,
    },
    /// One of our own.
    Own {
        /// Its media threads.
        shards: u16,
    },
}

/// What to do, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) target: Target,
    pub(crate) queue: QueueId,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) plan: Plan,
    pub(crate) participants: usize,
    pub(crate) shape: MediaShape,
    pub(crate) line: Option<LinkSettings>,
    pub(crate) gso: bool,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) quiet: bool,
    pub(crate) limits: Limits,
}

impl LoadArgs {
    /// Checks the values against each other.
    pub(crate) fn settings(self) -> Result<Settings, BadArgument> {
        let bad = |flag, message| Err(BadArgument { flag, message });
        if self.calls == 0 {
            return bad("--calls", "must be at least 1");
        }
        if !(self.ramp.is_finite() && self.ramp > 0.0) {
            return bad("--ramp", "must be above 0");
        }
        if !(self.duration.is_finite() && (0.5..=86_400.0).contains(&self.duration)) {
            return bad("--duration", "must be 0.5 to 86400 seconds");
        }
        if !(self.churn.is_finite() && self.churn >= 0.0) {
            return bad("--churn", "must not be negative");
        }
        if !(0.0..100.0).contains(&self.loss) {
            return bad("--loss", "must be 0 to below 100 percent");
        }
        if self.jitter > self.delay {
            return bad("--jitter", "must not be above --delay");
        }
        let target = match self.server {
            Some(url) => {
                let authority = url
                    .strip_prefix("http://")
                    .map(|rest| rest.trim_end_matches('/'))
                    .filter(|rest| !rest.is_empty() && !rest.contains('/'));
                let (Some(authority), Some(staff)) = (authority, self.staff) else {
                    return bad(
                        "--server",
                        "must be http://host:port; behind a TLS proxy, load the address that the proxy uses",
                    );
                };
                Target::Running {
                    authority: authority.to_owned(),
                    staff,
                    pid: self.server_pid,
                }
            }
            None => {
                let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
                Target::Own {
                    shards: self.shards.unwrap_or_else(|| cores.min(8) as u16).max(1),
                }
            }
        };
        let Ok(queue) = QueueId::new(&self.queue) else {
            return bad("--queue", "is not the name of a queue");
        };
        let shape = if self.muted {
            MediaShape::MUTED
        } else {
            MediaShape {
                video_bps: if self.audio_only {
                    0
                } else {
                    self.video_kbps.saturating_mul(1000)
                },
                ..MediaShape::default()
            }
        };
        let line = LinkSettings {
            loss: self.loss / 100.0,
            delay: Duration::from_millis(self.delay),
            jitter: Duration::from_millis(self.jitter),
            rate: self.rate_kbps.saturating_mul(1000),
            ..LinkSettings::default()
        };
        let LimitArgs {
            max_refused,
            max_join_ms_p95,
            max_loss,
            min_delivered,
            max_delay_ms_p99,
            max_cpu,
            max_rss,
            max_rss_growth,
        } = self.limits;
        Ok(Settings {
            target,
            queue,
            sources: self.source,
            plan: Plan {
                calls: self.calls,
                ramp: self.ramp,
                churn: self.churn,
                duration: Duration::from_secs_f64(self.duration),
                seed: self.seed,
            },
            participants: usize::from(self.participants),
            shape,
            line: Some(line).filter(|line| *line != LinkSettings::default()),
            gso: self.gso,
            threads: self.threads.clamp(1, 64),
            seed: self.seed,
            json: self.json,
            quiet: self.quiet,
            limits: Limits {
                refused: max_refused,
                join_ms_p95: max_join_ms_p95,
                loss_percent: max_loss,
                delivered_percent: min_delivered,
                delay_ms_p99: max_delay_ms_p99,
                cpu_percent: max_cpu,
                rss_mib: max_rss,
                rss_growth_percent: max_rss_growth,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.load.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_a_server_of_our_own_is_loaded_with_ten_calls_of_two() {
        let settings = settings("").unwrap();
        assert!(matches!(settings.target, Target::Own { shards: 1.. }));
        assert_eq!((settings.plan.calls, settings.participants), (10, 2));
        assert_eq!(settings.shape, MediaShape::default());
        assert_eq!(settings.line, None);
    }

    #[test]
    fn a_running_server_needs_accounts_and_an_http_address() {
        let target = settings("--server http://127.0.0.1:8080/ --staff ops.txt --server-pid 7")
            .unwrap()
            .target;
        assert_eq!(
            target,
            Target::Running {
                authority: "127.0.0.1:8080".to_owned(),
                staff: "ops.txt".into(),
                pid: Some(7),
            }
        );
        assert!(settings("--server http://127.0.0.1:8080").is_err());
        assert!(settings("--server https://calls.example --staff ops.txt").is_err());
    }

    #[test]
    fn impossible_values_are_refused_by_the_name_of_their_flag() {
        for (line, flag) in [
            ("--calls 0", "--calls"),
            ("--ramp 0", "--ramp"),
            ("--duration 0", "--duration"),
            ("--loss 100", "--loss"),
            ("--jitter 5", "--jitter"),
            ("--participants 4", "--participants"),
            ("--queue A/B", "--queue"),
        ] {
            let refused = settings(line).unwrap_err();
            assert!(refused.contains(flag), "{line}: {refused}");
        }
    }
}
