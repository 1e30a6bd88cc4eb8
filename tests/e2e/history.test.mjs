// After the call: who took part, when, why it ended and what was written.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

scenario('an ended call is in the history with participants, reason and chat', async (stage) => {
  const began = Date.now();
  const { customer, operator } = await stage.callInProgress();
  await customer.says('my order is late');
  await operator.reads([['my order is late', false]]);
  await operator.says('it arrives today');
  await customer.reads([['my order is late', true], ['it arrives today', false]]);
  await customer.hangUp();
  await operator.reaches('available');

  await operator.shows('history', /Anna/);

  const { call } = await until('the API lists the call', async () => {
    const { status, body } = await operator.api('/api/v1/calls?limit=50');
    assert.equal(status, 200);
    return body.calls.length === 1 ? { call: body.calls[0] } : null;
  });
  assert.equal(call.reason, 'customer');
  assert.equal(call.name, 'Anna');
  assert.ok(call.agent, 'the agent is named');
  assert.ok(call.created_ms >= began - 60_000 && call.created_ms <= call.started_ms, 'created before it started');
  assert.ok(call.started_ms < call.ended_ms && call.ended_ms <= Date.now(), 'started before it ended');

  const { status, body } = await operator.api(`/api/v1/calls/${call.id}`);
  assert.equal(status, 200);
  assert.deepEqual(body.call, call);
  assert.deepEqual(body.participants.map((p) => p.role).sort(), ['customer', 'operator']);
  for (const p of body.participants) {
    assert.ok(p.joined_ms <= p.media_ms && p.media_ms <= p.left_ms, `times of ${p.role} are in order: ${JSON.stringify(p)}`);
  }
  assert.deepEqual(body.chat.map((line) => [line.from, line.text]), [
    ['customer', 'my order is late'],
    ['operator', 'it arrives today'],
  ]);
});

scenario('the history is for staff only and survives a restart', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await operator.hangUp();
  await customer.ended();
  const refused = await fetch(`${stage.server.origin}/api/v1/calls`);
  assert.equal(refused.status, 401);

  await stage.server.kill();
  await stage.server.run();
  await operator.signal('connected', { timeout: 45_000 });
  const { status, body } = await operator.api('/api/v1/calls');
  assert.equal(status, 200, 'the operator is still signed in');
  assert.deepEqual(body.calls.map((call) => call.reason), ['agent']);
});
