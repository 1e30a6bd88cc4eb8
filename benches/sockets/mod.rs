//! The SFU with its sockets and threads on loopback, and what forwarding costs it: CPU time of the server's
//! threads only, packets counted where they arrive.
//!
//! The clients are synthetic but real to the server: ICE checks, DTLS handshakes, SRTP, and transport-wide feedback as
//! browsers send it. All are on one socket of ours and differ in address. They share the machine with the
//! server, so rates are given per second of the server's CPU time, and the generator's own use is told too.

mod generator;
pub mod sys;
pub mod traffic;

use std::fmt;
use std::io;
use std::time::Duration;

use callkit_sfu::control::Sfu;
use callkit_sfu::shard::ShardStats;

use crate::Figure;
use generator::Generator;
use sys::Usage;
use traffic::{PER_PERSON, Spacing};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scenario {
    /// Two-party calls.
    pub calls: usize,
    /// Times real time that the clients send; `None` is as fast as the server takes it.
    pub speed: Option<f64>,
    /// How the packets of a picture leave the clients.
    pub spacing: Spacing,
    /// Whether the server sends runs of packets in one call.
    pub segmentation: bool,
    /// Threads of the server.
    pub shards: usize,
    /// Length of the measured part.
    pub time: Duration,
}

impl Scenario {
    /// As many packets as one thread of the server takes.
    #[must_use]
    pub const fn saturated(segmentation: bool) -> Self {
        Self {
            calls: 100,
            speed: None,
            spacing: Spacing::Frames,
            segmentation,
            shards: 1,
            time: Duration::from_secs(4),
        }
    }

    /// People talking, each packet by itself: the worst case for a server that is not busy.
    #[must_use]
    pub const fn calm(calls: usize, shards: usize) -> Self {
        Self {
            calls,
            speed: Some(1.0),
            spacing: Spacing::Even,
            segmentation: true,
            shards,
            time: Duration::from_secs(4),
        }
    }
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was measured.
    pub scenario: Scenario,
    /// Measured time.
    pub time: Duration,
    /// Media packets sent to the server.
    pub sent: u64,
    /// Media packets received from it.
    pub delivered: u64,
    /// What the server's threads used.
    pub server: Usage,
    /// What the generator used.
    pub generator: Usage,
    /// The server's counters over the time.
    pub stats: ShardStats,
    /// Time from just before a packet is handed to the kernel until it is taken from the kernel: p50, p99,
    /// p99.9.
    pub delay: [Duration; 3],
    /// The same until it is in the receiver's socket, by the kernel's clock: without the time that the
    /// generator takes to wake up.
    pub kernel_delay: [Duration; 3],
}

impl Report {
    /// CPU time of the server for one delivered packet, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.server.cpu.as_secs_f64() * 1e6 / self.delivered.max(1) as f64
    }

    /// Packets that a second of CPU time forwards.
    #[must_use]
    pub fn per_core(&self) -> f64 {
        self.delivered as f64 / self.server.cpu.as_secs_f64().max(1e-9)
    }

    /// Times that the server's threads gave the processor up, for each delivered packet.
    #[must_use]
    pub fn waits(&self) -> f64 {
        self.server.waits as f64 / self.delivered.max(1) as f64
    }

    /// Share of one core that the server used.
    #[must_use]
    pub fn load(&self) -> f64 {
        self.server.cpu.as_secs_f64() / self.time.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            stats,
            delivered,
            ..
        } = self;
        let each = |count: u64| count as f64 / (*delivered).max(1) as f64;
        let ms = |delays: &[Duration; 3]| {
            let [p50, p99, p999] = delays.map(|delay| delay.as_secs_f64() * 1e3);
            format!("p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms")
        };
        writeln!(
            f,
            "{} calls, {:?}, {:?}, {} shards, segmentation {}",
            scenario.calls, scenario.speed, scenario.spacing, scenario.shards, scenario.segmentation
        )?;
        writeln!(
            f,
            "  delivered {delivered} of {} in {:.2} s = {:.0} per second; {:.0} per second of CPU, {:.2} us each",
            self.sent,
            self.time.as_secs_f64(),
            *delivered as f64 / self.time.as_secs_f64(),
            self.per_core(),
            self.cpu_us()
        )?;
        writeln!(
            f,
            "  server {:.1} % of a core, {:.2} waits a packet; generator {:.1} %",
            self.load() * 100.0,
            self.waits(),
            self.generator.cpu.as_secs_f64() / self.time.as_secs_f64() * 100.0
        )?;
        writeln!(f, "  delay {}", ms(&self.delay))?;
        writeln!(f, "  delay in the server {}", ms(&self.kernel_delay))?;
        writeln!(
            f,
            "  datagrams in {}, out {}, bytes out {} ({:.0} each), dropped {:?}",
            stats.datagrams_in,
            stats.datagrams_out,
            stats.bytes_out,
            stats.bytes_out as f64 / stats.datagrams_out.max(1) as f64,
            stats.drops
        )?;
        writeln!(
            f,
            "  a packet: {:.3} sends, {:.3} receives, {:.3} waits of the loop; the kernel dropped {}",
            each(stats.sends),
            each(stats.receives),
            each(stats.waits),
            stats.missed
        )?;
        write!(
            f,
            "  sends of 1, 2, up to 4, 8, 16, 32, more datagrams: {:?}",
            stats.runs
        )
    }
}

/// Runs a scenario.
///
/// # Errors
/// What the system says about sockets, threads and `/proc`, and a media plane that does not do its part.
pub fn run(scenario: Scenario) -> io::Result<Report> {
    let mut generator = Generator::connect(scenario)?;
    // Windows and caches fill, key frames arrive.
    generator.drive(Duration::from_millis(1500))?;
    let before = (generator.stats()?, sys::usage_of("sfu-")?, sys::own_usage()?);
    generator.forget();
    let time = generator.drive(scenario.time)?;
    let after = (sys::usage_of("sfu-")?, sys::own_usage()?, generator.stats()?);
    let counts = generator.counts();
    Ok(Report {
        scenario,
        time,
        sent: counts.sent,
        delivered: counts.delivered,
        server: after.0 - before.1,
        generator: after.1 - before.2,
        stats: since(after.2, before.0),
        delay: counts.delay,
        kernel_delay: counts.kernel_delay,
    })
}

/// Resident memory that a connected participant costs the server: growth per participant of calls that send
/// and receive sound and camera, in KiB. The clients live in this process too; what they hold is measured
/// by clients without a server and taken off.
///
/// # Errors
/// As [`run`].
pub fn memory_kib(calls: usize) -> io::Result<f64> {
    let scenario = Scenario {
        calls,
        speed: Some(1.0),
        spacing: Spacing::Frames,
        segmentation: true,
        shards: 1,
        time: Duration::from_secs(4),
    };
    // The first calls pay for what is there once: threads, buffers, tables.
    drop(run_to_end(Scenario { calls: 4, ..scenario })?);
    let start = sys::resident()?;
    let clients = Generator::clients_only(scenario)?;
    let of_clients = sys::resident()?.saturating_sub(start);
    drop(clients);
    let start = sys::resident()?;
    let generator = run_to_end(scenario)?;
    let of_both = sys::resident()?.saturating_sub(start);
    drop(generator);
    Ok(of_both.saturating_sub(of_clients) as f64 / 1024.0 / (2 * calls) as f64)
}

fn run_to_end(scenario: Scenario) -> io::Result<Generator> {
    let mut generator = Generator::connect(scenario)?;
    generator.drive(scenario.time)?;
    Ok(generator)
}

fn since(mut after: ShardStats, before: ShardStats) -> ShardStats {
    after.datagrams_in -= before.datagrams_in;
    after.datagrams_out -= before.datagrams_out;
    after.bytes_in -= before.bytes_in;
    after.bytes_out -= before.bytes_out;
    after.sends -= before.sends;
    after.receives -= before.receives;
    after.waits -= before.waits;
    after.missed -= before.missed;
    for (after, before) in after.runs.iter_mut().zip(before.runs) {
        *after -= before;
    }
    after
}

/// Share of a core that the thread of the server works at while delay is measured.
const DELAY_LOAD: f64 = 0.7;
/// Calls whose memory is measured.
const MEMORY_CALLS: usize = 50;

/// The figures of this module.
///
/// # Errors
/// As [`run`].
pub fn figures() -> io::Result<Vec<Figure>> {
    let plain = run(Scenario::saturated(false))?;
    let runs = run(Scenario::saturated(true))?;
    let one = run(Scenario::calm(1, 1))?;
    let many = run(Scenario::calm(25, 1))?;
    let busy = run(Scenario {
        speed: Some(runs.per_core() * DELAY_LOAD / offered(&runs.scenario) as f64),
        ..Scenario::saturated(true)
    })?;
    let [p50, p99, p999] = busy.kernel_delay.map(|delay| delay.as_secs_f64() * 1e3);
    Ok(vec![
        Figure::at_least("forward_pps_core", plain.per_core(), "packets/s", Some(150_000.0)),
        Figure::at_least(
            "forward_pps_core_gso",
            runs.per_core(),
            "packets/s",
            Some(220_000.0),
        ),
        Figure::at_most("forward_us_1_call", one.cpu_us(), "us", Some(45.0)),
        Figure::at_most("forward_us_25_calls", many.cpu_us(), "us", Some(15.0)),
        Figure::at_most("forward_waits_25_calls", many.waits(), "1/packet", None),
        Figure::at_most("sfu_delay_load", busy.load() * 100.0, "%", None),
        Figure::at_most("sfu_delay_ms_p50", p50, "ms", Some(0.2)),
        Figure::at_most("sfu_delay_ms_p99", p99, "ms", Some(2.0)),
        Figure::at_most("sfu_delay_ms_p999", p999, "ms", None),
        Figure::at_most(
            "sfu_memory_kib_per_participant",
            memory_kib(MEMORY_CALLS)?,
            "KiB",
            Some(256.0),
        ),
    ])
}

/// Type that [`generator`] drives; named here so that the module's picture is complete.
type Server = Sfu;

/// Packets a second that all clients of `scenario` send together at real time.
#[must_use]
pub const fn offered(scenario: &Scenario) -> u64 {
    2 * scenario.calls as u64 * PER_PERSON as u64
}
