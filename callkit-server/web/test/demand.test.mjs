// What is sent: as the server asks, one change at a time, at whatever moment it asks. And the servers that help to connect.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering, callView, inCall, settle, world } from './helpers.mjs';

const demand = (layers, max = 5_000_000, screen = { send: true, max_bitrate: 2_500_000 }) =>
  ({ kind: 'media.demand', call: 'call_1', camera: { layers, max_bitrate: max }, screen });
const camera = (peer) => peer.transceivers[1].sendEncodings.map(({ rid, active }) => [rid, active]);
const rates = (peer) => peer.transceivers[1].sendEncodings.map(({ maxBitrate }) => maxBitrate);

test('call_of_two_sends_the_full_layer_whatever_the_answer_switched_on', async () => {
  const { media } = await inCall();
  assert.deepEqual(camera(media.peers[0]), [['l', false], ['m', false], ['h', true]]);
});

test('camera_is_asked_for_three_layers_worth_of_pixels', async () => {
  const { media } = await inCall();
  assert.deepEqual([media.asked[0].video.width.ideal, media.asked[0].video.height.ideal], [1280, 720]);
});

test('layers_that_are_asked_for_are_switched_on_and_the_highest_takes_what_is_left', async () => {
  const { server, media } = await inCall();
  server.push(demand(['l', 'h'], 1_000_000));
  await settle();
  assert.deepEqual(camera(media.peers[0]), [['l', true], ['m', false], ['h', true]]);
  assert.deepEqual([rates(media.peers[0])[0], rates(media.peers[0])[2]], [150_000, 850_000]);
  server.push(demand(['h'], 300_000));
  await settle();
  assert.deepEqual(camera(media.peers[0]), [['l', false], ['m', false], ['h', true]]);
  assert.equal(rates(media.peers[0])[2], 300_000);
});

test('camera_that_nobody_can_take_is_not_sent_and_the_screen_only_if_it_can_be_taken', async () => {
  const { server, media, client } = await inCall();
  media.peers[0].become('connected');
  server.push(demand([], 0, { send: false, max_bitrate: 0 }));
  await settle();
  assert.deepEqual(camera(media.peers[0]).map(([, active]) => active), [false, false, false]);
  assert.equal(media.peers[0].transceivers[2].sendEncodings[0].active, false);
  assert.equal((await client.media.measure()).sample.level, 'video_paused');
  server.push(demand(['h'], 700_000, { send: true, max_bitrate: 900_000 }));
  await settle();
  assert.deepEqual(camera(media.peers[0]).map(([, active]) => active), [false, false, true]);
  assert.deepEqual(media.peers[0].transceivers[2].sendEncodings[0], { maxBitrate: 900_000, active: true });
});

test('demands_in_quick_succession_are_set_one_at_a_time_and_the_last_one_stands', async () => {
  const { server, media } = await inCall();
  for (const layers of [['l'], ['m'], ['l', 'm'], ['h'], ['l', 'm', 'h'], ['m']]) server.push(demand(layers));
  await settle();
  await settle();
  assert.deepEqual(camera(media.peers[0]), [['l', false], ['m', true], ['h', false]]);
  assert.equal(media.peers[0].set.most, 1);
});

test('demand_before_the_connection_and_over_a_new_one_is_kept', async () => {
  const { server, media, clock } = await inCall((it) => answering(it, 'media.offer', () => null));
  server.push(demand(['l', 'm']));
  await settle();
  answering({ server }, 'media.offer', ({ sdp }) => ({ result: 'media', sdp: `answer to ${sdp}` }));
  await clock.advance(8100);
  assert.equal(media.peers.length, 2);
  assert.deepEqual(camera(media.peers[1]), [['l', true], ['m', true], ['h', false]]);
});

test('demand_of_another_call_is_not_ours', async () => {
  const { server, media } = await inCall();
  server.push({ ...demand(['l']), call: 'call_9' });
  await settle();
  assert.deepEqual(camera(media.peers[0]), [['l', false], ['m', false], ['h', true]]);
});

const SERVERS = [{ urls: ['turn:turn.example:3478?transport=udp'], username: '1:p', credential: 'secret' }];
const givesServers = (life = 600_000, list = SERVERS) => (it) =>
  answering(it, 'media.servers', () => ({ result: 'servers', ice_servers: list, expires_in_ms: life }));

test('connections_are_built_with_the_servers_of_the_session', async () => {
  const { media, server } = await inCall(givesServers());
  assert.deepEqual(media.peers.at(-1).configuration.iceServers, SERVERS);
  assert.equal(server.requests('media.servers').length, 1);
});

test('connection_made_in_advance_is_made_again_when_servers_become_known', async () => {
  const it = world();
  it.server.snapshot.call = callView();
  givesServers()(it);
  it.client.connect();
  await settle();
  assert.deepEqual(it.media.peers.map((peer) => [peer.connectionState, peer.configuration.iceServers ?? null]), [['closed', null], ['new', SERVERS]]);
});

test('servers_are_asked_for_again_after_half_their_life_before_a_connection', async () => {
  const { media, server, clock, client } = await inCall(givesServers(100_000));
  media.peers.at(-1).become('connected');
  await clock.advance(40_000);
  client.media.reconnect();
  await settle();
  assert.equal(server.requests('media.servers').length, 1);
  media.peers.at(-1).become('connected');
  await clock.advance(20_000);
  client.media.reconnect();
  await settle();
  assert.equal(server.requests('media.servers').length, 2);
  media.peers.at(-1).become('connected');
});

test('server_that_gives_no_servers_blocks_no_call', async () => {
  for (const answer of [() => null, () => ({ error: 'unknown_type' }), () => ({ result: 'servers', ice_servers: [], expires_in_ms: 1000 })]) {
    const { media, clock, server } = await inCall((it) => answering(it, 'media.servers', answer));
    await clock.advance(400);
    assert.equal(media.peers.length, 1);
    assert.equal(media.peers[0].configuration.iceServers, undefined);
    assert.equal(server.requests('media.offer').length, 1);
  }
});

test('restart_uses_the_servers_that_are_known_by_then', async () => {
  const { media, server, clock, client } = await inCall((it) => answering(it, 'media.servers', () => ({ error: 'unavailable', retryable: true })));
  await clock.advance(400);
  media.peers[0].become('connected');
  await clock.advance(15_000);
  givesServers()({ server });
  await client.media.refreshServers();
  media.peers[0].become('failed');
  await settle();
  assert.deepEqual(media.peers[0].configuration.iceServers, SERVERS);
});

test('expired_credentials_are_not_used', async () => {
  const { media, server, clock, client } = await inCall(givesServers(10_000));
  media.peers.at(-1).become('connected');
  answering({ server }, 'media.servers', () => ({ error: 'unavailable' }));
  await clock.advance(20_000);
  client.media.reconnect();
  await clock.advance(400);
  assert.equal(media.peers.at(-1).configuration.iceServers, undefined);
});
