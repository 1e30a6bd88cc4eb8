//! [`Directory`]: whose a datagram is.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::peer::Peer;
use crate::transport::ice::Transaction;
use crate::transport::{CheckOutcome, Remote};

/// Participants that may announce the same SSRC. Browsers draw it at random: the second is a coincidence or
/// somebody who wants to be taken for the first, and the key decides.
const SAME_SSRC: usize = 2;
/// Questions to addresses that nobody has been at before. Each waits for one round trip.
const MAX_PROBES: usize = 256;
/// How long an answer to such a question is waited for.
const PROBE_LIFE: Duration = Duration::from_secs(3);

/// A participant, for the tables of addresses and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerKey {
    pub(super) room: usize,
    /// Unique over the life of the shard: an entry that outlived its peer finds nobody.
    pub(super) serial: u64,
}

#[derive(Debug)]
struct Probe {
    id: Transaction,
    key: PeerKey,
    asked: Instant,
}

/// Where datagrams are looked up. Its size follows from the participants alone: what comes from elsewhere adds
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Directory {
    by_ufrag: HashMap<String, PeerKey>,
    by_address: HashMap<Remote, PeerKey>,
    by_ssrc: HashMap<u32, [Option<PeerKey>; SAME_SSRC]>,
    probes: VecDeque<Probe>,
}

impl Directory {
    /// Whose check with this user name fragment it is.
    pub(super) fn named(&self, ufrag: &str) -> Option<PeerKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// Whose this validated address is.
    #[inline]
    pub(super) fn at(&self, remote: Remote) -> Option<PeerKey> {
        self.by_address.get(&remote).copied()
    }

    /// Who announced this SSRC.
    pub(super) fn announced(&self, ssrc: u32) -> [Option<PeerKey>; SAME_SSRC] {
        self.by_ssrc.get(&ssrc).copied().unwrap_or_default()
    }

    /// Whose question at an unknown address `id` answers.
    pub(super) fn asked(&self, id: Transaction) -> Option<PeerKey> {
        self.probes.iter().find(|one| one.id == id).map(|one| one.key)
    }

    /// Remembers a question at an unknown address.
    pub(super) fn asking(&mut self, now: Instant, id: Transaction, key: PeerKey) {
        while self.probes.len() >= MAX_PROBES
            || self
                .probes
                .front()
                .is_some_and(|one| now.saturating_duration_since(one.asked) > PROBE_LIFE)
        {
            self.probes.pop_front();
        }
        self.probes.push_back(Probe { id, key, asked: now });
    }

    /// Adds a name.
    pub(super) fn name(&mut self, ufrag: String, key: PeerKey) {
        self.by_ufrag.insert(ufrag, key);
    }

    /// Takes a name away.
    pub(super) fn retire(&mut self, ufrag: &str, key: PeerKey) {
        if self.by_ufrag.get(ufrag) == Some(&key) {
            self.by_ufrag.remove(ufrag);
        }
    }

    /// Adds the SSRCs that the participant announced.
    pub(super) fn announce(&mut self, peer: &Peer, key: PeerKey) {
        for ssrc in peer.announced() {
            let keys = self.by_ssrc.entry(ssrc).or_default();
            if keys.contains(&Some(key)) {
                continue;
            }
            if let Some(free) = keys.iter_mut().find(|one| one.is_none()) {
                *free = Some(key);
            }
        }
    }

    /// Takes over what an authentic check from `remote` has changed: the newest owns the address, for a browser
    /// may reuse its port for a new call.
    pub(super) fn checked(&mut self, key: PeerKey, remote: Remote, outcome: &CheckOutcome) {
        if let Some(displaced) = outcome.displaced {
            self.forget(displaced, key);
        }
        if let Some(retired) = &outcome.retired {
            self.retire(retired, key);
        }
        self.by_address.insert(remote, key);
    }

    /// Takes an address away, unless it is another's by now.
    pub(super) fn forget(&mut self, remote: Remote, key: PeerKey) {
        if self.by_address.get(&remote) == Some(&key) {
            self.by_address.remove(&remote);
        }
    }

    /// Takes everything of a participant away.
    pub(super) fn remove(&mut self, key: PeerKey, peer: &Peer) {
        for ufrag in peer.transport.ice().ufrags() {
            self.retire(ufrag, key);
        }
        for remote in peer.transport.ice().validated() {
            self.forget(remote, key);
        }
        for ssrc in peer.announced() {
            if let Some(keys) = self.by_ssrc.get_mut(&ssrc) {
                for one in keys.iter_mut().filter(|one| **one == Some(key)) {
                    *one = None;
                }
                if keys.iter().all(Option::is_none) {
                    self.by_ssrc.remove(&ssrc);
                }
            }
        }
        self.probes.retain(|one| one.key != key);
    }

    /// Entries of all tables.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_ufrag.len() + self.by_address.len() + self.by_ssrc.len() + self.probes.len()
    }
}
