//! Adaptation in the [`Room`]: what each receiver's connection takes decides what it gets (`allocation`), and
//! what all receivers of a publisher can use is asked of the publisher.
//!
//! A publisher with one receiver sends one layer of its camera, and that receiver's estimate travels to its
//! encoder (REMB). With several receivers nobody's connection limits what the publisher sends to the others:
//! the layers that somebody needs are switched on, and each receiver gets the one that fits.

use std::time::{Duration, Instant};

use callkit_core::id::ParticipantId;

use super::allocation::{Asked, Choice, Layer, Line, MAX_TRACKS, allocate};
use super::demand::{CameraDemand, Demand, ONLY_LAYER, ScreenDemand};
use super::grant::{allowed, is_announced};
use super::room::{MAX_PARTICIPANTS, Peer, Room};
use super::uplink::MAX_LAYERS;
use crate::layout::{Egress, PeerIndex, SLOTS, Source};
use crate::rtp::rtcp::Writer;
use crate::rtp::transport_cc::Feedback;

/// Distance of decisions while media flows. Longer reacts late, shorter measures single frames.
const INTERVAL: Duration = Duration::from_millis(200);
/// Rates are not measured over less than this.
const MEASURABLE: Duration = Duration::from_millis(100);
/// Bits per second expected of a camera's layers, lowest first, as long as they are off.
const EXPECTED: [u64; MAX_LAYERS] = [150_000, 500_000, 1_500_000];
/// Most that one camera or screen is ever of use with.
const USEFUL: u64 = 2_500_000;
/// Most that all layers of a camera take together.
const ALL_LAYERS: u64 = 4_000_000;
/// Least that is asked of an encoder: below there is no picture.
const LEAST: u64 = 100_000;
/// How much a limit must change in percent to be told, downwards and upwards, and how often it is raised.
const DEMAND_CHANGE: (u64, u64) = (80, 125);
const DEMAND_RAISE: Duration = Duration::from_secs(2);
/// A layer that is needed no more stays on for this long, in case it is needed again.
const LAYER_LINGERS: Duration = Duration::from_secs(1);
/// The same for the encoder's estimate, which costs a few bytes only.
const REMB_CHANGE: (u64, u64) = (97, 103);
const REMB_RAISE: Duration = Duration::from_millis(400);
const REMB_REPEAT: Duration = Duration::from_secs(2);

/// The video sources.
const VIDEO: [Source; 2] = [Source::Camera, Source::Screen];

/// What a publisher was asked for.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    told: Option<(Plan, Instant)>,
    remb: Option<(u64, Instant)>,
    outbox: Option<Demand>,
}

/// A [`Demand`] by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Plan {
    layers: [bool; MAX_LAYERS],
    camera: u64,
    screen: ScreenDemand,
}

impl Room {
    /// The next change of what a publisher should send.
    pub fn poll_demand(&mut self) -> Option<(ParticipantId, Demand)> {
        self.peers
            .iter_mut()
            .flatten()
            .find_map(|peer| Some((peer.id, peer.upstream.outbox.take()?)))
    }

    /// What `receiver` does not get because its connection does not take it: whose, and what.
    pub fn paused(&self, receiver: PeerIndex) -> impl Iterator<Item = (ParticipantId, Source)> + '_ {
        let slots = self
            .peer(receiver)
            .into_iter()
            .flat_map(|peer| &peer.downlinks.slots);
        slots.flat_map(|slot| {
            let who = slot.occupant.and_then(|occupant| self.peer(occupant));
            let tracks = slot.tracks.iter().flatten();
            tracks
                .filter(|track| track.choice.is_paused)
                .filter_map(move |track| Some((who?.id, track.spec.source)))
        })
    }

    /// What the connection to `receiver` takes, bits per second; `None` as long as it reports nothing.
    #[must_use]
    pub fn estimate(&self, receiver: PeerIndex) -> Option<u64> {
        self.peer(receiver)?.downlinks.bandwidth.as_ref()?.estimate()
    }

    /// Decides at the next chance.
    pub(super) fn adapt_soon(&mut self, now: Instant) {
        self.adapt_due = Some(now);
        self.arm(Some(now));
    }

    /// Media flows: decisions go on.
    #[inline]
    pub(super) fn keep_adapting(&mut self, now: Instant) {
        if self.adapt_due.is_none() {
            self.adapted = now;
            self.adapt_due = Some(now + INTERVAL);
            self.arm(self.adapt_due);
        }
    }

    /// Takes in what `receiver` says about arrivals.
    pub(super) fn arrivals_reported(&mut self, now: Instant, receiver: PeerIndex, feedback: &Feedback<'_>) {
        let Some(peer) = self.peer_mut(receiver) else {
            return;
        };
        let rtt = peer.rtt;
        let Some(bandwidth) = &mut peer.downlinks.bandwidth else {
            return;
        };
        bandwidth.feedback(now, feedback, rtt);
        let fell = bandwidth
            .estimate()
            .is_some_and(|estimate| estimate * 5 < peer.downlinks.allocated * 4);
        if fell {
            self.adapt_soon(now);
        } else if bandwidth.due().is_some() {
            let due = bandwidth.due();
            self.arm(due);
        }
    }

    /// Sends padding to `receiver` if its estimator wants to try more.
    pub(super) fn pad(&mut self, now: Instant, receiver: PeerIndex, egress: &mut impl Egress) {
        let Some(peer) = self.peer_mut(receiver) else {
            return;
        };
        let Some(bandwidth) = &mut peer.downlinks.bandwidth else {
            return;
        };
        if bandwidth.due().is_none_or(|due| due > now) {
            return;
        }
        let bytes = bandwidth.padding(now);
        if bytes > 0
            && !peer.downlinks.pad(now, receiver, bytes, egress)
            && let Some(bandwidth) = &mut peer.downlinks.bandwidth
        {
            bandwidth.no_padding(now);
        }
    }

    /// Decides what everybody gets and should send, if due.
    pub(super) fn adapt(&mut self, now: Instant, egress: &mut impl Egress) {
        if self.adapt_due.is_none_or(|due| due > now) {
            return;
        }
        let elapsed = now.saturating_duration_since(self.adapted);
        if elapsed >= MEASURABLE {
            self.adapted = now;
            for peer in self.peers.iter_mut().flatten() {
                peer.uplinks.measure(elapsed);
            }
        }
        for index in (0..MAX_PARTICIPANTS).map(PeerIndex) {
            let need = self.need(now, index);
            if let Some(bandwidth) = self
                .peer_mut(index)
                .and_then(|peer| peer.downlinks.bandwidth.as_mut())
            {
                bandwidth.tick(now, need);
            }
            self.choose(now, index);
        }
        for index in (0..MAX_PARTICIPANTS).map(PeerIndex) {
            self.ask_upstream(now, index, egress);
            self.ask_for_keyframes(now, index, egress);
        }
        self.is_unsettled = false;
        let mut streams = self
            .peers
            .iter()
            .flatten()
            .flat_map(|peer| peer.uplinks.streams());
        let flows = streams.any(|(_, stream)| stream.is_live(now));
        self.adapt_due = flows.then(|| now + INTERVAL);
    }

    /// Decides again what everybody gets.
    pub(super) fn choose_again(&mut self, now: Instant) {
        self.is_unsettled = false;
        for index in (0..MAX_PARTICIPANTS).map(PeerIndex) {
            self.choose(now, index);
        }
    }

    /// Decides what `receiver` gets of the video of the others.
    pub(super) fn choose(&mut self, now: Instant, receiver: PeerIndex) {
        let Some(peer) = self.peer(receiver) else { return };
        if !peer.ready {
            return;
        }
        let (mut asked, places) = self.asked(now, peer);
        let count = places.iter().flatten().count();
        let line = self.line(peer);
        allocate(now, &line, &mut asked[..count]);
        if let Some(peer) = self.peer_mut(receiver) {
            peer.downlinks.allocated = line.estimate.unwrap_or_default();
        }
        for (asked, place) in asked.iter().zip(places.into_iter().flatten()) {
            self.apply(now, receiver, place, asked.choice);
        }
    }

    /// Puts a decision into force: a stopped stream stops at once, another layer is asked for a key frame.
    fn apply(&mut self, now: Instant, receiver: PeerIndex, place: (PeerIndex, Source), choice: Choice) {
        let (publisher, source) = place;
        let Some((receiver, publisher)) = self.pair_mut(receiver, publisher) else {
            return;
        };
        let Some(track) = receiver.downlinks.track_of(place.0, source) else {
            return;
        };
        let before = track.choice;
        track.choice = choice;
        if before.is_paused != choice.is_paused {
            tracing::debug!(receiver = %receiver.id, publisher = %publisher.id, ?source, share = choice.share,
                paused = choice.is_paused, "video of a receiver");
        }
        let fed_by = track.rewriter.fed_by();
        let Some(shown) = choice.shown else {
            if choice.is_paused && fed_by.is_some() {
                track.rewriter.stop();
            }
            return;
        };
        // What is not fed yet asks for a key frame by itself when something comes.
        if before.shown == Some(shown) || fed_by.is_none() {
            return;
        }
        let stream = publisher
            .uplinks
            .line_mut(source)
            .and_then(|line| line.streams.get_mut(shown));
        if let Some(stream) = stream.filter(|stream| Some(stream.run) != fed_by && stream.ssrc.is_some()) {
            stream.keyframes.request();
            let due = stream.keyframes.due(now);
            self.arm(due);
        }
    }

    fn line(&self, receiver: &Peer) -> Line {
        let bandwidth = receiver.downlinks.bandwidth.as_ref();
        let audio = receiver.downlinks.slots.iter().filter_map(|slot| slot.occupant);
        let audio = audio.filter_map(|publisher| self.peer(publisher));
        let audio = audio.map(|publisher| audio_rate(publisher, receiver)).sum();
        Line {
            estimate: bandwidth.and_then(|bandwidth| bandwidth.estimate()),
            is_capped: bandwidth.is_some_and(|bandwidth| bandwidth.is_capped()),
            audio,
            since: receiver.since,
        }
    }

    /// The video streams that `receiver` could get, and where they are.
    fn asked(
        &self,
        now: Instant,
        receiver: &Peer,
    ) -> ([Asked; MAX_TRACKS], [Option<(PeerIndex, Source)>; MAX_TRACKS]) {
        let nothing = Asked {
            source: Source::Camera,
            layers: [Layer::default(); MAX_LAYERS],
            count: 0,
            is_elastic: false,
            choice: Choice::default(),
        };
        let mut asked = [nothing; MAX_TRACKS];
        let mut places = [None; MAX_TRACKS];
        let mut count = 0;
        for slot in &receiver.downlinks.slots {
            let Some((index, publisher)) = slot.occupant.and_then(|index| Some((index, self.peer(index)?)))
            else {
                continue;
            };
            for source in VIDEO {
                let (Some(track), Some(line)) =
                    (&slot.tracks[source.index()], publisher.uplinks.line(source))
                else {
                    continue;
                };
                if !allowed(publisher.grant, receiver.id, source) {
                    continue;
                }
                let mut one = Asked {
                    source,
                    count: line.streams.len().min(MAX_LAYERS),
                    is_elastic: is_announced(receiver.grant) && self.receivers(index, source).count() == 1,
                    choice: track.choice,
                    ..nothing
                };
                let is_off = !line.streams.iter().any(|stream| stream.is_live(now));
                let by_us = publisher.upstream.is_camera_off();
                for (place, stream) in line.streams.iter().take(MAX_LAYERS).enumerate() {
                    let is_live = stream.is_live(now);
                    let expected = match source {
                        Source::Camera if !is_off || by_us => EXPECTED[MAX_LAYERS - one.count + place],
                        _ => 0,
                    };
                    let rate = if is_live && stream.rate > 0 {
                        stream.rate
                    } else {
                        expected
                    };
                    one.layers[place] = Layer { rate, is_live };
                }
                asked[count] = one;
                places[count] = Some((index, source));
                count += 1;
            }
        }
        (asked, places)
    }

    /// Whose needs decide what `publisher` sends of `source`. A supervisor who listens or whispers gets what
    /// there is: coming, going and a bad line of somebody unseen must not show in what others send.
    fn receivers(&self, publisher: PeerIndex, source: Source) -> impl Iterator<Item = (PeerIndex, &Peer)> {
        let grant = self.peer(publisher).map(|peer| peer.grant);
        self.others(publisher)
            .filter(|(_, peer)| peer.ready && is_announced(peer.grant))
            .filter(move |(_, peer)| grant.is_some_and(|grant| allowed(grant, peer.id, source)))
    }

    /// How much `receiver` could use, bits per second: what there is to be had beyond what it gets.
    fn need(&self, now: Instant, receiver: PeerIndex) -> u64 {
        let Some(peer) = self.peer(receiver).filter(|peer| peer.ready) else {
            return 0;
        };
        let (asked, places) = self.asked(now, peer);
        let streams = asked.iter().zip(places).filter(|(_, place)| place.is_some());
        let video: u64 = streams
            .map(|(one, _)| {
                let Some(best) = one.layers.iter().rposition(|layer| layer.is_live) else {
                    return 0;
                };
                if one.is_elastic || one.source == Source::Screen {
                    // Its encoder may be able to do twice as much; that is found out step by step.
                    return (one.layers[best].rate * 2).clamp(600_000, USEFUL);
                }
                let next = one.choice.wanted.map_or(0, |wanted| wanted + 1);
                let next = next.min(one.count.saturating_sub(1));
                one.layers[next].rate * 5 / 4
            })
            .sum();
        if video == 0 {
            0
        } else {
            video + self.line(peer).audio
        }
    }

    /// Asks `publisher` for what its receivers can use.
    fn ask_upstream(&mut self, now: Instant, publisher: PeerIndex, egress: &mut impl Egress) {
        let Some(plan) = self.plan(publisher) else { return };
        let estimate = self.upstream_estimate(publisher);
        let Some(peer) = self.peer_mut(publisher) else {
            return;
        };
        if let Some(plan) = peer.upstream.settle(now, plan) {
            let rids = peer.uplinks.rids(Source::Camera);
            let demand = plan.demand(rids);
            peer.upstream.outbox = Some(demand);
        }
        let Some(bitrate) = peer.upstream.remb(now, estimate) else {
            return;
        };
        let mut ssrcs = [0; MAX_LAYERS * Source::ALL.len()];
        let mut count = 0;
        for (place, ssrc) in ssrcs
            .iter_mut()
            .zip(peer.uplinks.streams().filter_map(|(_, stream)| stream.ssrc))
        {
            *place = ssrc;
            count += 1;
        }
        if count == 0 {
            return;
        }
        let mut buffer = [0; 20 + 4 * MAX_LAYERS * Source::ALL.len()];
        let mut writer = Writer::new(&mut buffer);
        writer.remb(peer.local_ssrc, bitrate, &ssrcs[..count]);
        egress.send_rtcp(publisher, writer.finish());
    }

    /// What the receivers of `publisher` can use; `None` while there are none, so that what it sends is not
    /// changed for the moment in which somebody comes back.
    fn plan(&self, publisher: PeerIndex) -> Option<Plan> {
        let peer = self.peer(publisher)?;
        let told = peer.upstream.told.map(|(plan, _)| plan).unwrap_or_default();
        let mut plan = Plan::default();
        let layers = peer
            .uplinks
            .line(Source::Camera)
            .map_or(0, |line| line.streams.len());
        let cameras = self.receivers(publisher, Source::Camera).count();
        for (_, receiver) in self.receivers(publisher, Source::Camera) {
            let line = self.line(receiver);
            let Some(track) = receiver.downlinks.seen_as(publisher, Source::Camera) else {
                continue;
            };
            if cameras == 1 {
                let top = layers.saturating_sub(1).min(MAX_LAYERS - 1);
                plan.layers[top] = true;
                plan.camera = if line.is_capped {
                    track.choice.share.clamp(LEAST, USEFUL)
                } else {
                    USEFUL
                };
                continue;
            }
            let streams = peer
                .uplinks
                .line(Source::Camera)
                .map_or(&[][..], |line| &line.streams);
            let fed = streams
                .iter()
                .position(|stream| Some(stream.run) == track.rewriter.fed_by());
            let choice = track.choice;
            // The lowest is there at once when the line of one who gets nothing recovers.
            let lowest = choice.is_paused.then_some(0);
            for layer in [choice.wanted, choice.shown, fed, lowest].into_iter().flatten() {
                if let Some(place) = plan.layers.get_mut(layer) {
                    *place = true;
                }
            }
            plan.camera = ALL_LAYERS;
        }
        if cameras == 0 {
            (plan.layers, plan.camera) = (told.layers, told.camera);
        }
        let mut screens = 0;
        for (_, receiver) in self.receivers(publisher, Source::Screen) {
            let Some(track) = receiver.downlinks.seen_as(publisher, Source::Screen) else {
                continue;
            };
            screens += 1;
            plan.screen.send |= track.choice.wanted.is_some();
            plan.screen.max_bitrate = plan.screen.max_bitrate.max(if self.line(receiver).is_capped {
                track.choice.share.clamp(LEAST, USEFUL)
            } else {
                USEFUL
            });
        }
        if screens == 0 {
            plan.screen = told.screen;
        }
        (cameras + screens > 0).then_some(plan)
    }

    /// What all streams of `publisher` together may take, for its encoder; `None` without a limit.
    fn upstream_estimate(&self, publisher: PeerIndex) -> Option<u64> {
        let peer = self.peer(publisher)?;
        let mut receivers = self.receivers(publisher, Source::Camera);
        let (Some((_, receiver)), None) = (receivers.next(), receivers.next()) else {
            return None;
        };
        let estimate = receiver.downlinks.bandwidth.as_ref()?.estimate()?;
        let others: u64 = receiver
            .downlinks
            .slots
            .iter()
            .filter_map(|slot| slot.occupant.filter(|occupant| *occupant != publisher))
            .filter_map(|occupant| self.peer(occupant))
            .map(|other| {
                let video: u64 = other.uplinks.streams().map(|(_, stream)| stream.rate).sum();
                video
            })
            .sum();
        let least = LEAST + audio_rate(peer, receiver);
        Some(estimate.saturating_sub(others).max(least))
    }
}

/// Bits per second of sound from `publisher` to `receiver`.
fn audio_rate(publisher: &Peer, receiver: &Peer) -> u64 {
    let streams = publisher.uplinks.streams();
    streams
        .filter(|(source, _)| source.is_audio() && allowed(publisher.grant, receiver.id, *source))
        .map(|(_, stream)| stream.rate)
        .sum()
}

impl Upstream {
    /// Whether the camera sends nothing because it was told so.
    fn is_camera_off(&self) -> bool {
        self.told.is_some_and(|(plan, _)| !plan.layers.contains(&true))
    }

    /// Takes over a plan if it differs enough from what was told; returns what to tell.
    fn settle(&mut self, now: Instant, mut plan: Plan) -> Option<Plan> {
        let Some((told, at)) = self.told else {
            self.told = Some((plan, now));
            return Some(plan);
        };
        let age = now.saturating_duration_since(at);
        if age < LAYER_LINGERS {
            for (layer, told) in plan.layers.iter_mut().zip(told.layers) {
                *layer |= told;
            }
        }
        let differs = |new: u64, old: u64| {
            let percent = new.saturating_mul(100) / old.max(1);
            percent < DEMAND_CHANGE.0 || (percent > DEMAND_CHANGE.1 && age >= DEMAND_RAISE)
        };
        let changed = plan.layers != told.layers
            || plan.screen.send != told.screen.send
            || differs(plan.camera, told.camera)
            || differs(plan.screen.max_bitrate, told.screen.max_bitrate);
        if !changed {
            return None;
        }
        self.told = Some((plan, now));
        Some(plan)
    }

    /// What to tell the encoder now, if anything.
    fn remb(&mut self, now: Instant, estimate: Option<u64>) -> Option<u64> {
        // Without a limit only one that was told before is lifted.
        let Some(bitrate) = estimate else {
            self.remb.take()?;
            return Some(u64::from(u32::MAX));
        };
        if let Some((told, at)) = self.remb {
            let age = now.saturating_duration_since(at);
            let percent = bitrate.saturating_mul(100) / told.max(1);
            let due = percent < REMB_CHANGE.0
                || (percent > REMB_CHANGE.1 && age >= REMB_RAISE)
                || age >= REMB_REPEAT;
            if !due {
                return None;
            }
        }
        self.remb = Some((bitrate, now));
        Some(bitrate)
    }
}

impl Plan {
    fn demand(self, rids: &[String]) -> Demand {
        let names: Vec<String> = if rids.is_empty() {
            vec![ONLY_LAYER.to_owned()]
        } else {
            rids.to_vec()
        };
        let layers = names
            .into_iter()
            .zip(self.layers)
            .filter_map(|(name, wanted)| wanted.then_some(name));
        Demand {
            camera: CameraDemand {
                layers: layers.collect(),
                max_bitrate: self.camera,
            },
            screen: self.screen,
        }
    }
}

const _: () = assert!(
    MAX_TRACKS == SLOTS * VIDEO.len(),
    "each slot has a camera and a screen"
);
