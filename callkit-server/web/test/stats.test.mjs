// Own measurements from statistics reports: figures, levels, and the report for the server.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LevelFilter, Meter, Quality, levelOf } from '../client/stats.js';

const MIDS = new Map([
  ['0', { slot: null, source: 'microphone' }], ['1', { slot: null, source: 'camera' }], ['4', { slot: 0, source: 'microphone' }],
  ['5', { slot: 0, source: 'camera' }], ['10', { slot: 1, source: 'screen' }],
]);
const ON = { microphone: true, camera: true, screen: true, screen_audio: true };
const at = (now, on = ON) => ({ now, mids: MIDS, on });

const look = ({ bytesUp = 0, bytesDown = 0, packets = 0, lost = 0, level = 0.2, limit = 'none', concealed = 0, samples = 0, frozen = 0, fps = 28 } = {}) => [
  { id: 'c1', type: 'codec', mimeType: 'video/VP8' },
  { id: 'c2', type: 'codec', mimeType: 'audio/opus' },
  { id: 'm1', type: 'media-source', kind: 'audio', audioLevel: level },
  { id: 'o1', type: 'outbound-rtp', kind: 'video', mid: '1', bytesSent: bytesUp, framesPerSecond: 29.6, frameWidth: 1280, frameHeight: 720, codecId: 'c1', qualityLimitationReason: limit, active: true },
  { id: 'o3', type: 'outbound-rtp', kind: 'video', mid: '1', bytesSent: 0, codecId: 'c1', active: false },
  { id: 'o2', type: 'outbound-rtp', kind: 'audio', mid: '0', bytesSent: 1000, codecId: 'c2', mediaSourceId: 'm1' },
  { id: 'i1', type: 'inbound-rtp', kind: 'audio', mid: '4', bytesReceived: bytesDown, packetsReceived: packets, packetsLost: lost, jitter: 0.004, codecId: 'c2', audioLevel: 0.25,
    concealedSamples: concealed, silentConcealedSamples: 0, totalSamplesReceived: samples, jitterBufferDelay: packets * 0.06, jitterBufferEmittedCount: packets },
  { id: 'i2', type: 'inbound-rtp', kind: 'video', mid: '5', bytesReceived: bytesDown, packetsReceived: packets, packetsLost: 0, framesPerSecond: fps,
    frameWidth: 960, frameHeight: 540, totalFreezesDuration: frozen, framesDecoded: packets, framesDropped: 0, codecId: 'c1', jitter: 0.012,
    jitterBufferDelay: packets * 0.08, jitterBufferEmittedCount: packets },
  { id: 'i3', type: 'inbound-rtp', kind: 'video', mid: '10', packetsReceived: 0 },
  { id: 'r1', type: 'remote-inbound-rtp', fractionLost: 0.02 },
  { id: 't1', type: 'transport', selectedCandidatePairId: 'p1' },
  { id: 'p0', type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 0.9, localCandidateId: 'l1' },
  { id: 'p1', type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 0.05, availableOutgoingBitrate: 1_600_000, localCandidateId: 'l1' },
  { id: 'l1', type: 'local-candidate', candidateType: 'prflx', protocol: 'udp' },
];

test('two_looks_give_rates_and_losses_between_them', () => {
  const meter = new Meter();
  meter.read(look(), at(1000));
  const reading = meter.read(look({ bytesUp: 250_000, bytesDown: 10_000, packets: 90, lost: 10 }), at(3000));
  const sample = new Quality().next(reading, 3000);
  assert.equal(sample.bitrateUp, 1_000_000);
  assert.equal(sample.bitrateDown, 80_000);
  assert.equal(sample.lossDownPercent, 10);
  assert.equal(sample.lossUpPercent, 2);
  assert.equal(sample.rttMs, 50);
  assert.deepEqual(sample.sending, { width: 1280, height: 720, fps: 30, codec: 'VP8' });
  assert.deepEqual(sample.receiving, { width: 960, height: 540, fps: 28, codec: 'VP8' });
  assert.equal(sample.audioCodec, 'opus');
  assert.equal(sample.path, 'direct');
});

test('relay_and_tcp_are_told_apart_from_a_direct_path', () => {
  const through = (candidate) => new Meter().read(look().map((entry) => (entry.id === 'l1' ? { ...entry, ...candidate } : entry)), at(0)).path;
  assert.equal(through({ candidateType: 'relay' }), 'relay');
  assert.equal(through({ protocol: 'tcp' }), 'tcp');
});

test('firefox_without_transport_statistics_names_the_selected_pair', () => {
  const entries = look().filter((entry) => entry.type !== 'transport').map((entry) => (entry.id === 'p1' ? { ...entry, selected: true } : entry));
  assert.equal(new Meter().read(entries, at(0)).rttMs, 50);
});

test('nothing_known_is_not_bad', () => {
  assert.equal(new Quality().next(new Meter().read([], at(0)), 0).level, 'good');
  assert.equal(levelOf({}), 'good');
});

test('each_figure_alone_moves_the_level', () => {
  for (const [figures, level] of [
    [{ lossUpPercent: 4 }, 'fair'], [{ lossDownPercent: 9 }, 'poor'], [{ rttMs: 350 }, 'fair'], [{ rttMs: 700 }, 'poor'], [{ jitterMs: 45 }, 'fair'],
    [{ concealedPercent: 3 }, 'fair'], [{ concealedPercent: 6 }, 'poor'], [{ freezeSecondsPerMinute: 7 }, 'poor'], [{ fps: 8 }, 'fair'],
    [{ lossUpPercent: 2, rttMs: 250, jitterMs: 20, concealedPercent: 1, fps: 15 }, 'good'],
  ]) assert.equal(levelOf(figures), level, JSON.stringify(figures));
});

test('one_bad_second_does_not_make_a_bad_average', () => {
  const [meter, quality] = [new Meter(), new Quality()];
  let packets = 0;
  let sample;
  for (let now = 0; now <= 20_000; now += 2000) sample = quality.next(meter.read(look({ packets: packets += 100 }), at(now)), now);
  sample = quality.next(meter.read(look({ packets: packets += 90, lost: 10 }), at(22_000)), 22_000);
  assert.ok(sample.lossDownPercent > 1 && sample.lossDownPercent < 3, `${sample.lossDownPercent}`);
  assert.equal(sample.level, 'good');
});

test('level_is_quick_to_warn_and_slow_to_praise', () => {
  const filter = new LevelFilter();
  assert.deepEqual(['poor', 'good', 'poor', 'poor'].map((level) => filter.next(level)), ['good', 'good', 'good', 'poor']);
  assert.deepEqual(Array.from({ length: 5 }, () => filter.next('good')), ['poor', 'poor', 'poor', 'poor', 'good']);
});

test('busy_computer_is_told_after_twenty_seconds_and_not_when_the_camera_is_off', () => {
  const levels = (on) => {
    const [meter, quality] = [new Meter(), new Quality()];
    return Array.from({ length: 13 }, (_, i) => quality.next(meter.read(look({ limit: 'cpu', bytesUp: 1 + i * 1000 }), at(i * 2000, on)), i * 2000).level);
  };
  const told = levels(ON);
  assert.deepEqual([told[9], told[10]], ['good', 'local_cpu']);
  assert.ok(levels({ ...ON, camera: false }).every((level) => level === 'good'));
});

test('microphone_that_gives_nothing_for_ten_seconds_is_told_and_a_muted_one_is_not', () => {
  const levels = (on, level) => {
    const [meter, quality] = [new Meter(), new Quality()];
    return Array.from({ length: 8 }, (_, i) => quality.next(meter.read(look({ level: level(i) }), at(i * 2000, on)), i * 2000).level);
  };
  const silent = levels(ON, () => 0);
  assert.deepEqual([silent[4], silent[5]], ['good', 'no_sound']);
  assert.equal(levels({ ...ON, microphone: false }, () => 0).at(-1), 'good');
  assert.equal(levels(ON, (i) => (i % 2) * 0.003).at(-1), 'good', 'a quiet room moves the level');
  assert.equal(levels(ON, () => 0.1).at(-1), 'good', 'a steady tone is a sound');
});

test('video_that_is_paused_is_told_so', () => {
  assert.equal(new Quality().next(new Meter().read(look(), at(0)), 0, { videoPaused: true }).level, 'video_paused');
});

test('report_has_the_shape_of_the_catalogue', () => {
  const meter = new Meter();
  assert.equal(meter.report(look(), at(1000)), null, 'the first look has nothing to compare with');
  const report = meter.report(look({ bytesUp: 1000, bytesDown: 500, packets: 100, lost: 1, samples: 96_000, concealed: 960, frozen: 0.25 }), at(5000));
  const { 'media.report': { report: example } } = JSON.parse(readFileSync(new URL('../fixtures/client_messages.json', import.meta.url), 'utf8'));
  const keys = (value) => Object.keys(value).sort();
  assert.deepEqual(keys(report), keys(example));
  assert.deepEqual(report.sent.map((track) => track.source), ['camera', 'microphone']);
  for (const [ours, theirs] of [[report.sent[1], example.sent[0]], [report.sent[0], example.sent[1]], [report.received[0], example.received[0]], [report.received[1], example.received[1]]]) {
    assert.deepEqual(keys(ours), keys(theirs));
  }
  assert.equal(report.span_ms, 4000);
  assert.equal(report.received[0].concealed_percent, 1);
  assert.equal(report.received[0].buffer_ms, 60);
  assert.equal(report.received[1].freeze_ms, 250);
  assert.ok(Math.abs(report.received[0].loss_percent - 100 / 101) < 0.001);
});

test('report_keeps_the_limits_of_the_protocol', () => {
  const meter = new Meter();
  meter.report(look(), at(0));
  const many = Array.from({ length: 20 }, (_, i) => ({ id: `x${i}`, type: 'inbound-rtp', kind: 'video', mid: '5', packetsReceived: 5, codecId: 'odd' }));
  const report = meter.report([...look({ level: 7, packets: 5, lost: -3 }), ...many, { id: 'odd', type: 'codec', mimeType: 'video/<b>strange codec</b>' }], at(1));
  assert.equal(report.received.length, 8);
  assert.ok(report.received.every((track) => track.codec !== '<b>strange codec</b>'));
  assert.equal(report.sent.find((track) => track.source === 'microphone').level, 1);
  assert.equal(report.received[0].loss_percent, 0);
  assert.equal(meter.report(look(), at(999_999_999)), null, 'a night of sleep is not a measurement');
});
