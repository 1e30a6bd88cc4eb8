// What people see of a loss, second by second, on both sides; and what they are told of the quality.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initialState } from '../client/call-store.js';
import { DICTIONARIES, setLanguage, t } from '../i18n/index.js';
import { browserFamily } from '../shared/browser.js';
import { Advisor, ownQuality, qualityDetails, reportText } from '../shared/quality-view.js';
import { Timeline } from '../shared/timeline.js';

setLanguage('en');
const media = { phase: 'connected', lostSince: null, microphone: true, camera: true, screen: false, hasCamera: true, hasMicrophone: true,
  microphoneState: 'on', cameraState: 'on', devices: { microphone: 'Jabra', camera: 'Logi' } };

function state({ role = 'customer', me = {}, other = {}, media: changed = {}, ...rest } = {}) {
  const person = { media: { microphone: true, camera: true, screen: false }, link: 'up', lostSince: null, keptUntil: null };
  return {
    ...initialState(media), connection: { state: 'connected', reason: null, attempt: 0, retryAt: null }, you: { role, id: 'x' }, media: { ...media, ...changed },
    call: {
      id: 'call_1', queue: 'support', version: 1, phase: 'active', activeSince: 0,
      participants: [{ ...person, id: 'me', role, you: true, ...me }, { ...person, id: 'other', role: role === 'customer' ? 'operator' : 'customer', you: false, name: 'Anna', slot: 0, ...other }],
    },
    ...rest,
  };
}
const nameOf = (participant) => participant.name ?? participant.role;

test('own_loss_is_nothing_a_pill_dimmed_pictures_and_a_banner_that_counts_down', () => {
  const timeline = new Timeline();
  const at = (now) => timeline.view(state({ media: { phase: 'reconnecting', lostSince: 10_000 } }), { now, online: true });
  assert.equal(at(11_900).own, 'none');
  assert.deepEqual([at(12_000).own, at(12_000).ownText], ['pill', 'Restoring the connection…']);
  assert.deepEqual(at(12_900).dimmed, {});
  assert.deepEqual(at(13_000).dimmed, { other: 'Restoring the connection…' });
  assert.equal(at(14_900).own, 'pill');
  assert.deepEqual([at(15_000).own, at(15_000).ownSeconds], ['banner', 40]);
  assert.equal(at(54_900).ownSeconds, 1);
  assert.equal(at(70_000).ownSeconds, 0);
});

test('server_knows_how_long_the_place_is_kept', () => {
  const view = new Timeline().view(state({ me: { link: 'reconnecting', keptUntil: 30_000 }, media: { phase: 'reconnecting', lostSince: 0 } }), { now: 10_000, online: true });
  assert.equal(view.ownSeconds, 20);
});

test('return_is_told_for_three_seconds_and_only_after_a_loss_that_was_shown', () => {
  const timeline = new Timeline();
  const lost = state({ media: { phase: 'reconnecting', lostSince: 0 } });
  timeline.view(lost, { now: 1500, online: true });
  assert.equal(timeline.view(state(), { now: 1600, online: true }).own, 'none');
  timeline.view(lost, { now: 2500, online: true });
  assert.deepEqual([timeline.view(state(), { now: 3000, online: true }).own, timeline.view(state(), { now: 5900, online: true }).own], ['back', 'back']);
  assert.equal(timeline.view(state(), { now: 6100, online: true }).own, 'none');
});

test('browser_that_is_offline_is_told_to_check_the_internet', () => {
  const lost = state({ media: { phase: 'reconnecting', lostSince: 0 } });
  assert.equal(new Timeline().view(lost, { now: 2500, online: false }).ownText, 'Check your internet…');
  assert.match(new Timeline().view(lost, { now: 6000, online: false }).ownText, /^Check your internet/);
});

test('loss_of_the_signaling_alone_is_not_a_loss', () => {
  const view = new Timeline().view(state({ connection: { state: 'reconnecting', attempt: 5 } }), { now: 60_000, online: true });
  assert.deepEqual([view.own, view.peerText, view.dimmed], ['none', '', {}]);
});

test('other_side_is_dimmed_after_three_seconds_and_explained_after_five_with_its_cause', () => {
  const at = (now, cause, role = 'operator') =>
    new Timeline().view(state({ role, other: { link: 'reconnecting', lostSince: 0, keptUntil: 45_000, cause } }), { now, online: true });
  assert.deepEqual(at(2900, 'no_network').dimmed, {});
  assert.deepEqual(at(3000, 'no_network').dimmed, { other: 'No network' });
  assert.equal(at(4900, 'no_network').peerText, '');
  assert.deepEqual([at(5000, 'no_network').peerText, at(5000, 'no_network').peerSeconds], ['Anna has no network.', 40]);
  assert.equal(at(5000, 'media_only').peerText, 'Sound and video of Anna do not get through.');
  assert.equal(at(5000, undefined).peerText, 'Anna lost connection.');
});

test('page_that_was_closed_is_told_at_once', () => {
  const view = new Timeline().view(state({ role: 'operator', other: { link: 'reconnecting', lostSince: 900, keptUntil: 45_000, cause: 'left_page' } }), { now: 1000, online: true });
  assert.deepEqual([view.dimmed, view.peerText], [{ other: 'The page was closed' }, 'Anna closed the page.']);
});

test('customer_reads_that_the_call_is_kept_and_nothing_of_the_operators_network', () => {
  for (const cause of ['left_page', 'no_network', 'media_only', undefined]) {
    const view = new Timeline().view(state({ other: { link: 'reconnecting', lostSince: 0, keptUntil: 45_000, cause } }), { now: 6000, online: true });
    assert.equal(view.peerText, 'We lost the operator for a moment. Your call is kept.');
  }
});

test('who_is_cut_off_is_told_nothing_about_the_others', () => {
  const view = new Timeline().view(state({ role: 'operator', other: { link: 'reconnecting', lostSince: 0 }, media: { phase: 'reconnecting', lostSince: 0 } }), { now: 9000, online: true });
  assert.deepEqual([view.own, view.peerText], ['banner', '']);
});

const view = (over = {}) => ({ participant: 'other', level: 'good', score: 90, loss_up_percent: 0, loss_down_percent: 0, jitter_ms: 5, bitrate_up: 1, bitrate_down: 1, ...over });
const sample = (level) => ({ level, rttMs: 40, lossUpPercent: 1, lossDownPercent: 0, jitterMs: 3, concealedPercent: 0, bitrateUp: 1e6, bitrateDown: 1e6, sending: null, receiving: null, audioCodec: 'opus', path: 'relay' });

test('own_level_is_the_servers_unless_it_is_an_own_affair_or_the_server_is_out_of_reach', () => {
  const quality = { me: view({ participant: 'me', level: 'poor', cause: 'your_network' }) };
  assert.deepEqual(ownQuality(state({ quality, sample: sample('good') })), { level: 'poor', cause: 'your_network' });
  assert.deepEqual(ownQuality(state({ quality, sample: sample('no_sound') })), { level: 'no_sound', cause: 'this_computer' });
  assert.deepEqual(ownQuality(state({ quality, sample: sample('fair'), connection: { state: 'reconnecting' } })), { level: 'fair', cause: null });
  assert.deepEqual(ownQuality(state({ quality: { me: view({ level: 'dreamy' }) } })).level, 'fair', 'a level of a newer server');
});

test('customer_sees_three_words_and_staff_sees_both_sides', () => {
  const quality = { me: view({ participant: 'me', level: 'fair', cause: 'your_network' }), other: view({ level: 'poor', cause: 'their_network', path: 'relay' }) };
  const customer = qualityDetails(state({ quality }), nameOf);
  assert.deepEqual([customer.level, customer.cause, customer.sections, customer.others], ['fair', 'your network', [], []]);
  const staff = qualityDetails(state({ role: 'operator', quality, sample: sample('good') }), nameOf);
  assert.deepEqual(staff.others, [{ name: 'Anna', level: 'poor' }]);
  const rows = Object.fromEntries(staff.sections[1].rows);
  assert.deepEqual([rows.Connection, rows.Path], ['Poor · their network', 'Relay (TURN)']);
  assert.equal(Object.fromEntries(staff.sections[0].rows).Microphone, 'Jabra');
});

test('report_names_the_call_and_a_customers_report_nothing_of_the_other_side', () => {
  const quality = { other: view({ level: 'poor' }) };
  const text = reportText(state({ quality, sample: sample('good') }), nameOf, { at: new Date(0), agent: 'UA', page: 'https://x' });
  assert.match(text, /call call_1/);
  assert.match(text, /Path: Relay/);
  assert.doesNotMatch(text, /Anna/);
});

test('advice_is_given_once_a_minute_and_leaves_by_itself', () => {
  const advisor = new Advisor();
  const poor = state({ quality: { me: view({ level: 'poor', cause: 'your_network' }) } });
  assert.deepEqual(advisor.next(poor, nameOf, 0), { text: t('advice-poor'), action: 'audio-only' });
  assert.ok(advisor.next(poor, nameOf, 9000));
  assert.equal(advisor.next(poor, nameOf, 11_000), null);
  assert.equal(advisor.next(poor, nameOf, 59_000), null);
  assert.ok(advisor.next(poor, nameOf, 61_000));
  assert.equal(advisor.next(state(), nameOf, 62_000), null, 'what is over is not advised');
});

test('silent_microphone_leads_to_the_devices_and_a_busy_computer_is_not_called_a_slow_line', () => {
  assert.equal(new Advisor().next(state({ sample: sample('no_sound') }), nameOf, 0).action, 'devices');
  const busy = state({ quality: { me: view({ level: 'poor', cause: 'this_computer' }) } });
  assert.equal(new Advisor().next(busy, nameOf, 0).text, t('advice-local_cpu'));
});

test('staff_is_told_how_to_help_and_a_customer_nothing_of_others', () => {
  const quality = { other: view({ level: 'no_sound' }) };
  assert.equal(new Advisor().next(state({ role: 'operator', quality }), nameOf, 0).text, 'No sound from Anna.');
  assert.equal(new Advisor().next(state({ quality }), nameOf, 0), null);
});

test('every_text_that_is_put_together_exists_in_both_languages', () => {
  const keys = [
    ...['good', 'fair', 'poor', 'video_paused', 'local_cpu', 'no_sound'].map((level) => `quality-${level}`),
    ...['your_network', 'their_network', 'server', 'this_computer', 'their_computer'].map((cause) => `cause-${cause}`),
    ...['left_page', 'no_network', 'media_only'].flatMap((cause) => [`link-peer-${cause}`, `tile-${cause}`]),
    ...['direct', 'tcp', 'relay'].map((path) => `path-${path}`), ...['video_paused', 'local_cpu', 'no_sound', 'poor', 'peer-poor', 'peer-no_sound'].map((one) => `advice-${one}`),
    ...['off', 'missing', 'muted_by_system', 'muted_by_system-own'].map((one) => `mic-${one}`), 'camera-muted_by_system', 'camera-muted_by_system-own',
    ...['permission-denied', 'permission-dismissed', 'permission-system', 'not-found', 'in-use', 'policy-blocked', 'capture-failed']
      .flatMap((code) => [`error-${code}`, `error-camera-${code}`]),
    ...['chromium', 'firefox', 'safari', 'other'].map((family) => `help-permission-${family}`), 'device-lost-microphone', 'device-lost-camera',
  ];
  for (const key of keys) for (const dictionary of Object.values(DICTIONARIES)) assert.ok(dictionary[key], key);
});

test('browsers_are_told_apart_for_their_help_texts', () => {
  assert.equal(browserFamily('Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0'), 'firefox');
  assert.equal(browserFamily('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36'), 'chromium');
  assert.equal(browserFamily('Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36 Edg/156.0'), 'chromium');
  assert.equal(browserFamily('Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15'), 'safari');
  assert.equal(browserFamily('curl/8'), 'other');
});
