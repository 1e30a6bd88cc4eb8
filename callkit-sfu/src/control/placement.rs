//! [`Placement`]: which shard a room is on. A new room goes to the shard with the least to do that takes new ones;
//! whoever joins later goes where the room is, however busy it is there.

use std::collections::HashMap;

use callkit_core::id::{ParticipantId, RoomId};

use super::JoinError;

/// Datagrams a second that a participant is counted as, until its own are measured and beside them: sound and a
/// picture.
const PER_PARTICIPANT: u64 = 200;

/// What is known of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShardView {
    /// Datagrams received per second.
    pub(super) datagrams: u32,
    /// New rooms would harm the old ones.
    pub(super) is_over: bool,
}

#[derive(Debug)]
struct Placed {
    shard: usize,
    people: Vec<ParticipantId>,
    /// Joins whose outcome is not known yet.
    joining: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Placement {
    rooms: HashMap<RoomId, Placed>,
    /// Participants per shard.
    people: Vec<usize>,
    /// Participants that a shard takes.
    most: usize,
}

impl Placement {
    pub(super) fn new(shards: usize, most: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            people: vec![0; shards],
            most,
        }
    }

    /// Where a room is.
    pub(super) fn find(&self, room: RoomId) -> Option<usize> {
        self.rooms.get(&room).map(|placed| placed.shard)
    }

    /// Where a new room would go.
    ///
    /// # Errors
    /// [`JoinError::Overloaded`] if all shards have enough to do, [`JoinError::AtCapacity`] if they are full.
    pub(super) fn choose(&self, shards: &[ShardView]) -> Result<usize, JoinError> {
        let with_room = || {
            shards
                .iter()
                .zip(&self.people)
                .enumerate()
                .filter(|(_, (_, people))| **people < self.most)
        };
        let chosen = with_room()
            .filter(|(_, (view, _))| !view.is_over)
            .min_by_key(|(_, (view, people))| u64::from(view.datagrams) + PER_PARTICIPANT * **people as u64);
        match chosen {
            Some((shard, _)) => Ok(shard),
            None if with_room().next().is_none() => Err(JoinError::AtCapacity),
            None => Err(JoinError::Overloaded),
        }
    }

    /// Somebody is going to join: says where. Each call needs one of [`end`](Self::end).
    ///
    /// # Errors
    /// As [`choose`](Self::choose), for a new room only.
    pub(super) fn begin(&mut self, room: RoomId, shards: &[ShardView]) -> Result<usize, JoinError> {
        if let Some(placed) = self.rooms.get_mut(&room) {
            placed.joining += 1;
            return Ok(placed.shard);
        }
        let shard = self.choose(shards)?;
        let placed = Placed {
            shard,
            people: Vec::new(),
            joining: 1,
        };
        self.rooms.insert(room, placed);
        Ok(shard)
    }

    /// A join has ended; `is_in` says whether the participant may be in the room.
    pub(super) fn end(&mut self, room: RoomId, participant: ParticipantId, is_in: bool) {
        let Some(placed) = self.rooms.get_mut(&room) else {
            return;
        };
        placed.joining = placed.joining.saturating_sub(1);
        if is_in && !placed.people.contains(&participant) {
            placed.people.push(participant);
            self.people[placed.shard] += 1;
        }
        self.drop_if_empty(room);
    }

    /// A participant has left.
    pub(super) fn left(&mut self, room: RoomId, participant: ParticipantId) {
        let Some(placed) = self.rooms.get_mut(&room) else {
            return;
        };
        if let Some(place) = placed.people.iter().position(|one| *one == participant) {
            placed.people.swap_remove(place);
            self.people[placed.shard] -= 1;
        }
        self.drop_if_empty(room);
    }

    /// Everybody has left.
    pub(super) fn closed(&mut self, room: RoomId) {
        if let Some(placed) = self.rooms.get_mut(&room) {
            self.people[placed.shard] -= placed.people.len();
            placed.people.clear();
        }
        self.drop_if_empty(room);
    }

    fn drop_if_empty(&mut self, room: RoomId) {
        if self
            .rooms
            .get(&room)
            .is_some_and(|placed| placed.people.is_empty() && placed.joining == 0)
        {
            self.rooms.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: ShardView = ShardView {
        datagrams: 0,
        is_over: false,
    };
    const OVER: ShardView = ShardView {
        datagrams: 90_000,
        is_over: true,
    };

    fn room(number: u128) -> RoomId {
        RoomId::from(number)
    }

    fn person(number: u128) -> ParticipantId {
        ParticipantId::from(number)
    }

    fn join(
        placement: &mut Placement,
        to: u128,
        who: u128,
        shards: &[ShardView],
    ) -> Result<usize, JoinError> {
        let shard = placement.begin(room(to), shards)?;
        placement.end(room(to), person(who), true);
        Ok(shard)
    }

    #[test]
    fn rooms_spread_evenly_and_stay_together() {
        let mut placement = Placement::new(4, 1000);
        let mut rooms = [0; 4];
        for number in 0..100 {
            let first = join(&mut placement, number, 2 * number, &[CALM; 4]).unwrap();
            let second = join(&mut placement, number, 2 * number + 1, &[CALM; 4]).unwrap();
            assert_eq!(first, second);
            rooms[first] += 1;
        }
        assert_eq!(rooms, [25; 4]);
    }

    #[test]
    fn a_new_room_goes_where_least_is_received() {
        let mut placement = Placement::new(3, 1000);
        let view = |datagrams| ShardView {
            datagrams,
            is_over: false,
        };
        let shards = [view(9000), view(2000), view(2300)];
        assert_eq!(join(&mut placement, 1, 1, &shards), Ok(1));
        assert_eq!(join(&mut placement, 1, 2, &shards), Ok(1));
        assert_eq!(join(&mut placement, 2, 3, &shards), Ok(2));
    }

    #[test]
    fn an_overloaded_shard_gets_no_new_room_and_keeps_its_old_ones() {
        let mut placement = Placement::new(2, 1000);
        assert_eq!(join(&mut placement, 1, 1, &[CALM, OVER]), Ok(0));
        assert_eq!(join(&mut placement, 2, 2, &[OVER, CALM]), Ok(1));
        let all = [OVER, OVER];
        assert_eq!(join(&mut placement, 3, 5, &all), Err(JoinError::Overloaded));
        assert_eq!(join(&mut placement, 1, 3, &all), Ok(0));
        assert_eq!(join(&mut placement, 2, 4, &all), Ok(1));
        assert_eq!(placement.find(room(3)), None);
    }

    #[test]
    fn full_shards_are_told_from_busy_ones() {
        let mut placement = Placement::new(2, 1);
        assert_eq!(join(&mut placement, 1, 1, &[CALM; 2]), Ok(0));
        assert_eq!(join(&mut placement, 2, 2, &[CALM; 2]), Ok(1));
        assert_eq!(join(&mut placement, 3, 3, &[CALM; 2]), Err(JoinError::AtCapacity));
        placement.left(room(1), person(1));
        assert_eq!(join(&mut placement, 3, 3, &[CALM; 2]), Ok(0));
    }

    #[test]
    fn p29_nothing_is_kept_of_rooms_that_are_gone() {
        let mut placement = Placement::new(2, 1000);
        for number in 0..1000 {
            join(&mut placement, number, 1, &[CALM; 2]).unwrap();
            join(&mut placement, number, 2, &[CALM; 2]).unwrap();
            placement.begin(room(number), &[CALM; 2]).unwrap();
            placement.end(room(number), person(3), false);
            if number % 2 == 0 {
                placement.left(room(number), person(1));
                placement.left(room(number), person(2));
                placement.left(room(number), person(2));
            } else {
                placement.closed(room(number));
            }
        }
        assert_eq!((placement.rooms.len(), placement.people), (0, vec![0, 0]));
    }

    #[test]
    fn a_room_that_somebody_is_joining_stays_where_it_is_while_the_others_leave() {
        let mut placement = Placement::new(2, 1000);
        let shard = join(&mut placement, 1, 1, &[CALM; 2]).unwrap();
        placement.begin(room(1), &[CALM; 2]).unwrap();
        placement.left(room(1), person(1));
        assert_eq!(placement.find(room(1)), Some(shard));
        placement.end(room(1), person(2), true);
        assert_eq!(placement.find(room(1)), Some(shard));
    }
}
