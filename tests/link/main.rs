//! An emulated network link between two TUN devices, for kernels without netem: `link NAME NAME`.
//!
//! Makes two devices, prints `ready`, and carries what the kernel routes into one out of the other. The caller
//! gives them addresses and may move each to a network namespace of its own. Lines on the standard input change
//! the link while it runs:
//!
//! ```text
//! up delay=20 loss=5        towards the first device
//! down rate=300 queue=200   towards the second one
//! both loss=100             both ways; what is not named stays as it is
//! ```
//!
//! `delay`, `jitter` and `queue` are milliseconds, `loss`, `burst_start` and `burst_end` percent, `rate` kbit/s (0:
//! without limit), `reorder` 0 or 1. The end of the input ends the program.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks on the terminal"
)]

mod settings;
#[cfg(target_os = "linux")]
mod tun;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let [first, second] = names.as_slice() else {
        eprintln!("usage: link NAME NAME");
        return ExitCode::from(2);
    };
    match carry::run(first, second) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("link: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("link: TUN devices are a matter of Linux");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod carry {
    //! The loop between the two devices.

    use std::io;
    use std::sync::Arc;
    use std::time::Instant;

    use callkit_core::time::{Clock as _, SystemClock};
    use callkit_sfu::testing::{Link, LinkSettings};
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::settings::Change;
    use super::tun::Tun;

    /// Longest IP packet that a TUN device gives.
    const PACKET: usize = 65_536;

    pub(super) fn run(first: &str, second: &str) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(carry(first, second))
    }

    async fn carry(first: &str, second: &str) -> io::Result<()> {
        let ends = [Tun::create(first)?, Tun::create(second)?];
        let clock = Arc::new(SystemClock::new());
        let mut up = Link::new(LinkSettings::default(), 1);
        let mut down = Link::new(LinkSettings::default(), 2);
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let (mut one, mut other) = (vec![0; PACKET], vec![0; PACKET]);
        println!("ready");
        loop {
            let due = up.due().into_iter().chain(down.due()).min();
            tokio::select! {
                biased;
                line = lines.next_line() => {
                    let Some(line) = line? else { break };
                    match line.parse::<Change>() {
                        Ok(change) => change.apply(&mut up.settings, &mut down.settings),
                        Err(error) => eprintln!("link: {error}"),
                    }
                }
                () = until(due) => {}
                length = ends[0].read(&mut one) => {
                    let packet = one[..length?].to_vec();
                    down.send(clock.monotonic(), packet.len(), packet);
                }
                length = ends[1].read(&mut other) => {
                    let packet = other[..length?].to_vec();
                    up.send(clock.monotonic(), packet.len(), packet);
                }
            }
            let now = clock.monotonic();
            while let Some(packet) = up.receive(now) {
                ends[0].write(&packet);
            }
            while let Some(packet) = down.receive(now) {
                ends[1].write(&packet);
            }
        }
        for (way, link) in [("up", up.counters()), ("down", down.counters())] {
            eprintln!("link: {way} {link:?}");
        }
        Ok(())
    }

    async fn until(due: Option<Instant>) {
        match due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }
}
