//! [`Sfu`]: the media plane that carries media.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use callkit_core::id::{IdSource, ParticipantId, RoomId};
use callkit_core::time::Clock;
use tokio::sync::{mpsc, oneshot};

use super::placement::{Placement, ShardView};
use super::{JoinError, JoinRequest, Joined, MediaPlane, RestartRequest, SfuConfig, SfuEvent, TcpListen};
use crate::media::Grant;
use crate::sdp::{Candidate, Fingerprint, Offer};
use crate::shard::driver::{Command, NotTaken, ShardHandle};
use crate::shard::load::LoadMeter;
use crate::shard::{Shard, ShardConfig, ShardSocket, ShardStats, TcpPlane, open_socket};
use crate::transport::{DtlsIdentity, IdentityError};

/// Pause before a command that must not be lost is given to a full mailbox again: a shard empties it within a turn.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Why the media plane cannot start. All say what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SfuError {
    /// Another program has the port.
    #[error("UDP port {port} is in use")]
    PortBusy {
        /// The port.
        port: u16,
    },
    /// Another program has the port for TCP.
    #[error("TCP port {port} is in use; media over TCP can have another one or be off")]
    TcpPortBusy {
        /// The port.
        port: u16,
    },
    /// The address or port cannot be used for TCP.
    #[error("cannot listen on TCP port {port}")]
    BindTcp {
        /// The port.
        port: u16,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The address or port cannot be used.
    #[error("cannot listen on UDP port {port}")]
    Bind {
        /// The port.
        port: u16,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// More shards than ports behind the first one, or none.
    #[error("{shards} shards from port {port} on are not possible")]
    Shards {
        /// How many were asked for.
        shards: usize,
        /// The first port.
        port: u16,
    },
    /// No certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The system refuses a thread or a list of its interfaces.
    #[error("the system failed while {during}")]
    System {
        /// What it was doing.
        during: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The media plane of a process: shards, each with a thread, a socket and its own rooms. A new room goes to the
/// shard that has least to do. Dropping it stops the threads, which say goodbye to the clients first.
#[derive(Debug)]
pub struct Sfu {
    shards: Vec<ShardHandle>,
    placement: Mutex<Placement>,
    listening: Vec<SocketAddr>,
    listening_tcp: Vec<SocketAddr>,
    announced: Vec<Vec<Candidate>>,
    candidates: Vec<SocketAddr>,
    fingerprint: Fingerprint,
}

impl Sfu {
    /// Opens the sockets and starts the threads. `seed` is real entropy: SSRCs and ICE passwords come from
    /// it.
    ///
    /// # Errors
    /// [`SfuError`].
    pub fn start(
        config: SfuConfig,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
    ) -> Result<(Self, mpsc::Receiver<SfuEvent>), SfuError> {
        let last = u16::try_from(config.shards)
            .ok()
            .and_then(|shards| config.port.checked_add(shards));
        if config.shards == 0 || last.is_none() {
            return Err(SfuError::Shards {
                shards: config.shards,
                port: config.port,
            });
        }
        let system = |during| move |source| SfuError::System { during, source };
        let interfaces: Vec<_> = if_addrs::get_if_addrs()
            .map_err(system("listing network interfaces"))?
            .iter()
            .map(if_addrs::Interface::ip)
            .collect();
        let epoch = (clock.monotonic(), clock.now());
        let identity = Arc::new(DtlsIdentity::generate()?);
        let mut random = IdSource::from_entropy(seed);
        let (sender, receiver) = mpsc::channel(config.event_queue.max(1));
        let mut sfu = Self {
            shards: Vec::with_capacity(config.shards),
            placement: Mutex::new(Placement::new(config.shards, config.max_participants)),
            listening: Vec::with_capacity(config.shards),
            listening_tcp: Vec::new(),
            announced: Vec::with_capacity(config.shards),
            candidates: Vec::new(),
            fingerprint: identity.fingerprint(),
        };
        for (number, offset) in (0_u16..).take(config.shards).enumerate() {
            let port = if config.port == 0 { 0 } else { config.port + offset };
            let socket = open_socket(config.bind, port).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => SfuError::PortBusy { port },
                _ => SfuError::Bind { port, source },
            })?;
            let bound = socket
                .local_addr()
                .map_err(|source| SfuError::Bind { port, source })?;
            let tcp = open_tcp(&config, offset, bound.port())?;
            let candidates = config.candidates(bound, &interfaces);
            sfu.listening.push(bound);
            sfu.candidates.extend(&candidates);
            let mut announced: Vec<Candidate> = candidates.into_iter().map(Candidate::Udp).collect();
            if let Some((_, bound)) = &tcp {
                sfu.listening_tcp.push(*bound);
                let candidates = config.candidates(*bound, &interfaces);
                announced.extend(candidates.into_iter().map(Candidate::TcpPassive));
            }
            let own = ShardConfig {
                candidates: announced.clone(),
                video: config.video.clone(),
                timeouts: config.timeouts.clone(),
                max_participants: config.max_participants,
                epoch,
            };
            let mut shard_seed = [0; 32];
            shard_seed[..16].copy_from_slice(&random.next_u128().to_le_bytes());
            shard_seed[16..].copy_from_slice(&random.next_u128().to_le_bytes());
            let shard = Shard::new(own, Arc::clone(&identity), IdSource::from_entropy(shard_seed));
            let socket = ShardSocket::new(socket, config.segmentation)
                .map_err(|source| SfuError::Bind { port, source })?;
            let meter = LoadMeter::new(epoch.0, f64::from(config.busy_percent) / 100.0);
            let (clock, events) = (Arc::clone(&clock), sender.clone());
            sfu.announced.push(announced);
            let tcp = tcp.map(|(plane, _)| plane);
            let pin = config.pin_threads;
            let handle = ShardHandle::spawn(number, pin, meter, shard, socket, tcp, clock, events)
                .map_err(system("starting a media thread"))?;
            sfu.shards.push(handle);
        }
        Ok((sfu, receiver))
    }

    /// The addresses that are listened on, by shard.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The addresses that are listened on over TCP, by shard; empty if that is off.
    #[must_use]
    pub fn listening_tcp(&self) -> &[SocketAddr] {
        &self.listening_tcp
    }

    /// What the answers of a shard announce, most preferred first.
    #[must_use]
    pub fn announced(&self, shard: usize) -> &[Candidate] {
        self.announced.get(shard).map_or(&[], Vec::as_slice)
    }

    /// What the answers announce for UDP.
    #[must_use]
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// Fingerprint of the certificate of this start.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Counters, summed over the shards.
    pub async fn stats(&self) -> ShardStats {
        let mut sum = ShardStats::default();
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            if shard.send(Command::Stats { reply }).is_ok()
                && let Ok(stats) = answer.await
            {
                sum += stats;
            }
        }
        sum
    }

    /// Says goodbye to all clients and ends the threads. Blocks until they have ended: a few milliseconds.
    pub fn stop(mut self) {
        for shard in &mut self.shards {
            shard.stop();
        }
    }

    fn placement(&self) -> MutexGuard<'_, Placement> {
        // No code under the lock can leave the state half changed.
        self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> Vec<ShardView> {
        let view = |shard: &ShardHandle| ShardView {
            datagrams: shard.load().datagrams(),
            is_over: shard.load().is_over(),
        };
        self.shards.iter().map(view).collect()
    }

    /// The shard that a room is on, if there is the room.
    fn shard_of(&self, room: RoomId) -> Option<&ShardHandle> {
        let number = self.placement().find(room)?;
        self.shards.get(number)
    }

    /// Sends a command that may be refused, and waits for its outcome.
    async fn ask<T>(
        &self,
        shard: &ShardHandle,
        command: impl FnOnce(oneshot::Sender<Result<T, JoinError>>) -> Command,
    ) -> Result<T, JoinError> {
        let (reply, answer) = oneshot::channel();
        shard.send(command(reply)).map_err(|not_taken| match not_taken {
            NotTaken::Full => JoinError::Overloaded,
            NotTaken::Stopped => JoinError::Stopped,
        })?;
        answer.await.unwrap_or(Err(JoinError::Stopped))
    }

    /// Sends a command that must not be lost, waiting while the mailbox is full. Without the room there is nothing
    /// to do.
    async fn send_surely<T>(&self, room: RoomId, command: impl Fn(oneshot::Sender<T>) -> Command) {
        let Some(shard) = self.shard_of(room) else { return };
        loop {
            let (reply, answer) = oneshot::channel();
            match shard.send(command(reply)) {
                Ok(()) => {
                    // No answer means that the shard has stopped, and the participant with it.
                    let _ = answer.await;
                    return;
                }
                Err(NotTaken::Stopped) => return,
                Err(NotTaken::Full) => {
                    tokio::time::sleep_until(tokio::time::Instant::now() + FULL_PAUSE).await
                }
            }
        }
    }
}

/// Listens for a shard's TCP connections, whose UDP port is `udp`. Where the system chose that one, TCP takes
/// another if need be.
fn open_tcp(config: &SfuConfig, offset: u16, udp: u16) -> Result<Option<(TcpPlane, SocketAddr)>, SfuError> {
    let port = match config.tcp {
        TcpListen::Off => return Ok(None),
        TcpListen::SamePort => udp,
        TcpListen::From(0) => 0,
        TcpListen::From(first) => first.checked_add(offset).ok_or(SfuError::Shards {
            shards: config.shards,
            port: first,
        })?,
    };
    let opened = match TcpPlane::open(config.bind, port) {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && config.port == 0
                && config.tcp == TcpListen::SamePort =>
        {
            TcpPlane::open(config.bind, 0)
        }
        opened => opened,
    };
    let plane = opened.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => SfuError::TcpPortBusy { port },
        _ => SfuError::BindTcp { port, source },
    })?;
    let bound = plane
        .local_addr()
        .map_err(|source| SfuError::BindTcp { port, source })?;
    Ok(Some((plane, bound)))
}

/// Ends a join in the books, also if nobody waits for its outcome any more: it may have happened then.
struct JoinUnderWay<'a> {
    sfu: &'a Sfu,
    room: RoomId,
    participant: ParticipantId,
    is_in: bool,
}

impl Drop for JoinUnderWay<'_> {
    fn drop(&mut self) {
        self.sfu.placement().end(self.room, self.participant, self.is_in);
    }
}

#[async_trait]
impl MediaPlane for Sfu {
    fn admits(&self) -> Result<(), JoinError> {
        self.placement().choose(&self.views()).map(drop)
    }

    async fn join(&self, request: JoinRequest) -> Result<Joined, JoinError> {
        let JoinRequest {
            room,
            participant,
            offer,
            grant,
        } = request;
        // Parsed here: it is the most expensive part of a join and needs nothing of the shard.
        let offer = Box::new(Offer::parse(&offer)?);
        let shard = self.placement().begin(room, &self.views())?;
        let mut join = JoinUnderWay {
            sfu: self,
            room,
            participant,
            is_in: true,
        };
        let command = |reply| Command::Join {
            room,
            participant,
            offer,
            grant,
            reply,
        };
        let joined = self.ask(&self.shards[shard], command).await;
        join.is_in = joined.is_ok();
        joined
    }

    async fn set_grant(&self, room: RoomId, participant: ParticipantId, grant: Grant) {
        self.send_surely(room, |reply| Command::SetGrant {
            room,
            participant,
            grant,
            reply,
        })
        .await;
    }

    async fn restart(&self, request: RestartRequest) -> Result<String, JoinError> {
        let RestartRequest {
            room,
            participant,
            offer,
        } = request;
        let offer = Box::new(Offer::parse(&offer)?);
        let shard = self.shard_of(room).ok_or(JoinError::CannotRestart)?;
        self.ask(shard, |reply| Command::Restart {
            room,
            participant,
            offer,
            reply,
        })
        .await
    }

    async fn leave(&self, room: RoomId, participant: ParticipantId) {
        self.send_surely(room, |reply| Command::Leave {
            room,
            participant,
            reply,
        })
        .await;
        self.placement().left(room, participant);
    }

    async fn close_room(&self, room: RoomId) {
        self.send_surely(room, |reply| Command::CloseRoom { room, reply })
            .await;
        self.placement().closed(room);
    }
}
