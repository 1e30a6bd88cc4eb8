// Own measurements from a statistics report.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LevelFilter, levelOf, summarise } from '../client/stats.js';

const report = (atMs, { bytesUp, bytesDown, packets, lost }) => [
  { id: 'c1', type: 'codec', mimeType: 'video/VP8' },
  { id: 'c2', type: 'codec', mimeType: 'audio/opus' },
  { id: 'o1', type: 'outbound-rtp', kind: 'video', timestamp: atMs, bytesSent: bytesUp, framesPerSecond: 29.6, frameWidth: 960, frameHeight: 540, codecId: 'c1' },
  { id: 'o2', type: 'outbound-rtp', kind: 'audio', timestamp: atMs, bytesSent: 1000, codecId: 'c2' },
  { id: 'i1', type: 'inbound-rtp', kind: 'audio', timestamp: atMs, bytesReceived: bytesDown, packetsReceived: packets, packetsLost: lost, jitter: 0.004 },
  { id: 'r1', type: 'remote-inbound-rtp', timestamp: atMs, fractionLost: 0.02 },
  { id: 'p1', type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 0.05, localCandidateId: 'l1' },
  { id: 'l1', type: 'local-candidate', candidateType: 'prflx', protocol: 'udp' },
];

test('two_reports_give_rates_and_losses_between_them', () => {
  const first = summarise(report(1000, { bytesUp: 0, bytesDown: 0, packets: 0, lost: 0 }), null);
  const { sample } = summarise(report(3000, { bytesUp: 250_000, bytesDown: 10_000, packets: 90, lost: 10 }), first.totals);
  assert.equal(sample.bitrateUp, 1_000_000);
  assert.equal(sample.bitrateDown, 40_000);
  assert.equal(sample.lossDownPercent, 10);
  assert.equal(sample.lossUpPercent, 2);
  assert.equal(sample.rttMs, 50);
  assert.deepEqual(sample.sending, { width: 960, height: 540, fps: 30, codec: 'VP8' });
  assert.equal(sample.audioCodec, 'opus');
  assert.equal(sample.path, 'udp');
  assert.equal(sample.level, 'poor');
});

test('nothing_known_is_not_bad', () => {
  assert.equal(summarise([], null).sample.level, 'good');
  assert.equal(levelOf({ rttMs: 350, lossUpPercent: null, lossDownPercent: 0, jitterMs: null }), 'fair');
});

test('level_is_quick_to_warn_and_slow_to_praise', () => {
  const filter = new LevelFilter();
  assert.deepEqual(['poor', 'good', 'poor', 'poor'].map((level) => filter.next(level)), ['good', 'good', 'good', 'poor']);
  assert.deepEqual(Array.from({ length: 5 }, () => filter.next('good')), ['poor', 'poor', 'poor', 'poor', 'good']);
});
