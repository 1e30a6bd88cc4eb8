//! The ICE-lite agent (RFC 8445 section 2.5): answers authenticated checks and selects the path.
//!
//! Path selection: the first valid check selects; later a nomination (USE-CANDIDATE) from elsewhere does,
//! or any valid check once the selected path has been silent for 300 ms. Firefox never nominates again
//! after a network change, so nomination alone would leave it on a dead path. An answer to a check of our own
//! selects too: it is sent where authentic media came from. Checks that are not authentic are counted and never
//! answered: no reply, no reflection.
//!
//! A restart (RFC 8445 section 9) gives the agent a second generation of credentials. The first stays good until
//! a check of the second comes: what works is not given up before its successor does.

mod checks;
mod stun;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use rtc_crypto::RTCCryptoProvider;

use super::{Path, Remote};
use checks::{OwnChecks, Purpose};
pub use stun::{StunKind, Transaction, peek};

/// A path that was silent for this long gives way to any valid check from elsewhere. Shorter, and two
/// interfaces of one client would take the path from each other; longer, and a call stays mute after a
/// network change.
const SILENT_PATH: Duration = Duration::from_millis(300);
/// Validated addresses per participant. A client has a handful of candidate pairs.
const MAX_PATHS: usize = 8;

/// Our short-term credentials for one participant (RFC 8839 section 5.4).
#[derive(Debug, Clone)]
pub struct IceCredentials {
    /// Finds the participant among all of the shard.
    pub ufrag: String,
    /// Proves that a check comes from who has our answer.
    pub pwd: Secret<String>,
}

impl IceCredentials {
    /// Random credentials: 80 bits of name, 160 bits of password.
    #[must_use]
    pub fn random(random: &mut IdSource) -> Self {
        Self {
            ufrag: ice_chars(random, 16),
            pwd: Secret::new(ice_chars(random, 32)),
        }
    }
}

fn ice_chars(random: &mut IdSource, count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut text = String::with_capacity(count);
    let mut bits = 0_u128;
    for index in 0..count {
        if index % 24 == 0 {
            bits = random.next_u128();
        }
        text.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    text
}

fn transaction(random: &mut IdSource) -> Transaction {
    let mut id = [0; 12];
    id.copy_from_slice(&random.next_u128().to_be_bytes()[..12]);
    id
}

/// Why a STUN datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunReject {
    /// Not a well-formed STUN message, or without a valid FINGERPRINT.
    Malformed,
    /// Not a binding request.
    NotARequest,
    /// USERNAME is not `ours:theirs`.
    WrongUser,
    /// MESSAGE-INTEGRITY is missing or wrong.
    NotAuthentic,
    /// An answer to nothing that was asked, or from elsewhere than where it was asked.
    NotAsked,
}

/// An authentic check.
#[derive(Debug)]
pub struct Check {
    /// The reply, for the path that the check came on.
    pub reply: Vec<u8>,
    /// Whether this check made its path the selected one.
    pub selected: bool,
    /// An address that is no longer valid because a newer one took its place.
    pub displaced: Option<Remote>,
    /// A user name fragment that a restart replaced and that is no longer good.
    pub retired: Option<String>,
}

/// An authentic answer to a check of ours.
#[derive(Debug)]
pub struct Answer {
    /// Whether it made its path the selected one.
    pub selected: bool,
    /// An address that is no longer valid because a newer one took its place.
    pub displaced: Option<Remote>,
    /// Time from the question to the answer.
    pub rtt: Duration,
}

/// Credentials of both ends.
#[derive(Debug)]
struct Generation {
    ours: IceCredentials,
    theirs: IceCredentials,
    /// The USERNAME of their checks.
    user_in: String,
    /// The USERNAME of our checks.
    user_out: String,
}

impl Generation {
    fn new(ours: IceCredentials, theirs: IceCredentials) -> Self {
        Self {
            user_in: format!("{}:{}", ours.ufrag, theirs.ufrag),
            user_out: format!("{}:{}", theirs.ufrag, ours.ufrag),
            ours,
            theirs,
        }
    }
}

/// The agent of one participant.
#[derive(Debug)]
pub struct IceAgent {
    current: Generation,
    /// After a restart, until its first check.
    next: Option<Generation>,
    crypto: CryptoProvider,
    selected: Option<Selected>,
    /// Paths with a valid check, one for each address of the client, least recently checked first.
    validated: Vec<Path>,
    checks: OwnChecks,
    outgoing: VecDeque<(Path, Vec<u8>)>,
}

#[derive(Debug)]
struct Selected {
    path: Path,
    last_received: Instant,
}

/// The crypto provider with a Debug form, which the foreign trait lacks.
#[derive(Clone)]
pub(super) struct CryptoProvider(pub(super) Arc<dyn RTCCryptoProvider>);

impl std::fmt::Debug for CryptoProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl IceAgent {
    /// An agent with the credentials `ours` for a client with `theirs`.
    #[must_use]
    pub fn new(ours: IceCredentials, theirs: IceCredentials, crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        Self {
            current: Generation::new(ours, theirs),
            next: None,
            crypto: CryptoProvider(crypto),
            selected: None,
            validated: Vec::new(),
            checks: OwnChecks::default(),
            outgoing: VecDeque::new(),
        }
    }

    /// Our user name fragments that are good.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current)
            .chain(&self.next)
            .map(|one| one.ours.ufrag.as_str())
    }

    /// The path to send on.
    #[must_use]
    pub fn selected(&self) -> Option<Path> {
        self.selected.as_ref().map(|selected| selected.path)
    }

    /// When something authentic last came on the selected path.
    #[must_use]
    pub fn last_received(&self) -> Option<Instant> {
        self.selected.as_ref().map(|selected| selected.last_received)
    }

    /// The addresses from which packets are accepted.
    pub fn validated(&self) -> impl Iterator<Item = Remote> {
        self.validated.iter().map(Path::end)
    }

    /// Whether the client has ever answered a check of ours.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.checks.answered()
    }

    /// Notes that an authentic packet came from `remote`.
    pub fn received(&mut self, now: Instant, remote: Remote) {
        if let Some(selected) = &mut self.selected
            && selected.path.end() == remote
        {
            selected.last_received = now;
        }
    }

    /// Takes new credentials of both ends. Returns our user name fragment of an earlier restart that never came
    /// about.
    pub fn restart(&mut self, ours: IceCredentials, theirs: IceCredentials) -> Option<String> {
        let unused = self.next.replace(Generation::new(ours, theirs));
        unused.map(|one| one.ours.ufrag)
    }

    /// Handles a binding request that came on `path`.
    ///
    /// # Errors
    /// [`StunReject`]: to be counted and dropped.
    pub fn handle(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<Check, StunReject> {
        let mut request = stun::Request::read(datagram)?;
        let of_next = self
            .next
            .as_ref()
            .filter(|generation| request.is_for(&generation.user_in));
        let generation = match of_next {
            Some(next) => next,
            None if request.is_for(&self.current.user_in) => &self.current,
            None => return Err(StunReject::WrongUser),
        };
        let restarts = of_next.is_some();
        let crypto = self.crypto.0.crypto();
        let nominated = request.authenticate(&generation.ours.pwd, crypto)?;
        let reply = request
            .reply(path, &generation.ours.pwd, crypto)
            .ok_or(StunReject::Malformed)?;
        let mut retired = None;
        if restarts && let Some(next) = self.next.take() {
            retired = Some(std::mem::replace(&mut self.current, next).ours.ufrag);
        }
        let displaced = self.validate(path);
        Ok(Check {
            reply,
            selected: self.select(now, path, nominated || restarts),
            displaced,
            retired,
        })
    }

    /// Handles an answer to a check of ours that came on `path`.
    ///
    /// # Errors
    /// [`StunReject`]: to be counted and dropped.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        path: Path,
        id: Transaction,
        datagram: &[u8],
    ) -> Result<Answer, StunReject> {
        if !self.checks.awaits(id) {
            return Err(StunReject::NotAsked);
        }
        stun::check_answer(datagram, &self.current.theirs.pwd, self.crypto.0.crypto())?;
        let answered = self.checks.answer(now, id, path).ok_or(StunReject::NotAsked)?;
        let (selected, displaced) = match answered.purpose {
            Purpose::Probe => (self.select(now, path, true), self.validate(path)),
            Purpose::Consent => {
                self.received(now, path.end());
                (false, None)
            }
        };
        Ok(Answer {
            selected,
            displaced,
            rtt: answered.rtt,
        })
    }

    /// Asks the client whether it is at `path`, which authentic media came from. The question is then in
    /// [`poll_transmit`](Self::poll_transmit); its name is returned, for the answer comes from an address that
    /// nobody knows. `None` if it is being asked already, or too soon.
    pub fn probe(&mut self, now: Instant, path: Path, random: &mut IdSource) -> Option<Transaction> {
        if !self.checks.wants_probe(now, path.end()) {
            return None;
        }
        let id = transaction(random);
        self.ask(id, path);
        self.checks.probing(now, id, path);
        Some(id)
    }

    /// Starts to keep the client's consent.
    pub fn keep_consent(&mut self) {
        self.checks.start();
    }

    /// Nothing is sent any more until a check of the client comes: it has not been heard for too long
    /// (RFC 7675 section 5.1).
    pub fn suspend(&mut self) {
        self.selected = None;
        self.checks.stop();
    }

    /// The path to `remote` is gone for good. Another address with a valid check takes over, if there is one.
    pub fn forget(&mut self, now: Instant, remote: Remote) -> bool {
        self.validated.retain(|known| known.end() != remote);
        if self.selected.as_ref().is_none_or(|one| one.path.end() != remote) {
            return false;
        }
        self.selected = self.validated.last().map(|other| Selected {
            path: *other,
            last_received: now,
        });
        self.selected.is_some()
    }

    /// Performs what is due.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut IdSource) {
        while let Some((id, path)) = self.checks.due_probe(now) {
            self.ask(id, path);
        }
        if let Some(selected) = &self.selected
            && self.checks.is_consent_due(now, selected.last_received)
        {
            let (id, path) = (transaction(random), selected.path);
            self.ask(id, path);
            self.checks.asking(now, id, path);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.checks.poll_timeout(self.last_received())
    }

    /// The next check of ours to send.
    pub fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.outgoing.pop_front()
    }

    fn ask(&mut self, id: Transaction, path: Path) {
        let Generation {
            theirs,
            user_out,
            ours,
            ..
        } = &self.current;
        // Any number does as tie-breaker: two lite agents would be needed for it to decide anything.
        let tie_breaker = ours.ufrag.bytes().fold(0, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let crypto = self.crypto.0.crypto();
        if let Some(request) = stun::request(id, user_out, &theirs.pwd, tie_breaker, crypto) {
            self.outgoing.push_back((path, request));
        }
    }

    /// Makes `path` the most recently validated one.
    fn validate(&mut self, path: Path) -> Option<Remote> {
        self.validated.retain(|known| known.end() != path.end());
        self.validated.push(path);
        if self.validated.len() <= MAX_PATHS {
            return None;
        }
        let in_use = self.selected().map(|path| path.end());
        let is_free = |known: &Path| Some(known.end()) != in_use;
        let oldest = self.validated.iter().position(is_free)?;
        Some(self.validated.remove(oldest).end())
    }

    fn select(&mut self, now: Instant, path: Path, nominated: bool) -> bool {
        match &mut self.selected {
            Some(selected) if selected.path == path => {
                selected.last_received = now;
                false
            }
            Some(selected)
                if !nominated && now.saturating_duration_since(selected.last_received) <= SILENT_PATH =>
            {
                false
            }
            _ => {
                self.selected = Some(Selected {
                    path,
                    last_received: now,
                });
                true
            }
        }
    }
}
