// What the page shows, from what the server says.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initialState, reduce } from '../client/call-store.js';
import { callView, chatView, participants, settle, world } from './helpers.mjs';

const MEDIA = { phase: 'idle', microphone: false, camera: false, screen: false, hasCamera: false, hasMicrophone: false, devices: { microphone: null, camera: null } };
const event = (state, body, now = 0) => reduce(state, { type: 'event', event: body, now });
const queued = () => event(initialState(MEDIA), { kind: 'call', call: callView({ version: 5, position: 2 }) });

test('state_is_frozen_to_the_bottom', () => {
  const state = queued();
  assert.ok(Object.isFrozen(state) && Object.isFrozen(state.call) && Object.isFrozen(state.call.participants[0].media));
});

test('older_view_of_the_call_is_dropped', () => {
  const state = queued();
  assert.equal(event(state, { kind: 'call', call: callView({ version: 4, position: 3 }) }), state);
  assert.equal(event(state, { kind: 'call', call: callView({ version: 5, position: 1 }) }).call.position, 1, 'the place may change alone');
});

test('ended_call_does_not_come_alive_by_a_late_view', () => {
  const ended = event(queued(), { kind: 'call', call: callView({ version: 6, phase: 'ended', reason: 'agent', talked_ms: 5 }) });
  assert.equal(event(ended, { kind: 'call', call: callView({ version: 6, phase: 'active', for_ms: 0 }) }), ended);
});

test('call_given_again_to_who_was_taken_out_of_it_is_shown', () => {
  const ended = event(queued(), { kind: 'call', call: callView({ version: 6, phase: 'ended', reason: 'agent_lost', talked_ms: 5 }) });
  assert.equal(event(ended, { kind: 'call', call: callView({ version: 7, phase: 'connecting' }) }).call.phase, 'connecting');
});

test('closed_session_leaves_nothing_of_its_calls', () => {
  const state = reduce(event(queued(), { kind: 'chat', message: chatView() }), { type: 'closed' });
  assert.deepEqual([state.you, state.call, state.offer, state.chat, state.queues], [null, null, null, [], []]);
});

test('late_end_of_another_call_does_not_push_out_the_present_one', () => {
  const state = queued();
  assert.equal(event(state, { kind: 'call', call: callView({ id: 'call_0', version: 90, phase: 'ended', reason: 'agent' }) }), state);
});

test('new_call_starts_with_an_empty_chat', () => {
  let state = event(queued(), { kind: 'chat', message: chatView() });
  state = event(state, { kind: 'call', call: callView({ id: 'call_2', version: 1 }) });
  assert.deepEqual(state.chat, []);
});

test('durations_become_points_of_local_time', () => {
  let state = event(initialState(MEDIA), { kind: 'call', call: callView({ phase: 'active', for_ms: 4000 }) }, 10_000);
  assert.equal(state.call.activeSince, 6000);
  state = event(state, { kind: 'offer.new', offer: { id: 'offer_1', call: 'call_1', queue: 'support', customer: 'cust_1', verified: false, waited_ms: 3000, expires_in_ms: 15_000, ring_ms: 20_000 } }, 10_000);
  assert.equal(state.offer.expiresAt, 25_000);
  assert.equal(state.offer.waitingSince, 7000);
});

test('only_the_offer_that_rings_is_closed', () => {
  const offer = { id: 'offer_2', call: 'call_1', queue: 'support', customer: 'cust_1', verified: false, waited_ms: 0, expires_in_ms: 1, ring_ms: 1 };
  const state = event(initialState(MEDIA), { kind: 'offer.new', offer });
  assert.equal(event(state, { kind: 'offer.closed', offer: 'offer_1', outcome: 'missed' }), state);
  assert.equal(event(state, { kind: 'offer.closed', offer: 'offer_2', outcome: 'missed' }).offer, null);
});

test('chat_lines_are_in_the_servers_order_and_once', () => {
  let state = queued();
  for (const seq of [3, 1, 2, 3]) state = event(state, { kind: 'chat', message: chatView({ id: `msg_${seq}`, seq, text: `line ${seq}` }) });
  assert.deepEqual(state.chat.map((line) => line.text), ['line 1', 'line 2', 'line 3']);
});

test('pending_line_becomes_the_kept_one', () => {
  let state = reduce(queued(), { type: 'chat-written', line: { clientId: 'key-1', text: 'hi', from: 'customer', atMs: 5 } });
  assert.equal(state.chat[0].status, 'pending');
  state = event(state, { kind: 'chat', message: chatView({ id: 'msg_9', seq: 9, mine: true, from: 'customer', client_id: 'key-1', text: 'hi' }) });
  assert.deepEqual(state.chat.map((line) => [line.status, line.id]), [['sent', 'msg_9']]);
});

test('snapshot_keeps_lines_that_are_still_on_their_way', () => {
  let state = event(queued(), { kind: 'chat', message: chatView() });
  for (const clientId of ['key-1', 'key-2']) state = reduce(state, { type: 'chat-written', line: { clientId, text: clientId, from: 'customer', atMs: 5 } });
  const kept = chatView({ id: 'msg_2', seq: 2, mine: true, from: 'customer', client_id: 'key-1', text: 'key-1' });
  const snapshot = { you: { role: 'customer', id: 'cust_1' }, call: callView({ version: 1 }), chat: [chatView(), kept], queues: [] };
  state = reduce(state, { type: 'welcome', snapshot, now: 0 });
  assert.deepEqual(state.chat.map((line) => [line.text, line.status]), [['hello', 'sent'], ['key-1', 'sent'], ['key-2', 'pending']]);
  assert.equal(state.call.version, 1, 'a snapshot is right whatever its version');
});

test('call_that_ended_while_nobody_could_tell_is_shown_as_ended', () => {
  const snapshot = { you: { role: 'customer', id: 'cust_1' }, chat: [], queues: [] };
  const state = reduce(queued(), { type: 'welcome', snapshot, now: 0 });
  assert.deepEqual([state.call.phase, state.call.reason], ['ended', 'unknown']);
});

test('chat_is_delivered_exactly_once_over_a_lost_connection', async () => {
  const { client, server, clock } = world();
  server.snapshot.call = callView({ phase: 'active', for_ms: 0, participants: participants() });
  const kept = new Map();
  server.answer = (request) => {
    if (request.type !== 'chat.send') return { result: 'done' };
    if (!kept.has(request.client_id)) kept.set(request.client_id, chatView({ id: `msg_${kept.size + 1}`, seq: kept.size + 1, mine: true, from: 'customer', client_id: request.client_id, text: request.text }));
    return { result: 'chat', message: kept.get(request.client_id) };
  };
  client.connect();
  await settle();
  client.debugDropSocket({ forMs: 2000 });
  client.calls.sendMessage('one');
  client.calls.sendMessage('two');
  assert.deepEqual(client.getState().chat.map((line) => line.status), ['pending', 'pending']);
  await clock.advance(3000);
  assert.deepEqual(client.getState().chat.map((line) => [line.text, line.status]), [['one', 'sent'], ['two', 'sent']]);

  // The server keeps the line, the answer is lost with its process.
  const answer = server.answer;
  server.answer = (request) => {
    answer(request);
    return null;
  };
  client.calls.sendMessage('three');
  await settle();
  server.answer = answer;
  server.restart();
  server.snapshot.chat = [...kept.values()];
  await clock.advance(3000);
  assert.deepEqual(client.getState().chat.map((line) => [line.text, line.status]), [['one', 'sent'], ['two', 'sent'], ['three', 'sent']]);
  assert.equal(kept.size, 3);
});

test('refused_line_can_be_tried_again', async () => {
  const { client, server } = world();
  server.snapshot.call = callView();
  server.answer = () => ({ error: 'unavailable', retryable: true });
  client.connect();
  await settle();
  await client.calls.sendMessage('hi');
  const [line] = client.getState().chat;
  assert.equal(line.status, 'failed');
  server.answer = (request) => ({ result: 'chat', message: chatView({ mine: true, from: 'customer', client_id: request.client_id, text: request.text }) });
  await client.calls.retryMessage(line.clientId);
  assert.deepEqual(client.getState().chat.map((other) => [other.text, other.status]), [['hi', 'sent']]);
});

test('line_that_was_one_too_many_is_sent_again_by_itself', async () => {
  const { client, server, clock } = world();
  server.snapshot.call = callView();
  server.answer = () => ({ error: 'rate_limited', retryable: true });
  client.connect();
  await settle();
  await client.calls.sendMessage('hi');
  assert.equal(client.getState().chat[0].status, 'pending');
  server.answer = (request) => ({ result: 'chat', message: chatView({ mine: true, from: 'customer', client_id: request.client_id, text: request.text }) });
  await clock.advance(1000);
  assert.deepEqual(client.getState().chat.map((other) => [other.text, other.status]), [['hi', 'sent']]);
});

test('talks_are_listed_by_age_and_follow_the_server', () => {
  const talk = (id, for_ms, more = {}) => ({ id, queue: 'support', agent: 'irina', customer: 'cust_1', for_ms, ...more });
  const you = { role: 'supervisor', id: 'maria' };
  let state = reduce(initialState(MEDIA), { type: 'welcome', now: 10_000, snapshot: { you, chat: [], queues: [], calls: [talk('call_2', 2000)] } });
  state = event(state, { kind: 'calls.changed', call: talk('call_1', 5000) }, 11_000);
  assert.deepEqual(state.talks.map(({ id, since }) => [id, since]), [['call_1', 6000], ['call_2', 8000]]);
  state = event(state, { kind: 'calls.changed', call: talk('call_1', 7000, { supervisor: 'nina' }) }, 13_000);
  assert.deepEqual(state.talks.map(({ id, supervisor }) => [id, supervisor]), [['call_1', 'nina'], ['call_2', undefined]]);
  state = event(state, { kind: 'calls.gone', call: 'call_1' });
  assert.deepEqual(state.talks.map(({ id }) => id), ['call_2']);
  assert.deepEqual(reduce(state, { type: 'closed' }).talks, [], 'the next one to sign in is told nothing of them');
});
