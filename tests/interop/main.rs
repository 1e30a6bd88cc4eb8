//! The SFU and an independent client: peers of the `webrtc` crate, with their own SDP, ICE, DTLS and retransmission, talk
//! through our sockets. A line between them loses packets of media when told to.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod line;
mod peer;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use callkit_core::id::{IdSource, RoomId};
use callkit_core::time::SystemClock;
use callkit_sfu::control::{JoinRequest, MediaPlane as _, Sfu, SfuConfig, SfuEvent};
use callkit_sfu::media::Grant;
use tokio::sync::mpsc::Receiver;

use line::Line;
use peer::Peer;

/// A room of a real SFU.
struct Room {
    sfu: Sfu,
    // Kept, so that the SFU has somebody to report to.
    _events: Receiver<SfuEvent>,
    room: RoomId,
    ids: IdSource,
}

impl Room {
    fn open() -> Self {
        let config = SfuConfig {
            bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            shards: 1,
            ..SfuConfig::default()
        };
        let (sfu, events) = Sfu::start(config, Arc::new(SystemClock::new()), [5; 32]).unwrap();
        let mut ids = IdSource::seeded(3);
        Self {
            sfu,
            _events: events,
            room: ids.next_id(),
            ids,
        }
    }

    /// A peer that sends as soon as it is connected; `mark` is in all that it sends.
    async fn enter(&mut self, mark: u8, line: &Line) -> Peer {
        let (peer, offer) = Peer::offer(mark).await;
        let request = JoinRequest {
            room: self.room,
            participant: self.ids.next_id(),
            offer,
            grant: Grant::Full,
        };
        let joined = self.sfu.join(request).await.unwrap();
        let media = self.sfu.listening()[0];
        peer.answer(&line.lead_through(&joined.answer, media).await).await;
        peer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webrtc_rs_peers_see_and_hear_each_other_and_a_third_joins_without_sdp_for_them() {
    let (mut room, line) = (Room::open(), Line::open(0));
    let anna = room.enter(1, &line).await;
    let irina = room.enter(2, &line).await;
    anna.until("the other is there", |heard| heard.is_of(&[2])).await;
    irina.until("the other is there", |heard| heard.is_of(&[1])).await;
    let vera = room.enter(3, &line).await;
    vera.until("both are there", |heard| heard.is_of(&[1, 2])).await;
    anna.until("the third is there", |heard| heard.is_of(&[2, 3]))
        .await;
    irina
        .until("the third is there", |heard| heard.is_of(&[1, 3]))
        .await;
    for peer in [anna, irina, vera] {
        peer.close().await;
    }
}

/// Video packets of which one is lost, and pictures, of one packet each, that have to follow each other all the same.
const LOSE_EACH: u64 = 20;
const RUN: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_line_loses_is_asked_for_and_sent_again_in_both_directions() {
    let (mut room, line) = (Room::open(), Line::open(LOSE_EACH));
    let anna = room.enter(1, &line).await;
    let irina = room.enter(2, &line).await;
    for (peer, other) in [(&anna, 2), (&irina, 1)] {
        peer.until("pictures without a gap", |heard| {
            has_run(heard.pictures(other), RUN)
        })
        .await;
    }
    for way in [&line.up, &line.down] {
        assert!(way.lost() >= u64::from(RUN) / LOSE_EACH, "{line:?}");
        // Not compared with what was lost: the crate asks on for what a packet of retransmission has brought.
        assert!(way.resent() > 0, "{line:?}");
    }
    for peer in [anna, irina] {
        peer.close().await;
    }
}

/// Whether `length` numbers follow each other without a gap.
fn has_run(numbers: &BTreeSet<u32>, length: u32) -> bool {
    let (mut run, mut next) = (0, None);
    for number in numbers {
        run = if next == Some(*number) { run + 1 } else { 1 };
        next = number.checked_add(1);
        if run == length {
            return true;
        }
    }
    false
}
