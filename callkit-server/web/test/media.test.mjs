// The one negotiation, the devices, and the way back after a loss.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeStream, FakeTrack, domError } from '../client/testing/fake-media.js';
import { callView, inCall, participants, settle, world } from './helpers.mjs';

const layout = (peer) => peer.transceivers.map((line) => `${line.kind} ${line.direction}`);

test('one_offer_lays_out_four_sending_and_eight_receiving_lines', async () => {
  const { media, server } = await inCall();
  const [peer] = media.peers;
  const slot = ['audio recvonly', 'video recvonly', 'video recvonly', 'audio recvonly'];
  assert.deepEqual(layout(peer), ['audio sendonly', 'video sendonly', 'video sendonly', 'audio sendonly', ...slot, ...slot]);
  assert.deepEqual(peer.transceivers[1].sendEncodings.map((layer) => [layer.rid, layer.active, layer.scaleResolutionDownBy]),
    [['l', false, 4], ['m', false, 2], ['h', true, 1]]);
  assert.equal(server.requests('media.offer').length, 1);
  assert.deepEqual(peer.remoteDescription, { type: 'answer', sdp: 'answer to offer 1' });
  assert.equal(peer.transceivers[0].sender.track.kind, 'audio');
  assert.equal(peer.transceivers[1].sender.track.kind, 'video');
});

test('offer_made_while_waiting_is_the_one_that_is_used', async () => {
  const { client, server, media } = world();
  server.snapshot.call = callView();
  client.connect();
  await settle();
  assert.equal(media.peers.length, 1);
  server.push({ kind: 'call', call: callView({ version: 2, phase: 'connecting', participants: participants() }) });
  await settle();
  assert.equal(media.peers.length, 1);
  assert.equal(server.requests('media.offer')[0].sdp, 'offer 1');
});

test('devices_that_open_late_need_no_second_offer', async () => {
  const { client, media, server } = world();
  server.snapshot.call = callView({ phase: 'connecting', participants: participants() });
  server.answer = () => ({ result: 'media', sdp: 'answer' });
  client.connect();
  await settle();
  const [peer] = media.peers;
  assert.equal(peer.transceivers[0].sender.track, null);
  await client.media.acquire();
  assert.equal(peer.transceivers[0].sender.track.kind, 'audio');
  assert.equal(server.requests('media.offer').length, 1);
  const { microphone, camera } = server.requests('media.state').at(-1);
  assert.deepEqual([microphone, camera], [true, true], 'and the others are told');
});

test('microphone_is_off_at_once_and_the_others_are_told', async () => {
  const { client, media, server } = await inCall();
  client.media.setMicrophone(false);
  assert.equal(media.peers[0].transceivers[0].sender.track.enabled, false);
  assert.equal(client.getState().media.microphone, false);
  await settle();
  assert.equal(server.requests('media.state').at(-1).microphone, false);
});

test('screen_is_shared_by_replacing_the_track_and_ends_with_it', async () => {
  const { client, media, server } = await inCall();
  const track = new FakeTrack('video');
  client.media.startScreen(new FakeStream([track]));
  await settle();
  assert.equal(media.peers[0].transceivers[2].sender.track, track);
  assert.equal(server.requests('media.state').at(-1).screen, true);
  track.end();
  await settle();
  assert.equal(media.peers[0].transceivers[2].sender.track, null);
  assert.equal(server.requests('media.state').at(-1).screen, false);
  assert.equal(server.requests('media.offer').length, 1);
});

test('restarted_server_gets_a_new_offer_without_a_click', async () => {
  const { client, media, server, clock } = await inCall();
  media.peers[0].become('connected');
  server.restart();
  await clock.advance(100);
  assert.equal(media.peers.length, 2);
  assert.equal(server.requests('media.offer').length, 2);
  assert.equal(client.getState().media.phase, 'reconnecting');
});

test('offer_that_waited_for_the_restarted_server_is_not_sent_beside_the_new_one', async () => {
  const { media, server, clock } = await inCall();
  media.peers[0].become('connected');
  server.down = true;
  server.restart();
  media.peers[0].close();
  await clock.advance(2000);
  server.down = false;
  await clock.advance(5000);
  assert.equal(server.requests('media.offer').length, 2);
});

test('signaling_loss_alone_leaves_the_media_connection_alone', async () => {
  const { media, server, clock } = await inCall();
  media.peers[0].become('connected');
  server.drop();
  await clock.advance(5000);
  assert.equal(media.peers.length, 1);
  assert.equal(server.requests('media.offer').length, 1);
});

test('server_that_lost_us_is_believed_unless_we_are_connected', async () => {
  const { media, server, clock } = await inCall();
  media.peers[0].become('connected');
  const lost = (version) => server.push({ kind: 'call', call: callView({ version, phase: 'active', for_ms: 0, participants: participants({ me: 'reconnecting' }) }) });
  lost(2);
  await clock.advance(100);
  assert.equal(media.peers.length, 1);
  assert.equal(server.requests('media.restart').length, 1, 'another way is looked for, the present one is kept');
  media.peers[0].close();
  lost(3);
  await clock.advance(100);
  assert.equal(media.peers.length, 2);
});

test('attempt_that_does_not_connect_is_repeated', async () => {
  const { media, clock } = await inCall();
  await clock.advance(8100);
  assert.equal(media.peers.length, 2);
  await clock.advance(8600);
  assert.equal(media.peers.length, 3);
});

test('refused_offer_is_a_failure_that_is_not_repeated', async () => {
  const { client, media, clock } = await inCall(({ server }) => {
    server.answer = (request) => (request.type === 'media.offer' ? { error: 'sdp_invalid' } : { result: 'done' });
  });
  await clock.advance(60_000);
  assert.equal(client.getState().media.phase, 'failed');
  assert.equal(media.peers.length, 1);
});

test('end_of_the_call_closes_connection_and_devices', async () => {
  const { client, media, server } = await inCall();
  const microphone = media.peers[0].transceivers[0].sender.track;
  const ends = [];
  client.on('call-end', (end) => ends.push(end));
  server.push({ kind: 'call', call: callView({ version: 2, phase: 'ended', reason: 'agent', talked_ms: 7000, participants: [] }) });
  await settle();
  assert.deepEqual(ends, [{ call: 'call_1', reason: 'agent', talkedMs: 7000 }]);
  assert.equal(media.peers[0].connectionState, 'closed');
  assert.equal(microphone.readyState, 'ended');
  assert.equal(client.getState().media.phase, 'idle');
});

test('missing_camera_leaves_an_audio_call', async () => {
  const { client, media } = world();
  media.failures.video = domError('NotFoundError');
  const { cameraProblem } = await client.media.acquire();
  assert.equal(cameraProblem.code, 'not_found');
  assert.equal(client.getState().media.hasMicrophone, true);
  assert.equal(client.getState().media.camera, false);
});

test('refused_microphone_is_permission_denied', async () => {
  const { client, media } = world();
  media.failures.audio = domError('NotAllowedError');
  await assert.rejects(client.media.acquire(), { code: 'permission_denied', messageKey: 'error-permission-denied' });
});

test('occupied_devices_are_named_so', async () => {
  const { client, media } = world();
  media.failures.audio = domError('NotReadableError');
  await assert.rejects(client.media.acquire(), { code: 'in_use' });
});

test('camera_can_be_added_to_an_audio_call', async () => {
  const { client, media, server } = await inCall(({ media: fake }) => {
    fake.failures.video = domError('NotFoundError');
  });
  assert.equal(client.getState().media.camera, false);
  media.failures.video = null;
  await client.media.setCamera(true);
  await settle();
  assert.equal(media.peers[0].transceivers[1].sender.track.kind, 'video');
  assert.equal(server.requests('media.state').at(-1).camera, true);
});

test('devices_that_open_after_the_call_ended_are_closed_again', async () => {
  const { client, media } = world();
  const stopped = [];
  const open = media.environment.devices.getUserMedia;
  let answer = () => {};
  media.environment.devices.getUserMedia = async (constraints) => {
    await new Promise((resolve) => {
      answer = resolve;
    });
    const stream = await open(constraints);
    stopped.push(...stream.getTracks());
    return stream;
  };
  const opening = assert.rejects(client.media.acquire(), { code: 'closed' });
  await settle();
  client.media.release();
  answer();
  await opening;
  assert.deepEqual(stopped.map((track) => track.readyState), ['ended', 'ended']);
  assert.equal(client.getState().media.hasMicrophone, false);
});

test('devices_are_asked_for_once_however_often_they_are_needed', async () => {
  const { client, media } = world();
  await Promise.all([client.media.acquire(), client.media.acquire()]);
  await client.media.acquire();
  assert.equal(media.asked.length, 1);
});

