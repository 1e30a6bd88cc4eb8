//! A shard's thread: socket, mailbox, clock. Everything that decides is in [`Shard`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use callkit_core::id::{ParticipantId, RoomId};
use callkit_core::time::Clock;
use tokio::sync::{mpsc, oneshot};

use super::load::{LoadMeter, SharedLoad};
use super::pace::Pace;
use super::socket::{RECEIVE_BATCH, ReceiveBuffers, ShardSocket};
use super::sys::{self, Ready, WakeReceiver, Waker};
use super::tcp::{Outlets, TcpPlane};
use super::{SendBatch, Shard, ShardStats};
use crate::control::{JoinError, Joined, SfuEvent};
use crate::media::Grant;
use crate::sdp::Offer;

/// Commands that may wait for a shard. Each takes well below a millisecond.
const MAILBOX: usize = 512;
/// Commands and receive batches that are handled before the other gets its turn.
const TURN: usize = 8;
/// How late a timer may be while nothing else wakes the thread. Timers that fall into that time cost one wake-up
/// together, and mostly none, because datagrams come anyway.
const SLACK: Duration = Duration::from_millis(2);
/// How soon a full event queue is tried again.
const EVENT_RETRY: Duration = Duration::from_millis(20);
/// Events that may wait for a full queue before the unimportant ones are left out.
const MAX_WAITING_EVENTS: usize = 4096;
/// The DTLS stack walks handshake fragments recursively; its budget fits well below this.
const STACK: usize = 4 * 1024 * 1024;

/// What the control side asks of a shard.
#[derive(Debug)]
pub(crate) enum Command {
    Join {
        room: RoomId,
        participant: ParticipantId,
        offer: Box<Offer>,
        grant: Grant,
        reply: oneshot::Sender<Result<Joined, JoinError>>,
    },
    SetGrant {
        room: RoomId,
        participant: ParticipantId,
        grant: Grant,
        reply: oneshot::Sender<()>,
    },
    Restart {
        room: RoomId,
        participant: ParticipantId,
        offer: Box<Offer>,
        reply: oneshot::Sender<Result<String, JoinError>>,
    },
    Leave {
        room: RoomId,
        participant: ParticipantId,
        reply: oneshot::Sender<()>,
    },
    CloseRoom {
        room: RoomId,
        reply: oneshot::Sender<()>,
    },
    Stats {
        reply: oneshot::Sender<ShardStats>,
    },
}

/// The control side's end of a shard.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    mailbox: SyncSender<Command>,
    waker: Waker,
    load: Arc<SharedLoad>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Stopped,
}

impl ShardHandle {
    /// Starts a thread for `shard` on `socket`; `meter` says when it is too busy for more.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only repeat the names"
    )]
    pub(crate) fn spawn(
        number: usize,
        pin: bool,
        meter: LoadMeter,
        shard: Shard,
        socket: ShardSocket,
        tcp: Option<TcpPlane>,
        clock: Arc<dyn Clock>,
        events: mpsc::Sender<SfuEvent>,
    ) -> io::Result<Self> {
        let (mailbox, commands) = sync_channel(MAILBOX);
        let (waker, wake) = sys::waker()?;
        let stop = Arc::new(AtomicBool::new(false));
        let load = Arc::new(SharedLoad::default());
        let mut driver = Driver {
            shard,
            socket,
            tcp,
            commands,
            wake,
            clock,
            events,
            waiting: VecDeque::new(),
            left_out: 0,
            stop: Arc::clone(&stop),
            batch: SendBatch::new(),
            bytes_in: 0,
            datagrams_in: 0,
            receives: 0,
            waits: 0,
            pace: Pace::default(),
            meter,
            load: Arc::clone(&load),
        };
        let thread = std::thread::Builder::new()
            .name(format!("sfu-{number}"))
            .stack_size(STACK)
            .spawn(move || {
                if pin {
                    sys::pin_to_core(number);
                }
                if let Err(error) = driver.run() {
                    tracing::error!(shard = number, %error, "a media thread ended");
                }
            })?;
        Ok(Self {
            mailbox,
            waker,
            load,
            stop,
            thread: Some(thread),
        })
    }

    /// How busy the thread is.
    pub(crate) fn load(&self) -> &SharedLoad {
        &self.load
    }

    /// Puts a command into the mailbox.
    pub(crate) fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.mailbox.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Disconnected(_) => NotTaken::Stopped,
        })?;
        self.waker.wake();
        Ok(())
    }

    /// Ends the thread after it has said goodbye to the clients.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has been reported; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
struct Driver {
    shard: Shard,
    socket: ShardSocket,
    /// Connections of clients without UDP.
    tcp: Option<TcpPlane>,
    commands: Receiver<Command>,
    wake: WakeReceiver,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<SfuEvent>,
    /// Events that the queue had no room for.
    waiting: VecDeque<SfuEvent>,
    left_out: u64,
    stop: Arc<AtomicBool>,
    batch: SendBatch,
    bytes_in: u64,
    datagrams_in: u64,
    receives: u64,
    waits: u64,
    pace: Pace,
    meter: LoadMeter,
    load: Arc<SharedLoad>,
}

impl Driver {
    fn run(&mut self) -> io::Result<()> {
        let mut buffers = self.socket.receive_buffers();
        let mut more = false;
        while !self.stop.load(Ordering::Acquire) {
            more |= self.handle_commands();
            let now = self.clock.monotonic();
            self.shard.handle_timeout(now, &mut self.batch);
            self.flush(now);
            self.hand_out_events();

            if self.meter.due(self.datagrams_in).is_some_and(|due| due <= now) {
                let used = (sys::thread_time(), self.datagrams_in, self.socket.dropped());
                self.load.set(self.meter.sample(now, used.0, used.1, used.2));
            }
            // Arms what has changed, also when there is no time to wait.
            let timer = self.shard.poll_timeout();
            let ready = if more {
                // Commands are looked for in each round; there is nothing to wait for.
                Ready {
                    socket: true,
                    woken: false,
                    tcp: self.tcp.is_some(),
                }
            } else {
                self.wait(now, timer)?
            };
            if ready.woken {
                self.wake.take();
            }
            more = ready.socket && self.handle_datagrams(&mut buffers)?;
            let sweep = self.tcp.as_ref().and_then(TcpPlane::poll_timeout);
            if ready.tcp || sweep.is_some_and(|due| due <= now) {
                more |= self.handle_tcp()?;
            }
        }
        let now = self.clock.monotonic();
        self.shard.close(now, &mut self.batch);
        self.flush(now);
        Ok(())
    }

    /// Waits until there is something to do; `now` is when that was last looked for, `timer` when the shard has
    /// something to do by itself.
    fn wait(&mut self, now: Instant, timer: Option<Instant>) -> io::Result<Ready> {
        let left = |due: Instant| due.saturating_duration_since(now);
        let timer = timer.map(|due| left(due) + SLACK);
        let retry = (!self.waiting.is_empty()).then_some(EVENT_RETRY);
        let measure = self.meter.due(self.datagrams_in).map(left);
        let sweep = self.tcp.as_ref().and_then(TcpPlane::poll_timeout).map(left);
        let timeout = timer.into_iter().chain(retry).chain(measure).chain(sweep).min();
        let tcp = self.tcp.as_ref().map(TcpPlane::descriptor);
        self.waits += 1;
        match self.pace.pause(now) {
            // So many datagrams come that some will be there afterwards.
            Some(pause) => Ok(Ready {
                socket: true,
                ..sys::wait(None, &self.wake, tcp, Some(pause))?
            }),
            None => sys::wait(Some(&self.socket.socket), &self.wake, tcp, timeout),
        }
    }

    /// Returns whether there may be more.
    fn handle_commands(&mut self) -> bool {
        for _ in 0..TURN {
            match self.commands.try_recv() {
                Ok(command) => self.handle_command(command),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.clock.monotonic();
        // Who asked may have stopped waiting for the reply; the work is done all the same.
        match command {
            Command::Join {
                room,
                participant,
                offer,
                grant,
                reply,
            } => {
                let joined = self
                    .shard
                    .join(now, room, participant, &offer, grant, &mut self.batch);
                let _ = reply.send(joined);
            }
            Command::SetGrant {
                room,
                participant,
                grant,
                reply,
            } => {
                self.shard.set_grant(room, participant, grant, &mut self.batch);
                let _ = reply.send(());
            }
            Command::Restart {
                room,
                participant,
                offer,
                reply,
            } => {
                let restarted = self
                    .shard
                    .restart(now, room, participant, &offer, &mut self.batch);
                let _ = reply.send(restarted);
            }
            Command::Leave {
                room,
                participant,
                reply,
            } => {
                self.shard.leave(now, room, participant, &mut self.batch);
                let _ = reply.send(());
            }
            Command::CloseRoom { room, reply } => {
                self.shard.close_room(now, room, &mut self.batch);
                self.waiting.retain(|event| event.room() != room);
                let _ = reply.send(());
            }
            Command::Stats { reply } => {
                let _ = reply.send(self.stats());
            }
        }
    }

    /// Returns whether there may be more.
    fn handle_datagrams(&mut self, buffers: &mut ReceiveBuffers) -> io::Result<bool> {
        let start = self.datagrams_in;
        let mut more = true;
        let mut now = self.clock.monotonic();
        for _ in 0..TURN {
            let (shard, batch) = (&mut self.shard, &mut self.batch);
            let (bytes, datagrams) = (&mut self.bytes_in, &mut self.datagrams_in);
            self.receives += 1;
            let filled = self.socket.receive(buffers, |path, datagram| {
                *bytes += datagram.len() as u64;
                *datagrams += 1;
                shard.handle_datagram(now, path, datagram, batch);
            })?;
            self.flush(now);
            // What comes from here on wakes the thread: asking whether there is nothing left would be a call more.
            if filled < RECEIVE_BATCH {
                more = false;
                break;
            }
            now = self.clock.monotonic();
        }
        self.pace
            .note(now, self.clock.monotonic(), self.datagrams_in - start);
        Ok(more)
    }

    /// Reads what came over TCP, and closes what nobody is behind. Returns whether there may be more.
    fn handle_tcp(&mut self) -> io::Result<bool> {
        let now = self.clock.monotonic();
        let Some(tcp) = &mut self.tcp else {
            return Ok(false);
        };
        let (shard, batch, bytes) = (&mut self.shard, &mut self.batch, &mut self.bytes_in);
        let more = tcp.handle_ready(now, |path, datagram| {
            *bytes += datagram.len() as u64;
            shard.handle_datagram(now, path, datagram, batch);
        })?;
        tcp.handle_timeout(now, |path| shard.knows(path));
        self.flush(now);
        Ok(more)
    }

    /// Sends what is queued.
    fn flush(&mut self, now: Instant) {
        let Self {
            shard,
            socket,
            tcp,
            batch,
            ..
        } = self;
        batch.flush(&mut Outlets {
            udp: socket,
            tcp: tcp.as_mut(),
        });
        while let Some(path) = tcp.as_mut().and_then(TcpPlane::poll_closed) {
            shard.path_closed(now, path, batch);
        }
    }

    fn hand_out_events(&mut self) {
        while let Some(event) = self.shard.poll_event() {
            let optional = matches!(event, SfuEvent::Quality { .. } | SfuEvent::PathChanged { .. });
            let full = match event {
                SfuEvent::Quality { .. } => !self.waiting.is_empty(),
                _ => self.waiting.len() >= MAX_WAITING_EVENTS,
            };
            if optional && full {
                self.left_out += 1;
            } else {
                self.waiting.push_back(event);
            }
        }
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    break;
                }
                // Nobody listens: calls go on without.
                Err(mpsc::error::TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
    }

    fn stats(&self) -> ShardStats {
        let mut stats = self.shard.stats();
        let sent = self.socket.counters();
        stats.bytes_in = self.bytes_in;
        stats.datagrams_out = sent.datagrams;
        stats.bytes_out = sent.bytes;
        stats.sends = sent.calls;
        stats.runs = sent.runs;
        stats.receives = self.receives;
        stats.waits = self.waits;
        stats.missed = u64::from(self.socket.dropped());
        stats.events_left_out = self.left_out;
        stats.drops.send_overflow = sent.dropped + self.batch.dropped();
        if let Some(tcp) = &self.tcp {
            let tcp = tcp.counters();
            stats.tcp_connections = tcp.open;
            stats.tcp_refused = tcp.refused;
            stats.datagrams_out += tcp.datagrams;
            stats.bytes_out += tcp.bytes;
            stats.sends += tcp.calls;
            stats.drops.send_overflow += tcp.dropped;
        }
        stats
    }
}
