// What the tests of the client share.

import { createClient } from '../client/index.js';
import { FakeClock, settle } from '../client/testing/fake-clock.js';
import { fakeMedia } from '../client/testing/fake-media.js';
import { FakeServer } from '../client/testing/fake-server.js';

export { settle };

/** A client on a fake server, with virtual time. */
export function world({ getToken = async () => 'token' } = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  const media = fakeMedia(clock);
  const wakes = [];
  const slept = { ms: 0 };
  let ids = 0;
  const client = createClient({
    url: 'ws://server/api/v1/signal', getToken, media: media.environment,
    environment: {
      now: clock.now, wallNow: () => clock.now() + slept.ms, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, startTicker: clock.startTicker,
      random: () => 0.5, uniqueId: () => `key-${++ids}`, createSocket: server.createSocket,
      onWake: (callback) => {
        wakes.push(callback);
        return () => {};
      },
    },
  });
  return {
    clock, server, client, media, wake: (why = 'online') => wakes.forEach((callback) => callback(why)),
    /** The time of day moves on, the timers do not. */
    sleep: (ms) => {
      slept.ms += ms;
    },
  };
}

/** A call as the customer sees it. */
export function callView(overrides = {}) {
  return {
    id: 'call_1', queue: 'support', version: 1, phase: 'queued', position: 1, staffed: true,
    participants: [{ id: 'part_1', role: 'customer', you: true, link: 'connecting', media: { microphone: false, camera: false, screen: false } }],
    ...overrides,
  };
}

export function chatView(overrides = {}) {
  return { id: 'msg_1', call: 'call_1', seq: 1, from: 'operator', mine: false, text: 'hello', at_ms: 1000, ...overrides };
}

export function participants({ me = 'up', other = 'up' } = {}) {
  const media = { microphone: true, camera: true, screen: false };
  return [
    { id: 'part_1', role: 'customer', you: true, link: me, media },
    { id: 'part_2', role: 'operator', you: false, name: 'Irina', slot: 0, link: other, media },
  ];
}

/** A client in an active call whose server answers offers and restarts. */
export async function inCall(setup = () => {}) {
  const it = world();
  it.server.snapshot.call = callView({ phase: 'active', for_ms: 0, participants: participants() });
  it.server.answer = ({ type, sdp }) =>
    (type === 'media.offer' || type === 'media.restart' ? { result: 'media', sdp: `answer to ${sdp}` } : { result: 'done' });
  setup(it);
  await it.client.media.acquire();
  it.client.connect();
  await settle();
  return it;
}

/** Words on top of an answer function. */
export function answering(it, type, answer) {
  const others = it.server.answer;
  it.server.answer = (request) => (request.type === type ? answer(request) : others(request));
}
