//! [`Report`]: what was measured, what was promised, the verdict; as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use callkit_sfu::testing::{Histogram, Totals};
use serde::Serialize;

use super::journal::Notes;
use super::measure::Course;

/// The tester is late when 1 of 100 of its timers is this late, ms: delays measured then are its own.
const LATE_MS: f64 = 5.0;
/// The machine has nothing left above this, percent of all cores.
const FULL_PERCENT: f64 = 95.0;

/// What makes the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Limits {
    pub(crate) refused: u64,
    pub(crate) join_ms_p95: Option<f64>,
    pub(crate) loss_percent: Option<f64>,
    pub(crate) delivered_percent: Option<f64>,
    pub(crate) delay_ms_p99: Option<f64>,
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) rss_mib: Option<f64>,
    pub(crate) rss_growth_percent: Option<f64>,
}

/// What the report is made of.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    /// Calls that should be up, and people in each.
    pub(super) calls: u32,
    pub(super) participants: usize,
    /// Length of the measurement.
    pub(super) window: Duration,
    /// What happened to calls, from the very beginning.
    pub(super) all: &'a Notes,
    pub(super) totals: &'a Totals,
    pub(super) course: &'a Course,
    /// Whether the line was made worse on purpose.
    pub(super) impaired: bool,
    /// Descriptors of the server before the first call and after the last.
    pub(super) files: (Option<u64>, Option<u64>),
}

/// Durations as figures, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Spread {
    count: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Spread {
    fn of(histogram: &Histogram) -> Self {
        let at = |share| {
            let micros = histogram
                .quantile(share)
                .map_or(0, |duration| duration.as_micros());
            micros as f64 / 1000.0
        };
        Self {
            count: histogram.count(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

/// Calls and people.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Calls {
    wanted: u32,
    participants_each: usize,
    /// Begun in all, and of them those whose people met.
    asked: u64,
    up: u64,
    ended: u64,
    joined: u64,
    left: u64,
    overtaken: u64,
    refused: BTreeMap<String, u64>,
    connected_at_end: u64,
}

/// Media, per second and in shares.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Media {
    in_mbps: f64,
    out_mbps: f64,
    in_packets_per_s: f64,
    out_packets_per_s: f64,
    media_packets_sent: u64,
    media_packets_arrived: u64,
    mean_packet_bytes: f64,
    audio_loss_percent: f64,
    video_loss_percent: f64,
    video_loss_before_repair_percent: f64,
    frames_complete_percent: f64,
    delivered_percent: f64,
    lost_on_purpose: u64,
    audio_jitter: Spread,
    delay: Spread,
}

/// What the server used.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Server {
    cpu_percent: f64,
    cpu_peak_percent: f64,
    cpu_us_per_packet_out: f64,
    switches_per_s: f64,
    rss_mib: f64,
    rss_kib_per_participant: f64,
    rss_growth_percent: f64,
    files_before: u64,
    files_after: u64,
    threads: u64,
}

/// How the tester did.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Tester {
    cpu_percent: f64,
    lag_p50_ms: f64,
    lag_p99_ms: f64,
    datagrams_per_send: f64,
    datagrams_per_receive: f64,
    not_taken: u64,
    not_authentic: u64,
    machine_percent: f64,
    udp_drops: u64,
}

/// A limit and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    name: &'static str,
    value: f64,
    limit: f64,
    ok: bool,
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    seconds: f64,
    calls: Calls,
    /// From `media.offer` to the first packet of somebody else.
    join: Spread,
    /// The same of the third participant.
    join_third: Spread,
    /// From `call.start` to the first packet of the operator.
    setup: Spread,
    media: Media,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
    tester: Tester,
    checks: Vec<Check>,
    /// What to know before believing the figures.
    warnings: Vec<String>,
    ok: bool,
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

impl Report {
    /// The figures of what was measured, and the verdict by `limits`.
    pub(super) fn new(measured: &Measured<'_>, limits: &Limits) -> Self {
        let mut report = Self {
            seconds: measured.window.as_secs_f64(),
            calls: Calls {
                wanted: measured.calls,
                participants_each: measured.participants,
                asked: measured.all.asked,
                up: measured.all.up,
                ended: measured.all.ended,
                joined: measured.all.joined,
                left: measured.all.left,
                overtaken: measured.all.overtaken,
                refused: measured.all.refused.clone(),
                connected_at_end: measured.totals.connected,
            },
            join: Spread::of(&measured.all.join),
            join_third: Spread::of(&measured.all.third),
            setup: Spread::of(&measured.all.setup),
            media: media(measured),
            server: server(measured),
            tester: tester(measured),
            checks: Vec::new(),
            warnings: Vec::new(),
            ok: true,
        };
        report.checks = report.checks(measured, limits);
        report.warnings = report.warnings(measured);
        report.ok = report.checks.iter().all(|check| check.ok);
        report
    }

    /// Whether every limit was kept.
    pub(crate) const fn is_ok(&self) -> bool {
        self.ok
    }

    fn checks(&self, measured: &Measured<'_>, limits: &Limits) -> Vec<Check> {
        let at_most = |name, value: f64, limit: f64| Check {
            name,
            value,
            limit,
            ok: value <= limit,
        };
        let at_least = |name, value: f64, limit: f64| Check {
            name,
            value,
            limit,
            ok: value >= limit,
        };
        let mut checks = vec![at_most(
            "refused",
            measured.all.refusals() as f64,
            limits.refused as f64,
        )];
        // What nobody looked at was not kept.
        let of_server = |figure: fn(&Server) -> f64| self.server.as_ref().map_or(f64::INFINITY, figure);
        let join = self.join.p95_ms.max(self.join_third.p95_ms);
        let loss = self.media.audio_loss_percent.max(self.media.video_loss_percent);
        let upper = [
            ("join_ms_p95", join, limits.join_ms_p95),
            ("loss_percent", loss, limits.loss_percent),
            ("delay_ms_p99", self.media.delay.p99_ms, limits.delay_ms_p99),
            (
                "server_cpu_percent",
                of_server(|server| server.cpu_percent),
                limits.cpu_percent,
            ),
            (
                "server_rss_mib",
                of_server(|server| server.rss_mib),
                limits.rss_mib,
            ),
            (
                "server_rss_growth_percent",
                of_server(|server| server.rss_growth_percent),
                limits.rss_growth_percent,
            ),
        ];
        checks.extend(
            upper
                .into_iter()
                .filter_map(|(name, value, limit)| Some(at_most(name, value, limit?))),
        );
        let delivered = self.media.delivered_percent;
        checks.extend(
            limits
                .delivered_percent
                .map(|limit| at_least("delivered_percent", delivered, limit)),
        );
        checks
    }

    fn warnings(&self, measured: &Measured<'_>) -> Vec<String> {
        let mut warnings = Vec::new();
        let wanted = u64::from(measured.calls) * measured.participants as u64;
        if measured.totals.connected < wanted {
            warnings.push(format!(
                "{} of {wanted} participants were connected at the end of the measurement",
                measured.totals.connected
            ));
        }
        if self.tester.lag_p99_ms > LATE_MS {
            warnings.push(format!(
                "the tester was late (1 of 100 timers by more than {:.1} ms): it or the machine is saturated, and delays \
                 are partly its own",
                self.tester.lag_p99_ms
            ));
        }
        if self.tester.machine_percent > FULL_PERCENT {
            warnings.push(format!(
                "the machine had nothing left ({:.0} % of all cores busy): this is the limit of server, tester and \
                 everything else here together",
                self.tester.machine_percent
            ));
        }
        let others = measured.course.machine_percent().unwrap_or(0.0)
            * measured
                .course
                .last
                .machine
                .map_or(1.0, |(_, cores)| f64::from(cores))
            - self.tester.cpu_percent
            - self.server.map_or(0.0, |server| server.cpu_percent);
        if self.server.is_some() && others > 25.0 {
            warnings.push(format!("other processes used {others:.0} % of a core"));
        }
        if self.tester.udp_drops > 0 {
            warnings.push(format!(
                "the kernel dropped {} datagrams at full sockets of this machine",
                self.tester.udp_drops
            ));
        }
        if self.tester.not_taken > 0 {
            warnings.push(format!(
                "the kernel did not take {} datagrams of the tester",
                self.tester.not_taken
            ));
        }
        if measured.impaired {
            warnings.push("delays include the impairments asked for".to_owned());
        }
        warnings
    }

    /// The whole as JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a tree of numbers and strings")
    }
}

fn media(measured: &Measured<'_>) -> Media {
    let Measured { totals, window, .. } = measured;
    let seconds = window.as_secs_f64();
    let mbps = |bytes: u64| share(bytes as f64 * 8.0 / 1e6, seconds);
    let sent = totals.sent.audio_packets + totals.sent.video_packets;
    Media {
        in_mbps: mbps(totals.sent.bytes),
        out_mbps: mbps(totals.own.bytes_in),
        in_packets_per_s: share(totals.sent.datagrams as f64, seconds),
        out_packets_per_s: share(totals.own.datagrams_in as f64, seconds),
        media_packets_sent: sent,
        media_packets_arrived: totals.audio.arrived + totals.video.arrived,
        mean_packet_bytes: share(totals.sent.media_bytes as f64, sent as f64),
        audio_loss_percent: totals.audio.loss() * 100.0,
        video_loss_percent: totals.video.loss() * 100.0,
        video_loss_before_repair_percent: totals.video.loss_before_repair() * 100.0,
        frames_complete_percent: 100.0
            * share(
                totals.video.frames_complete as f64,
                totals.video.frames_expected as f64,
            ),
        delivered_percent: totals.delivered() * 100.0,
        lost_on_purpose: totals.own.impaired,
        audio_jitter: Spread::of(&totals.jitter),
        delay: Spread::of(&totals.delay),
    }
}

fn server(measured: &Measured<'_>) -> Option<Server> {
    let Measured { course, totals, .. } = measured;
    let (first, last) = (course.first.server?, course.last.server?);
    let people = (u64::from(measured.calls) * measured.participants as u64).max(1);
    let warm = course.warm_rss.unwrap_or(first.rss);
    let cpu = last.cpu.saturating_sub(first.cpu);
    Some(Server {
        cpu_percent: course.cpu(|look| look.server).unwrap_or(0.0),
        cpu_peak_percent: course.server_peak,
        cpu_us_per_packet_out: share(cpu.as_secs_f64() * 1e6, totals.own.datagrams_in as f64),
        switches_per_s: share(
            last.switches.saturating_sub(first.switches) as f64,
            measured.window.as_secs_f64(),
        ),
        rss_mib: mib(last.rss),
        rss_kib_per_participant: last.rss as f64 / 1024.0 / people as f64,
        rss_growth_percent: 100.0 * share(last.rss as f64 - warm as f64, warm as f64),
        files_before: measured.files.0.unwrap_or(0),
        files_after: measured.files.1.unwrap_or(0),
        threads: last.threads,
    })
}

fn tester(measured: &Measured<'_>) -> Tester {
    let Measured { course, totals, .. } = measured;
    let lag = Spread::of(&totals.lag);
    Tester {
        cpu_percent: course.cpu(|look| look.tester).unwrap_or(0.0),
        lag_p50_ms: lag.p50_ms,
        lag_p99_ms: lag.p99_ms,
        datagrams_per_send: share(totals.sent.datagrams as f64, totals.own.sends as f64),
        datagrams_per_receive: share(totals.own.datagrams_in as f64, totals.own.receives as f64),
        not_taken: totals.own.not_taken,
        not_authentic: totals.own.not_authentic,
        machine_percent: course.machine_percent().unwrap_or(0.0),
        udp_drops: match (course.first.udp_drops, course.last.udp_drops) {
            (Some(first), Some(last)) => last.saturating_sub(first),
            _ => 0,
        },
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        f.write_str(text.trim_end())
    }
}

impl Report {
    fn write(&self, to: &mut String) -> fmt::Result {
        let Self {
            calls, media, tester, ..
        } = self;
        writeln!(to, "measured for {:.1} s", self.seconds)?;
        writeln!(to, "calls")?;
        writeln!(
            to,
            "  up            {} of {} begun, {} wanted with {} people each; {} people connected at the end",
            calls.up, calls.asked, calls.wanted, calls.participants_each, calls.connected_at_end
        )?;
        writeln!(
            to,
            "  ended         {} as planned; {} joins, {} leaves; {} requests came after the end of their call",
            calls.ended, calls.joined, calls.left, calls.overtaken
        )?;
        let refused: Vec<String> = calls
            .refused
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        let refused = if refused.is_empty() {
            "none".to_owned()
        } else {
            refused.join(", ")
        };
        writeln!(to, "  refused       {refused}")?;
        spread(to, "join", &self.join)?;
        if self.join_third.count > 0 {
            spread(to, "join, third", &self.join_third)?;
        }
        spread(to, "call set-up", &self.setup)?;
        writeln!(to, "media")?;
        writeln!(
            to,
            "  to the server {:.1} Mbit/s, {:.0} packets/s; from it {:.1} Mbit/s, {:.0} packets/s",
            media.in_mbps, media.in_packets_per_s, media.out_mbps, media.out_packets_per_s
        )?;
        writeln!(
            to,
            "  delivered     {:.2} % of what was owed; {} packets of {:.0} bytes sent, {} arrived",
            media.delivered_percent,
            media.media_packets_sent,
            media.mean_packet_bytes,
            media.media_packets_arrived
        )?;
        writeln!(
            to,
            "  loss          voice {:.3} %, video {:.3} % ({:.3} % before repair), pictures complete {:.2} %",
            media.audio_loss_percent,
            media.video_loss_percent,
            media.video_loss_before_repair_percent,
            media.frames_complete_percent
        )?;
        spread(to, "delay", &media.delay)?;
        spread(to, "voice jitter", &media.audio_jitter)?;
        match &self.server {
            Some(server) => {
                writeln!(to, "server")?;
                writeln!(
                    to,
                    "  processor     {:.1} % of a core, {:.1} % in its busiest second, {:.1} us per packet out, {:.0} \
                     switches/s",
                    server.cpu_percent,
                    server.cpu_peak_percent,
                    server.cpu_us_per_packet_out,
                    server.switches_per_s
                )?;
                writeln!(
                    to,
                    "  memory        {:.1} MiB, {:.0} KiB per participant, growth {:+.1} %; {} threads",
                    server.rss_mib, server.rss_kib_per_participant, server.rss_growth_percent, server.threads
                )?;
                writeln!(
                    to,
                    "  descriptors   {} before the first call, {} after the last",
                    server.files_before, server.files_after
                )?;
            }
            None => writeln!(
                to,
                "server        not on this machine: its processor and memory are not known"
            )?,
        }
        writeln!(to, "tester")?;
        writeln!(
            to,
            "  processor     {:.1} % of a core; the machine was {:.0} % busy; timers late by {:.2} ms (p50), {:.2} ms (p99)",
            tester.cpu_percent, tester.machine_percent, tester.lag_p50_ms, tester.lag_p99_ms
        )?;
        writeln!(
            to,
            "  system calls  {:.2} datagrams per send, {:.2} per receive",
            tester.datagrams_per_send, tester.datagrams_per_receive
        )?;
        for warning in &self.warnings {
            writeln!(to, "note          {warning}")?;
        }
        writeln!(to, "verdict")?;
        for check in &self.checks {
            let verdict = if check.ok { "kept" } else { "MISSED" };
            writeln!(
                to,
                "  {verdict:<7} {} is {:.3}, limit {}",
                check.name, check.value, check.limit
            )?;
        }
        Ok(())
    }
}

fn spread(to: &mut String, name: &str, spread: &Spread) -> fmt::Result {
    writeln!(
        to,
        "  {name:<13} {:.2} ms (p50), {:.2} ms (p95), {:.2} ms (p99), {:.2} ms at most; {}",
        spread.p50_ms, spread.p95_ms, spread.p99_ms, spread.max_ms, spread.count
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::{Look, Usage};
    use callkit_core::testing::ManualClock;
    use callkit_core::time::{Clock as _, Timestamp};

    fn course(server: bool) -> Course {
        let start = ManualClock::new(Timestamp::from_millis(0)).monotonic();
        let usage = |cpu, rss| Usage {
            cpu: Duration::from_secs(cpu),
            rss,
            files: 20,
            threads: 5,
            switches: 100 * cpu,
        };
        let look = |seconds, cpu, rss| Look {
            at: start + Duration::from_secs(seconds),
            server: server.then(|| usage(cpu, rss)),
            tester: Some(usage(cpu, 1 << 20)),
            machine: Some((Duration::from_secs(2 * cpu), 2)),
            udp_drops: Some(0),
        };
        let mut course = Course::new(look(0, 0, 50 << 20));
        course.add(look(1, 1, 50 << 20), true);
        course.add(look(10, 5, 55 << 20), true);
        course
    }

    fn notes(refused: u64) -> Notes {
        let mut notes = Notes {
            asked: 4,
            up: 4 - refused,
            ..Notes::default()
        };
        if refused > 0 {
            notes.refused.insert("overloaded".to_owned(), refused);
        }
        for millis in [100, 200, 300] {
            notes.join.note(Duration::from_millis(millis));
        }
        notes
    }

    fn report(server: bool, refused: u64, limits: &Limits) -> Report {
        let (course, notes) = (course(server), notes(refused));
        let mut totals = Totals::default();
        (totals.sent.owed, totals.audio.expected, totals.audio.arrived) = (1000, 1000, 990);
        let measured = Measured {
            calls: 4,
            participants: 2,
            window: Duration::from_secs(10),
            all: &notes,
            totals: &totals,
            course: &course,
            impaired: false,
            files: (Some(20), Some(20)),
        };
        Report::new(&measured, limits)
    }

    #[test]
    fn the_figures_are_those_of_the_measurement() {
        let report = report(true, 0, &Limits::default());
        let server = report.server.unwrap();
        assert!((server.cpu_percent - 50.0).abs() < 0.01, "{server:?}");
        assert!((server.cpu_peak_percent - 100.0).abs() < 0.01);
        assert!((server.rss_growth_percent - 10.0).abs() < 0.01);
        assert!((report.media.delivered_percent - 99.0).abs() < 0.01);
        assert!((report.media.audio_loss_percent - 1.0).abs() < 0.01);
        assert!(report.is_ok());
    }

    #[test]
    fn each_limit_decides() {
        let strict = [
            Limits {
                join_ms_p95: Some(200.0),
                ..Limits::default()
            },
            Limits {
                loss_percent: Some(0.5),
                ..Limits::default()
            },
            Limits {
                delivered_percent: Some(99.5),
                ..Limits::default()
            },
            Limits {
                cpu_percent: Some(40.0),
                ..Limits::default()
            },
            Limits {
                rss_mib: Some(54.0),
                ..Limits::default()
            },
            Limits {
                rss_growth_percent: Some(5.0),
                ..Limits::default()
            },
        ];
        for limits in strict {
            assert!(!report(true, 0, &limits).is_ok(), "{limits:?}");
        }
        let generous = Limits {
            refused: 1,
            join_ms_p95: Some(400.0),
            loss_percent: Some(2.0),
            delivered_percent: Some(98.0),
            delay_ms_p99: Some(1.0),
            cpu_percent: Some(60.0),
            rss_mib: Some(60.0),
            rss_growth_percent: Some(20.0),
        };
        assert!(report(true, 1, &generous).is_ok());
        assert!(!report(true, 2, &generous).is_ok(), "one refusal too many");
        assert!(
            !report(false, 0, &generous).is_ok(),
            "what nobody looked at was not kept"
        );
    }

    #[test]
    fn table_and_json_say_the_same() {
        let report = report(true, 1, &Limits::default());
        let table = report.to_string();
        assert!(table.contains("overloaded 1"), "{table}");
        assert!(table.contains("MISSED  refused is 1"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["calls"]["refused"]["overloaded"], 1);
        assert_eq!(json["checks"][0]["name"], "refused");
    }
}
