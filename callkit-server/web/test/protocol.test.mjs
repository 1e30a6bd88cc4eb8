// The guards against the fixtures that the Rust tests write, and against frames that nobody should send.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { decodeServerMessage } from '../client/protocol.js';
import { callView, participants, settle, world } from './helpers.mjs';

const FIXTURES = new URL('../fixtures/', import.meta.url);
const SERVER_TYPES = new Set(['hello', 'welcome', 'resumed', 'refused', 'pong', 'ok', 'error', 'event', 'closing']);

/** Every object that looks like a frame, at any depth of a fixture file. */
function* frames(value, path) {
  if (Array.isArray(value)) {
    for (const [at, inner] of value.entries()) yield* frames(inner, `${path}[${at}]`);
  } else if (value && typeof value === 'object') {
    if (typeof value.type === 'string') yield [path, value];
    else for (const [name, inner] of Object.entries(value)) yield* frames(inner, `${path}.${name}`);
  }
}

test('every_server_frame_of_the_catalogue_is_understood', () => {
  const seen = new Set();
  for (const file of readdirSync(FIXTURES).filter((name) => name.endsWith('.json'))) {
    const content = JSON.parse(readFileSync(new URL(file, FIXTURES), 'utf8'));
    for (const [path, frame] of frames(content, file)) {
      if (!SERVER_TYPES.has(frame.type) || (frame.id !== undefined)) continue;
      const read = decodeServerMessage(JSON.stringify(frame));
      assert.ok(read, `${path} is a known frame`);
      seen.add(frame.type);
    }
  }
  assert.deepEqual([...SERVER_TYPES].filter((type) => !seen.has(type)), [], 'the fixtures show every type');
});

test('unsound_frames_are_refused', () => {
  const bad = [
    'not json', '[]', '"text"', '5', 'null', '{}', '{"type":5}', '{"type":"welcome"}', '{"type":"event","seq":-1,"event":{"kind":"queue"}}',
    '{"type":"event","seq":1.5,"event":{"kind":"x"}}', '{"type":"event","seq":1,"event":{"kind":"chat","message":{"id":"m"}}}',
    '{"type":"ok","result":"done"}', '{"type":"hello","protocol":"callkit.v1","instance":"i","limits":{}}',
  ];
  for (const text of bad) assert.throws(() => decodeServerMessage(text), { code: 'malformed' }, text);
  assert.throws(() => decodeServerMessage(new ArrayBuffer(4)), { code: 'malformed' });
});

test('frames_of_a_newer_server_are_ignored', () => {
  assert.equal(decodeServerMessage('{"type":"fireworks"}'), null);
  assert.ok(decodeServerMessage('{"type":"event","seq":1,"event":{"kind":"fireworks","x":1}}'));
  assert.ok(decodeServerMessage('{"type":"pong","seq":1,"extra":true}'));
});

test('every_frame_that_the_client_sends_is_shaped_as_in_the_catalogue', async () => {
  const catalogue = Object.values(JSON.parse(readFileSync(new URL('client_messages.json', FIXTURES), 'utf8')));
  const shape = (frame) => `${frame.type}: ${Object.keys(frame).filter((key) => key !== 'reason').sort()}`;
  const known = new Set(catalogue.map(shape));

  const { client, server, clock, media } = world();
  server.snapshot.call = callView({ phase: 'active', for_ms: 0, participants: participants() });
  server.answer = (request) => (request.type === 'call.start' ? { result: 'call', call: callView({ id: 'call_2' }) } : { result: 'done', sdp: 'answer' });
  client.connect();
  await settle();
  media.peers[0].become('connected');
  await clock.advance(9000);
  media.peers[0].become('failed');
  await settle();
  await Promise.all([
    client.operator.setPresence({ presence: 'available' }), client.operator.setPresence({ presence: 'away', reason: 'lunch' }),
    client.operator.accept('offer_1'), client.operator.decline('offer_1'), client.calls.sendMessage('hi'), client.calls.hangUp(),
    client.supervisor.join('call_1', { mode: 'listen' }), client.supervisor.leave(),
    client.calls.start({ queue: 'support' }),
  ]);
  for (let version = 10; version < 90; version++) server.push({ kind: 'call', call: callView({ version }) });
  await settle();
  server.drop();
  await clock.advance(100);
  const sent = new Set(server.received.map(shape));
  assert.deepEqual([...sent].filter((one) => !known.has(one)), []);
  assert.deepEqual([...known].filter((one) => !sent.has(one)), [], 'the test sends every message of the catalogue');
});
