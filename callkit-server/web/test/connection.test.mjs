// The signaling session over failing connections.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallkitError } from '../client/errors.js';
import { callView, chatView, settle, world } from './helpers.mjs';

const state = (client) => client.getState().connection.state;

test('client_authenticates_after_hello_and_takes_the_snapshot', async () => {
  const { client, server } = world();
  server.snapshot.call = callView();
  client.connect();
  assert.equal(state(client), 'connecting');
  await settle();
  assert.equal(state(client), 'connected');
  assert.deepEqual(server.received[0], { type: 'auth', token: 'token', client: { name: 'callkit-web', version: '0.1.0' } });
  assert.equal(client.getState().call.id, 'call_1');
});

test('dropped_socket_resumes_with_the_last_event_and_no_new_token', async () => {
  let tokens = 0;
  const { client, server, clock } = world({ getToken: async () => `token-${++tokens}` });
  client.connect();
  await settle();
  server.push({ kind: 'call', call: callView() });
  await settle();
  server.drop();
  assert.equal(state(client), 'reconnecting');
  server.push({ kind: 'chat', message: chatView() });
  await clock.advance(10);
  assert.equal(state(client), 'connected');
  assert.deepEqual(server.received.at(-1), { type: 'resume', session: 'sess-1', resume_token: 'secret-1', last_seq: 11 });
  assert.equal(tokens, 1);
  assert.deepEqual(client.getState().chat.map((line) => line.text), ['hello']);
});

test('events_are_applied_once_even_if_the_server_repeats_them', async () => {
  const { client, server } = world();
  client.connect();
  await settle();
  let changes = 0;
  client.on('message', () => changes++);
  server.push({ kind: 'call', call: callView() });
  server.push({ kind: 'chat', message: chatView() });
  server.send({ type: 'event', seq: 12, event: { kind: 'chat', message: chatView() } });
  await settle();
  assert.equal(changes, 1);
});

test('gap_in_the_numbers_takes_a_fresh_snapshot', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.send({ type: 'event', seq: 15, event: { kind: 'call', call: callView() } });
  await clock.advance(10);
  assert.equal(state(client), 'connected');
  assert.equal(server.received.filter((frame) => frame.type === 'auth').length, 2);
});

test('restarted_server_is_not_asked_to_resume', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.restart();
  await clock.advance(10);
  assert.equal(state(client), 'connected');
  assert.deepEqual(server.received.map((frame) => frame.type), ['auth', 'auth']);
});

test('refused_resume_authenticates_on_the_same_connection', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.forget();
  server.drop();
  await clock.advance(10);
  assert.equal(state(client), 'connected');
  assert.deepEqual(server.received.map((frame) => frame.type), ['auth', 'resume', 'auth']);
  assert.equal(server.attempts, 2);
});

test('server_that_is_away_is_tried_again_for_as_long_as_it_takes', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.down = true;
  server.drop();
  await clock.advance(10 * 60_000);
  assert.equal(state(client), 'reconnecting');
  assert.ok(server.attempts > 50, `${server.attempts} attempts`);
  server.down = false;
  await clock.advance(9000);
  assert.equal(state(client), 'connected');
});

test('waits_between_tries_grow', async () => {
  const { client, server, clock } = world();
  client.connect();
  await clock.advance(6000);
  const tries = [];
  server.down = true;
  client.on('connection-change', ({ retryAt }) => retryAt !== null && tries.push(Math.round(retryAt - clock.now())));
  server.drop();
  await clock.advance(30_000);
  assert.deepEqual(tries.slice(0, 6), [0, 450, 1700, 3200, 5300, 7500]);
});

test('network_coming_back_tries_at_once', async () => {
  const { client, server, clock, wake } = world();
  client.connect();
  await settle();
  server.down = true;
  server.drop();
  await clock.advance(60_000);
  server.down = false;
  wake();
  await settle();
  assert.equal(state(client), 'connected');
});

test('woken_page_on_a_dead_socket_notices_in_three_seconds', async () => {
  const { client, server, clock, wake } = world();
  client.connect();
  await settle();
  server.mute = true;
  wake();
  await clock.advance(2000);
  assert.equal(state(client), 'connected');
  server.mute = false;
  await clock.advance(2500);
  assert.equal(server.attempts, 2);
  assert.equal(state(client), 'connected');
});

test('silent_server_is_left_after_fifteen_seconds', async () => {
  const { client, server, clock } = world();
  client.connect();
  await clock.advance(60_000);
  assert.equal(server.attempts, 1, 'pings keep it alive');
  assert.ok(server.received.filter((frame) => frame.type === 'ping').length >= 10);
  server.mute = true;
  await clock.advance(17_000);
  assert.ok(server.attempts >= 2);
});

test('request_written_while_disconnected_is_sent_afterwards', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.down = true;
  server.drop();
  const done = client.operator.setPresence({ presence: 'available' });
  await clock.advance(1000);
  assert.equal(server.requests('presence.set').length, 0);
  server.down = false;
  await clock.advance(10_000);
  await done;
  assert.equal(server.requests('presence.set').length, 1);
});

test('unanswered_repeatable_request_is_sent_again_in_a_new_session_and_another_is_not', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.answer = () => null;
  const presence = client.operator.setPresence({ presence: 'available' });
  const accept = assert.rejects(client.operator.accept('offer_1'), { code: 'connection_lost', retryable: true });
  await settle();
  server.answer = () => ({ result: 'done' });
  server.restart();
  await clock.advance(1000);
  await Promise.all([presence, accept]);
  assert.equal(server.requests('presence.set').length, 2);
  assert.equal(server.requests('offer.accept').length, 1);
});

test('request_without_an_answer_times_out', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.answer = () => null;
  const refused = assert.rejects(client.operator.accept('offer_1'), { code: 'timeout' });
  await clock.advance(20_000);
  await refused;
});

test('error_answer_rejects_with_the_servers_code', async () => {
  const { client, server } = world();
  client.connect();
  await settle();
  server.answer = () => ({ error: 'offer_closed' });
  await assert.rejects(client.operator.accept('offer_1'), { code: 'offer_closed', retryable: false });
});

test('expired_token_is_renewed_once_and_then_given_up', async () => {
  const reasons = [];
  const { client, server, clock } = world({ getToken: async ({ reason }) => reasons.push(reason) && `token-${reasons.length}` });
  server.refuse = (token) => (token === 'token-1' ? 'expired_token' : null);
  client.connect();
  await clock.advance(2000);
  assert.equal(state(client), 'connected');
  assert.deepEqual(reasons, ['connect', 'expired']);

  server.refuse = () => 'invalid_token';
  server.restart();
  await clock.advance(20_000);
  assert.equal(state(client), 'disconnected');
  assert.equal(client.getState().connection.reason, 'unauthenticated');
});

test('token_that_cannot_be_had_now_is_asked_for_again', async () => {
  let tries = 0;
  const { client, clock } = world({
    getToken: async () => {
      if (++tries < 3) throw new CallkitError('unavailable', { retryable: true });
      return 'token';
    },
  });
  client.connect();
  await clock.advance(5000);
  assert.equal(state(client), 'connected');
});

test('replaced_connection_does_not_fight_back_until_asked', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.send({ type: 'closing', code: 'replaced' });
  await clock.advance(60_000);
  assert.equal(state(client), 'disconnected');
  assert.equal(client.getState().connection.reason, 'replaced');
  assert.equal(server.attempts, 1);
  client.connect();
  await settle();
  assert.equal(state(client), 'connected');
});

test('malformed_frame_starts_over_without_throwing', async () => {
  const { client, server, clock } = world();
  client.connect();
  await settle();
  server.send({ type: 'event', seq: 11, event: { kind: 'call', call: { id: 5 } } });
  await clock.advance(1000);
  assert.equal(state(client), 'connected');
  assert.equal(server.attempts, 2);
});

test('unknown_frames_and_events_are_ignored', async () => {
  const { client, server } = world();
  client.connect();
  await settle();
  server.send({ type: 'fireworks' });
  server.push({ kind: 'fireworks' });
  server.push({ kind: 'call', call: callView() });
  await settle();
  assert.equal(server.attempts, 1);
  assert.equal(client.getState().call.id, 'call_1');
});

test('events_are_confirmed_between_pings_when_there_are_many', async () => {
  const { client, server } = world();
  client.connect();
  await settle();
  for (let version = 1; version <= 70; version++) server.push({ kind: 'call', call: callView({ version }) });
  await settle();
  assert.deepEqual(server.received.filter((frame) => frame.type === 'ack'), [{ type: 'ack', last_seq: 74 }]);
});

test('dropped_socket_stays_down_as_long_as_the_test_wants', async () => {
  const { client, clock } = world();
  client.connect();
  await settle();
  client.debugDropSocket({ forMs: 3000 });
  await clock.advance(2900);
  assert.equal(state(client), 'reconnecting');
  await clock.advance(200);
  assert.equal(state(client), 'connected');
  client.debugDropSocket({ forMs: 60_000 });
  await clock.advance(20_000);
  assert.equal(state(client), 'reconnecting');
  client.debugRestoreSocket();
  await settle();
  assert.equal(state(client), 'connected');
});

test('request_whose_answer_is_forgotten_is_asked_again_under_a_new_number', async () => {
  const { client, server } = world();
  client.connect();
  await settle();
  server.answer = (request) => (request.id === 1 ? { error: 'forgotten' } : { result: 'done' });
  await client.operator.setPresence({ presence: 'available' });
  assert.deepEqual(server.requests('presence.set').map((request) => request.id), [1, 2]);
  server.answer = () => ({ error: 'forgotten' });
  await assert.rejects(client.operator.accept('offer_1'), { code: 'forgotten' });
});

test('page_that_was_held_up_reads_what_arrived_before_it_calls_the_server_silent', async () => {
  const { client, server, clock } = world();
  client.connect();
  await clock.advance(5500);
  // Nothing of the page runs for 20 seconds, as on a machine that has too much to do.
  await clock.hold(20_000);
  await clock.advance(1500);
  assert.equal(state(client), 'connected');
  assert.equal(server.attempts, 1);
  // A server that says nothing is still found out.
  server.mute = true;
  await clock.advance(17_000);
  assert.notEqual(state(client), 'connected');
});
