//! `callkit-server load`: synthetic customers and operators talk through a server, and what they and the server
//! experience is measured. For acceptance tests and for finding the limit of a machine (docs/load-testing.md).
//!
//! | module | owns |
//! |---|---|
//! | [`args`] | what is asked for |
//! | [`plan`] | which call begins and ends when |
//! | [`server`] | a server of the test's own, accounts |
//! | [`connect`] | HTTP and signaling connections |
//! | [`person`] | the life of customer, operator and third participant |
//! | [`journal`] | what happened to calls |
//! | [`measure`] | what processes used |
//! | [`report`] | figures and verdict |
//!
//! Media is played by `callkit_sfu::testing::Swarm`.

mod args;
mod connect;
mod journal;
mod measure;
mod person;
mod plan;
mod report;
mod server;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::time::{Clock, SystemClock};
use callkit_sfu::testing::{Swarm, SwarmConfig, Totals};
use callkit_sfu::transport::{DtlsIdentity, IdentityError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

pub(crate) use args::{LoadArgs, Settings};
pub(crate) use connect::ConnectError;
pub(crate) use person::PersonError;
pub(crate) use report::Report;
pub(crate) use server::ServerError;

use args::Target;
use connect::Connector;
use journal::Notes;
use measure::{Course, Look, usage};
use person::{Order, Stage};
use plan::Step;
use report::Measured;
use server::{Accounts, OwnServer};

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long people have to leave at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the server has to let go of what they held.
const CLEARING: Duration = Duration::from_secs(5);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Server(ServerError),
    #[error(transparent)]
    Connect(ConnectError),
    #[error("an account cannot be used")]
    Account(#[source] PersonError),
    #[error("{what} accounts are needed, {given} are given")]
    Accounts { what: String, given: usize },
    #[error("no certificate for the participants")]
    Identity(#[source] IdentityError),
    #[error("the media threads of the tester do not start")]
    Swarm(#[source] std::io::Error),
    #[error("the tester does not start")]
    Runtime(#[source] std::io::Error),
    #[error("cannot write the result")]
    Json(#[source] std::io::Error),
}

/// Runs a test. Blocks until it is over; `progress` gets a line each second.
pub(crate) fn run(settings: &Settings, progress: impl Fn(&str)) -> Result<Report, LoadError> {
    let (own, accounts, authority, pid) = match &settings.target {
        Target::Own { shards } => {
            let supervisors = if settings.participants > 2 {
                settings.plan.calls
            } else {
                0
            };
            let mut own = OwnServer::start(
                *shards,
                settings.queue.as_str(),
                settings.plan.calls as usize,
                supervisors as usize,
            )
            .map_err(LoadError::Server)?;
            let (accounts, authority, pid) = (
                std::mem::take(&mut own.accounts),
                own.authority.clone(),
                own.pid(),
            );
            (Some(own), accounts, authority, Some(pid))
        }
        Target::Running {
            authority,
            staff,
            pid,
        } => {
            let accounts = Accounts::read(staff).map_err(LoadError::Server)?;
            (None, accounts, authority.clone(), *pid)
        }
    };
    // Signaling is little work: one thread does it, beside those of media.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::Runtime)?;
    let report = runtime.block_on(Box::pin(test(settings, accounts, &authority, pid, &progress)))?;
    drop(own);
    if let Some(path) = &settings.json {
        std::fs::write(path, report.to_json() + "\n").map_err(LoadError::Json)?;
    }
    Ok(report)
}

/// People who are there, and how to tell them what to do.
struct Cast {
    tasks: JoinSet<()>,
    customers: Vec<mpsc::Sender<Order>>,
    /// Dropped to send the operators home.
    operators: Vec<mpsc::Sender<()>>,
}

async fn test(
    settings: &Settings,
    accounts: Accounts,
    authority: &str,
    pid: Option<u32>,
    progress: &impl Fn(&str),
) -> Result<Report, LoadError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let connector = Connector::new(authority, settings.sources.clone())
        .await
        .map_err(LoadError::Connect)?;
    let swarm = SwarmConfig {
        threads: settings.threads,
        bind: Ipv4Addr::UNSPECIFIED.into(),
        line: settings.line,
        gso: settings.gso,
        seed: settings.seed,
    };
    let stage = Arc::new(Stage::new(
        connector,
        Swarm::start(swarm, &clock).map_err(LoadError::Swarm)?,
        Arc::clone(&clock),
        DtlsIdentity::generate().map_err(LoadError::Identity)?,
        settings.shape,
        settings.participants,
        settings.queue.clone(),
        settings.seed,
    ));
    let mut cast = assemble(&stage, settings, accounts, progress).await?;
    let files_before = pid
        .and_then(|pid| usage(&pid.to_string()))
        .map(|usage| usage.files);

    let mut course = None;
    let mut totals_before = Totals::default();
    let start = clock.monotonic();
    let mut steps = settings.plan.steps().into_iter().peekable();
    let (from, until) = settings.plan.measured();
    let warm = start + from + (until - from) / 10;
    let mut next_progress = start + PROGRESS;
    let mut last = (start, totals_before.clone());
    let (totals, course) = loop {
        let due = steps.peek().map_or(start + until, |(at, _)| start + *at);
        sleep_until(due.min(next_progress).into()).await;
        let now = clock.monotonic();
        if now >= next_progress {
            next_progress += PROGRESS;
            let totals = stage.swarm.totals().await;
            let look = Look::take(now, pid);
            progress(&line(
                now,
                start,
                &totals,
                &last,
                &stage.journal.so_far(),
                &look,
                course.as_ref(),
            ));
            last = (now, totals);
            if let Some(course) = &mut course {
                Course::add(course, look, now >= warm);
            }
        }
        if due > now {
            continue;
        }
        match steps.next().map(|(_, step)| step) {
            Some(Step::Start(place)) => order(&cast, place, Order::Start),
            Some(Step::Replace(place, side)) => order(&cast, place, Order::Replace(side)),
            Some(Step::Measure) => {
                course = Some(Course::new(Look::take(now, pid)));
                totals_before = stage.swarm.totals().await;
            }
            Some(Step::Finish) | None => {
                let look = Look::take(now, pid);
                let mut course = course.unwrap_or_else(|| Course::new(look));
                course.add(look, true);
                break (stage.swarm.totals().await, course);
            }
        }
    };
    for customer in &cast.customers {
        // Whoever has gone already needs no order.
        let _ = customer.try_send(Order::Leave);
    }
    cast.customers.clear();
    let operators = std::mem::take(&mut cast.operators);
    let files_after = clear(&clock, pid, files_before, &mut cast.tasks).await;
    drop(operators);
    let _ = timeout(FAREWELL, async {
        while cast.tasks.join_next().await.is_some() {}
    })
    .await;
    let all = stage.journal.so_far();
    let measured = Measured {
        calls: settings.plan.calls,
        participants: settings.participants,
        window: until - from,
        all: &all,
        totals: &totals.since(&totals_before),
        course: &course,
        impaired: settings.line.is_some(),
        files: (files_before, files_after),
    };
    Ok(Report::new(&measured, &settings.limits))
}

/// Signs staff in and seats the customers.
async fn assemble(
    stage: &Arc<Stage>,
    settings: &Settings,
    accounts: Accounts,
    progress: &impl Fn(&str),
) -> Result<Cast, LoadError> {
    let calls = settings.plan.calls;
    let thirds = if settings.participants > 2 {
        calls as usize
    } else {
        0
    };
    if accounts.operators.len() < calls as usize || accounts.supervisors.len() < thirds {
        return Err(LoadError::Accounts {
            what: format!("{calls} operator and {thirds} supervisor"),
            given: accounts.operators.len() + accounts.supervisors.len(),
        });
    }
    let mut cast = Cast {
        tasks: JoinSet::new(),
        customers: Vec::new(),
        operators: Vec::new(),
    };
    let (ready, mut arrived) = mpsc::channel(64);
    for (number, account) in (0..).zip(accounts.operators.into_iter().take(calls as usize)) {
        let (stop, stopped) = mpsc::channel(1);
        cast.operators.push(stop);
        let operator = person::operator(Arc::clone(stage), number, account, ready.clone(), stopped);
        cast.tasks.spawn(operator);
    }
    let mut supervisors = Vec::new();
    for (number, account) in (calls..).zip(accounts.supervisors.into_iter().take(thirds)) {
        let (calls, joins) = mpsc::channel(person::ORDERS);
        supervisors.push(calls);
        let third = person::third(Arc::clone(stage), number, account, ready.clone(), joins);
        cast.tasks.spawn(third);
    }
    drop(ready);
    let wanted = calls as usize + thirds;
    for number in 1..=wanted {
        match arrived.recv().await {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(LoadError::Account(error)),
            None => break,
        }
        if number % 50 == 0 || number == wanted {
            progress(&format!("{number} of {wanted} members of staff signed in"));
        }
    }
    let mut supervisors = supervisors.into_iter();
    for place in 0..calls {
        let (orders, received) = mpsc::channel(person::ORDERS);
        cast.customers.push(orders);
        // Staff has the numbers before.
        let number = wanted as u32 + place;
        let customer = person::customer(Arc::clone(stage), number, received, supervisors.next());
        cast.tasks.spawn(customer);
    }
    Ok(cast)
}

/// Waits until the server has let go of what the customers held; its open descriptors by then.
async fn clear(
    clock: &Arc<dyn Clock>,
    pid: Option<u32>,
    before: Option<u64>,
    tasks: &mut JoinSet<()>,
) -> Option<u64> {
    let end = clock.monotonic() + CLEARING;
    loop {
        // People who have gone are let go of.
        while tasks.try_join_next().is_some() {}
        let files = usage(&pid?.to_string())?.files;
        if Some(files) <= before || clock.monotonic() >= end {
            return Some(files);
        }
        sleep_until((clock.monotonic() + PROGRESS / 10).into()).await;
    }
}

fn order(cast: &Cast, place: u32, order: Order) {
    if let Some(customer) = cast.customers.get(place as usize) {
        // A customer that is tens of orders behind, or gone, has said why.
        let _ = customer.try_send(order);
    }
}

/// One line of progress.
fn line(
    now: Instant,
    start: Instant,
    totals: &Totals,
    last: &(Instant, Totals),
    notes: &Notes,
    look: &Look,
    course: Option<&Course>,
) -> String {
    let since = totals.since(&last.1);
    let seconds = now.saturating_duration_since(last.0).as_secs_f64().max(0.001);
    let rate = |count: u64| count as f64 / seconds;
    let millis = |quantile: Option<Duration>| quantile.map_or(0.0, |duration| duration.as_secs_f64() * 1e3);
    let server = match (
        look.server,
        course.and_then(|course| course.last.server.zip(Some(course.last.at))),
    ) {
        (Some(now), Some((before, at))) => format!(
            " | server {:.0} % {:.0} MiB",
            measure::cpu_percent((at, before.cpu), (look.at, now.cpu)),
            now.rss as f64 / 1_048_576.0
        ),
        (Some(now), None) => format!(" | server {:.0} MiB", now.rss as f64 / 1_048_576.0),
        (None, _) => String::new(),
    };
    format!(
        "{:>4.0} s | {} calls, {} people | out {:.0} packets/s {:.1} Mbit/s | delivered {:.1} % | delay p99 {:.1} ms{server} | \
         refused {}{}",
        now.saturating_duration_since(start).as_secs_f64(),
        notes.up - notes.ended.min(notes.up),
        totals.connected,
        rate(since.own.datagrams_in),
        rate(since.own.bytes_in) * 8.0 / 1e6,
        since.delivered() * 100.0,
        millis(since.delay.quantile(0.99)),
        notes.refusals(),
        if course.is_some() { "" } else { " | ramp" },
    )
}
