// The way back after a loss: ICE restart first, a new connection where that cannot be, and no state without an end (P-6).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pulse } from '../client/pulse.js';
import { answering, callView, inCall, participants, settle } from './helpers.mjs';

/** In a call with media up. */
async function talking(setup) {
  const it = await inCall(setup);
  it.media.peers[0].become('connected');
  return it;
}
const phase = (it) => it.client.getState().media.phase;
const count = (it, type) => it.server.requests(type).length;

test('failed_connection_is_restarted_with_the_same_tracks', async () => {
  const it = await talking();
  const [peer] = it.media.peers;
  const microphone = peer.transceivers[0].sender.track;
  it.client.media.setMicrophone(false);
  peer.become('failed');
  assert.equal(phase(it), 'reconnecting');
  await settle();
  assert.deepEqual(it.server.requests('media.restart').map(({ call, sdp }) => [call, sdp]), [['call_1', 'restart 1.1']]);
  assert.deepEqual(peer.remoteDescription, { type: 'answer', sdp: 'answer to restart 1.1' });
  peer.become('connected');
  assert.equal(phase(it), 'connected');
  await it.clock.advance(30_000);
  assert.equal(it.media.peers.length, 1);
  assert.equal(count(it, 'media.offer'), 1);
  assert.equal(microphone.enabled, false, 'muted stays muted');
});

test('short_disconnection_heals_by_itself_and_one_of_a_second_is_restarted', async () => {
  const it = await talking();
  const [peer] = it.media.peers;
  peer.become('disconnected');
  await it.clock.advance(900);
  peer.become('connected');
  await it.clock.advance(10_000);
  assert.equal(count(it, 'media.restart'), 0);
  peer.become('disconnected');
  await it.clock.advance(1100);
  assert.equal(count(it, 'media.restart'), 1);
  assert.equal(it.media.peers.length, 1);
});

test('restart_that_does_not_connect_in_four_seconds_becomes_a_new_connection_in_the_same_place', async () => {
  const it = await talking();
  const microphone = it.media.peers[0].transceivers[0].sender.track;
  it.media.peers[0].become('failed');
  await it.clock.advance(3900);
  assert.equal(it.media.peers.length, 1);
  await it.clock.advance(200);
  assert.equal(it.media.peers.length, 2);
  assert.equal(it.media.peers[0].connectionState, 'closed');
  assert.equal(it.media.peers[1].transceivers[0].sender.track, microphone);
  it.media.peers[1].become('connected');
  assert.equal(phase(it), 'connected');
  assert.equal(count(it, 'media.offer'), 2);
});

test('server_that_cannot_restart_gets_a_new_connection_at_once', async () => {
  for (const error of ['no_restart', 'unknown_type', 'unavailable']) {
    const it = await talking();
    answering(it, 'media.restart', () => ({ error, retryable: error === 'unavailable' }));
    it.media.peers[0].become('failed');
    await it.clock.advance(50);
    assert.equal(it.media.peers.length, 2, error);
    assert.equal(phase(it), 'reconnecting');
  }
});

test('restart_waits_for_the_signaling_and_the_connection_is_kept_meanwhile', async () => {
  const it = await talking();
  it.server.down = true;
  it.server.drop();
  it.media.peers[0].become('failed');
  await it.clock.advance(20_000);
  assert.equal(it.media.peers.length, 1, 'it may still heal');
  it.server.down = false;
  it.wake('online');
  await it.clock.advance(3500);
  assert.equal(count(it, 'media.restart'), 1);
  assert.deepEqual(it.media.peers[0].remoteDescription, { type: 'answer', sdp: 'answer to restart 1.1' });
  it.media.peers[0].become('connected');
  assert.equal(phase(it), 'connected');
});

test('network_that_comes_back_restarts_a_connection_that_seems_to_work_but_not_again_and_again', async () => {
  const it = await talking();
  await it.clock.advance(6000);
  for (let times = 0; times < 5; times++) it.wake('online');
  await settle();
  assert.equal(count(it, 'media.restart'), 1);
  assert.equal(phase(it), 'connected', 'nothing is shown of it');
  await it.clock.advance(10_000);
  assert.equal(it.media.peers.length, 1);
  assert.equal(phase(it), 'connected');
});

test('restart_of_a_working_connection_that_is_refused_or_not_answered_changes_nothing', async () => {
  for (const answer of [() => ({ error: 'no_restart' }), () => null]) {
    const it = await talking();
    await it.clock.advance(6000);
    answering(it, 'media.restart', answer);
    it.wake('network');
    await it.clock.advance(10_000);
    assert.equal(it.media.peers.length, 1);
    assert.equal(it.media.peers[0].signalingState, 'stable');
    assert.equal(phase(it), 'connected');
  }
});

test('page_that_becomes_visible_is_no_reason_for_a_restart', async () => {
  const it = await talking();
  await it.clock.advance(6000);
  it.wake('visible');
  await it.clock.advance(1000);
  assert.equal(count(it, 'media.restart'), 0);
});

test('sleep_is_noticed_by_the_time_of_day_and_everything_is_checked_at_once', async () => {
  const it = await talking();
  await it.clock.advance(6500);
  const pings = it.server.received.filter((frame) => frame.type === 'ping').length;
  it.sleep(60_000);
  await it.clock.advance(1000);
  assert.equal(count(it, 'media.restart'), 1);
  assert.ok(it.server.received.filter((frame) => frame.type === 'ping').length > pings, 'the signaling is probed');
});

test('silence_after_a_steady_stream_is_a_loss_before_the_browser_says_so', async () => {
  const it = await talking();
  const [peer] = it.media.peers;
  const flows = async (ms) => {
    for (let passed = 0; passed < ms; passed += 100) {
      peer.bytesReceived += 500;
      await it.clock.advance(100);
    }
  };
  await flows(8000);
  const at = it.clock.now();
  assert.equal(it.client.getState().media.lostSince, null);
  // Another way is looked for long before people are told of a loss.
  await it.clock.advance(700);
  assert.equal(count(it, 'media.restart'), 1);
  assert.equal(phase(it), 'connected');
  await it.clock.advance(1500);
  const { lostSince } = it.client.getState().media;
  assert.ok(lostSince !== null && Math.abs(lostSince - at) <= 300, `${lostSince} for ${at}`);
  assert.equal(count(it, 'media.restart'), 1);
  // The browser never left `connected`: packets tell that it is over.
  await flows(1000);
  assert.equal(phase(it), 'connected');
  assert.equal(it.client.getState().media.lostSince, null);
  assert.equal(it.media.peers.length, 1);
});

test('silence_of_a_line_that_carries_only_checks_is_none', async () => {
  const it = await talking();
  for (let second = 0; second < 30; second++) {
    if (second % 5 === 0) it.media.peers[0].bytesReceived += 100;
    await it.clock.advance(1000);
    assert.equal(it.client.getState().media.lostSince, null);
  }
});

test('p6_no_state_of_a_connection_is_without_a_way_out', async () => {
  for (const state of ['new', 'connecting', 'disconnected', 'failed', 'closed']) {
    for (const told of [true, false]) {
      const it = await talking();
      const [peer] = it.media.peers;
      // With and without the event: the watchdog looks for itself.
      if (told) peer.become(state);
      else peer.connectionState = state;
      await it.clock.advance(7500);
      assert.ok(it.media.peers.length >= 2, `${state}, told: ${told}`);
      it.media.peers.at(-1).become('connected');
      assert.equal(phase(it), 'connected', state);
    }
  }
});

test('p6_restart_while_the_first_connection_is_being_made_is_a_new_attempt', async () => {
  const it = await inCall();
  it.media.peers[0].become('failed');
  await it.clock.advance(50);
  assert.equal(count(it, 'media.restart'), 0);
  assert.equal(it.media.peers.length, 2);
});

test('p6_end_of_the_call_during_a_restart_leaves_nothing_behind', async () => {
  const it = await talking();
  answering(it, 'media.restart', () => null);
  it.media.peers[0].become('failed');
  await settle();
  it.server.push({ kind: 'call', call: callView({ version: 2, phase: 'ended', reason: 'agent', talked_ms: 1, participants: [] }) });
  await it.clock.advance(60_000);
  assert.equal(it.media.peers.length, 1);
  assert.equal(phase(it), 'idle');
});

test('p6_answer_of_an_earlier_restart_is_not_taken_for_a_later_connection', async () => {
  const it = await talking();
  const late = [];
  answering(it, 'media.restart', (request) => {
    late.push(request);
    return null;
  });
  it.media.peers[0].become('failed');
  await it.clock.advance(4500);
  assert.equal(it.media.peers.length, 2);
  it.server.send({ type: 'ok', re: late[0].id, result: 'media', sdp: 'late' });
  await settle();
  assert.notEqual(it.media.peers[0].remoteDescription?.sdp, 'late');
  assert.notEqual(it.media.peers[1].remoteDescription?.sdp, 'late');
});

test('person_who_tries_now_gets_a_new_connection_at_once', async () => {
  const it = await talking();
  answering(it, 'media.restart', () => null);
  it.media.peers[0].become('failed');
  await it.clock.advance(100);
  it.client.tryNow();
  await settle();
  assert.equal(it.media.peers.length, 2);
});

test('call_that_ended_while_we_were_away_tells_why', async () => {
  const it = await talking();
  const ended = callView({ version: 5, phase: 'ended', reason: 'customer_lost', talked_ms: 9000, participants: participants() });
  it.server.snapshot = { ...it.server.snapshot, call: undefined, ended };
  it.server.forget();
  it.server.drop();
  await it.clock.advance(100);
  assert.equal(it.client.getState().call.reason, 'customer_lost');
});

test('paths_that_are_given_up_take_their_counts_along_and_that_is_no_sign_of_life', () => {
  const pulse = new Pulse({ now: 0, everyMs: 1000 });
  for (let second = 1; second <= 6; second++) assert.equal(pulse.feel(second * 1000, second * 1000).arriving, true);
  assert.equal(pulse.feel(6000, 7000).quietSince, null);
  assert.equal(pulse.feel(6000, 8000).quietSince, 6000);
  assert.deepEqual(pulse.feel(500, 9000), { arriving: false, quietSince: 6000, quietMs: 3000 });
  assert.equal(pulse.feel(600, 10_000).arriving, true);
});
