// Devices: chosen, remembered, switched, pulled out, silenced, refused. What the person switched off stays off throughout.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceBook } from '../client/device-book.js';
import { captureError, openCapture } from '../client/devices.js';
import { domError } from '../client/testing/fake-media.js';
import { inCall, settle, world } from './helpers.mjs';

const DESK = [
  ['audioinput', 'mic-a', 'Built-in microphone'], ['audioinput', 'mic-b', 'Jabra'], ['videoinput', 'cam-a', 'Built-in camera'],
  ['videoinput', 'cam-b', 'Logi'], ['audiooutput', 'out-a', 'Speakers'],
];
const atDesk = (it) => it.media.plug(...DESK);
const microphone = (it) => it.media.peers.at(-1).transceivers[0].sender.track;
const camera = (it) => it.media.peers.at(-1).transceivers[1].sender.track;
const events = (it) => {
  const seen = [];
  for (const name of ['device-lost', 'device-back', 'capture-failure']) it.client.on(name, (detail) => seen.push([name, detail]));
  return seen;
};
const told = (it) => it.server.requests('media.state').at(-1);

test('microphone_is_switched_in_mid_call_without_a_negotiation', async () => {
  const it = await inCall(atDesk);
  const before = microphone(it);
  assert.equal(before.deviceId, 'mic-a');
  await it.client.media.capture.select('microphone', 'mic-b');
  assert.equal(microphone(it).deviceId, 'mic-b');
  assert.equal(before.readyState, 'ended');
  assert.equal(it.server.requests('media.offer').length, 1);
  assert.equal(it.client.getState().media.devices.microphone, 'Jabra');
});

test('muted_stays_muted_and_a_camera_that_is_off_stays_off_over_a_switch', async () => {
  const it = await inCall(atDesk);
  it.client.media.setMicrophone(false);
  await it.client.media.setCamera(false);
  await it.client.media.capture.select('microphone', 'mic-b');
  await it.client.media.capture.select('camera', 'cam-b');
  assert.deepEqual([microphone(it).deviceId, microphone(it).enabled], ['mic-b', false]);
  assert.deepEqual([camera(it).deviceId, camera(it).enabled], ['cam-b', false]);
});

test('choice_is_remembered_by_id_and_by_label', async () => {
  const it = await inCall(atDesk);
  await it.client.media.capture.select('microphone', 'mic-b');
  const again = (devices) => {
    const other = world();
    for (const [key, value] of it.media.storage) other.media.storage.set(key, value);
    const book = new DeviceBook({ ...other.media.environment.book });
    other.media.plug(...devices);
    return settle().then(() => book.resolve('microphone'));
  };
  assert.equal(await again(DESK), 'mic-b');
  assert.equal(await again([['audioinput', 'new-id', 'Jabra'], DESK[0]]), 'new-id', 'cleared site data changes ids');
  assert.equal(await again([DESK[0]]), null, 'not there: the system chooses');
});

test('remembered_devices_are_opened_before_the_call', async () => {
  const it = world();
  atDesk(it);
  it.media.storage.set('callkit.devices', JSON.stringify({ microphone: { id: 'mic-b', label: 'Jabra' }, camera: { id: 'cam-b', label: 'Logi' } }));
  const { client, media } = it;
  await client.media.capture.book.refresh();
  // The book is read when the client is made.
  const fresh = new DeviceBook(media.environment.book);
  await fresh.refresh();
  assert.equal(fresh.resolve('camera'), 'cam-b');
});

test('storage_that_is_broken_or_forbidden_costs_only_the_memory', async () => {
  for (const storage of [null, { getItem: () => '{"microphone": 5', setItem: () => {} }, { getItem: () => { throw new Error('no'); }, setItem: () => { throw new Error('no'); } }]) {
    const book = new DeviceBook({ list: async () => [{ kind: 'audioinput', deviceId: 'a', label: 'A' }], onChange: () => {}, storage });
    await book.refresh();
    book.prefer('microphone', 'a');
    assert.equal(book.resolve('microphone'), 'a');
  }
});

test('unplugged_microphone_is_replaced_within_two_seconds_and_stays_muted', async () => {
  const it = await inCall(atDesk);
  await it.client.media.capture.select('microphone', 'mic-b');
  it.client.media.setMicrophone(false);
  const seen = events(it);
  it.media.unplug('mic-b');
  await it.clock.advance(10);
  assert.deepEqual([microphone(it).deviceId, microphone(it).enabled], ['mic-a', false]);
  assert.deepEqual(seen, [['device-lost', { kind: 'microphone', device: { id: 'mic-b', label: 'Jabra' }, using: 'Built-in microphone' }]]);
});

test('device_that_vanishes_without_ending_its_track_is_noticed_by_the_list', async () => {
  const it = await inCall(atDesk);
  const seen = events(it);
  it.media.unplug('mic-a', { endsTracks: false });
  await settle();
  assert.equal(microphone(it).deviceId, 'mic-b');
  assert.equal(seen.length, 1);
});

test('device_that_returns_is_offered_and_taken_only_when_wanted', async () => {
  const it = await inCall(atDesk);
  await it.client.media.capture.select('microphone', 'mic-b');
  it.media.unplug('mic-b');
  await settle();
  const seen = events(it);
  it.media.plug(['audioinput', 'mic-b', 'Jabra']);
  await settle();
  assert.deepEqual(seen, [['device-back', { kind: 'microphone', device: { id: 'mic-b', label: 'Jabra' }, inUse: false }]]);
  assert.equal(microphone(it).deviceId, 'mic-a', 'never silently');
  await it.client.media.capture.select('microphone', 'mic-b', { remember: false });
  assert.equal(microphone(it).deviceId, 'mic-b');
  it.media.plug(['audioinput', 'mic-c', 'Third']);
  await settle();
  assert.equal(seen.length, 1, 'said once');
});

test('only_microphone_pulled_out_is_missing_and_used_again_when_it_returns', async () => {
  const it = await inCall((one) => one.media.plug(['audioinput', 'mic-a', 'Headset'], ['videoinput', 'cam-a', 'Camera']));
  const seen = events(it);
  it.media.unplug('mic-a');
  await settle();
  assert.equal(microphone(it), null);
  assert.deepEqual([told(it).microphone, told(it).microphone_state], [false, 'missing']);
  assert.deepEqual(seen.at(-1), ['device-lost', { kind: 'microphone', device: { id: 'mic-a', label: 'Headset' }, using: null }]);
  it.media.plug(['audioinput', 'mic-a', 'Headset']);
  await settle();
  assert.equal(microphone(it).deviceId, 'mic-a');
  assert.deepEqual([told(it).microphone, told(it).microphone_state], [true, 'on']);
  assert.equal(seen.at(-1)[1].inUse, true);
});

test('unplugged_camera_that_was_off_opens_no_other_camera', async () => {
  const it = await inCall(atDesk);
  await it.client.media.setCamera(false);
  it.media.unplug('cam-a');
  await settle();
  assert.equal(camera(it), null);
  assert.ok(!it.media.opened.some((track) => track.deviceId === 'cam-b'));
  await it.client.media.setCamera(true);
  assert.equal(camera(it).deviceId, 'cam-b');
});

test('device_that_another_program_holds_leaves_the_former_one_in_use', async () => {
  const it = await inCall(atDesk);
  it.media.busy.add('mic-b');
  await assert.rejects(it.client.media.capture.select('microphone', 'mic-b'), { code: 'in_use', device: 'microphone' });
  assert.equal(microphone(it).deviceId, 'mic-a');
  assert.equal(microphone(it).readyState, 'live');
});

test('of_two_quick_choices_the_last_one_stands_and_the_other_is_closed', async () => {
  const it = await inCall(atDesk);
  const capture = it.client.media.capture;
  await Promise.all([capture.select('camera', 'cam-b'), capture.select('camera', 'cam-a')]);
  assert.equal(camera(it).deviceId, 'cam-a');
  assert.equal(it.media.opened.filter((track) => track.kind === 'video' && track.readyState === 'live').length, 1);
});

test('choice_before_the_call_opens_nothing_until_the_devices_are_needed', async () => {
  const it = world();
  atDesk(it);
  await settle();
  await it.client.media.capture.select('microphone', 'mic-b');
  assert.equal(it.media.asked.length, 0);
  await it.client.media.acquire();
  assert.equal(it.media.asked[0].audio.deviceId.ideal, 'mic-b');
});

test('silencing_by_the_system_is_told_after_three_seconds_and_taken_back_at_once', async () => {
  const it = await inCall(atDesk);
  microphone(it).silence(true);
  await it.clock.advance(2900);
  assert.equal(it.client.getState().media.microphoneState, 'on');
  await it.clock.advance(200);
  assert.equal(it.client.getState().media.microphoneState, 'muted_by_system');
  assert.equal(told(it).microphone_state, 'muted_by_system');
  microphone(it).silence(false);
  await settle();
  assert.equal(told(it).microphone_state, 'on');
  camera(it).silence(true);
  await it.clock.advance(1000);
  camera(it).silence(false);
  await it.clock.advance(10_000);
  assert.equal(it.client.getState().media.cameraState, 'on', 'a hiccup is not told');
});

test('silenced_device_is_opened_anew_when_the_page_is_seen_again', async () => {
  const it = await inCall(atDesk);
  const before = microphone(it);
  before.silence(true);
  await it.clock.advance(3100);
  it.wake('visible');
  await settle();
  assert.notEqual(microphone(it), before);
  assert.equal(microphone(it).deviceId, 'mic-a');
  assert.equal(it.client.getState().media.microphoneState, 'on');
});

test('others_are_told_of_a_missing_camera_and_of_one_that_is_off', async () => {
  const it = await inCall((one) => {
    one.media.failures.video = domError('NotFoundError');
  });
  assert.deepEqual([told(it).camera, told(it).camera_state], [false, 'missing']);
  const other = await inCall();
  await other.client.media.setCamera(false);
  await settle();
  assert.deepEqual([told(other).camera, told(other).camera_state], [false, 'off']);
});

test('causes_of_a_refusal_are_told_apart', async () => {
  const cases = [
    [domError('NotAllowedError', 'Permission denied'), 'denied', 'permission_denied'],
    [domError('NotAllowedError', 'Permission dismissed'), 'prompt', 'permission_dismissed'],
    [domError('NotAllowedError', 'The request is not allowed by the user agent'), 'prompt', 'permission_dismissed'],
    [domError('NotAllowedError', 'Permission denied by system'), 'granted', 'permission_system'],
    [domError('NotFoundError'), 'granted', 'not_found'], [domError('OverconstrainedError'), 'granted', 'not_found'],
    [domError('NotReadableError'), 'granted', 'in_use'], [domError('SecurityError'), 'granted', 'policy_blocked'],
    [domError('InvalidStateError'), 'granted', 'gesture_required'], [domError('Strange'), 'granted', 'capture_failed'],
  ];
  for (const [error, state, code] of cases) {
    const failure = await captureError(error, 'microphone', async () => state);
    assert.deepEqual([failure.code, failure.device], [code, 'microphone'], error.message);
  }
});

test('page_whose_embedder_withholds_the_microphone_says_so', async () => {
  globalThis.document = { featurePolicy: { allowsFeature: (name) => name !== 'microphone' } };
  try {
    assert.equal((await captureError(domError('NotAllowedError'), 'microphone', async () => 'denied')).code, 'policy_blocked');
    assert.equal((await captureError(domError('NotAllowedError'), 'camera', async () => 'denied')).code, 'permission_denied');
  } finally {
    delete globalThis.document;
  }
});

test('question_that_was_closed_is_not_put_again_at_once', async () => {
  let asked = 0;
  const devices = { getUserMedia: async () => { asked++; throw domError('NotAllowedError', 'Permission dismissed'); } };
  await assert.rejects(openCapture({ video: true, devices, permission: async () => 'prompt' }), { code: 'permission_dismissed' });
  assert.equal(asked, 1);
});

test('camera_that_is_in_use_leaves_an_audio_call_and_says_which_device', async () => {
  const devices = {
    getUserMedia: async ({ audio, video }) => {
      if (video) throw domError('NotReadableError');
      return { getAudioTracks: () => [{ kind: 'audio' }], getVideoTracks: () => [], getTracks: () => [{ kind: 'audio' }], audio };
    },
  };
  const { microphone: track, cameraProblem } = await openCapture({ video: true, devices, permission: async () => 'granted' });
  assert.ok(track);
  assert.deepEqual([cameraProblem.code, cameraProblem.device], ['in_use', 'camera']);
});

test('page_without_capture_says_so', async () => {
  await assert.rejects(openCapture({ video: true, devices: {} }), { code: 'policy_blocked' });
});
