// Who may sit at the console.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';

scenario('a wrong password is refused in words and a right one then works', async (stage) => {
  const console_ = await stage.signedOutOperator('irina');
  await console_.signIn('not the password');
  await console_.shows('status', /\S/);
  assert.equal((await console_.tab.state()).state, 'signed-out');
  await console_.tab.reload();
  await console_.startShift();
});

scenario('operator on a break is not rung and comes back by the menu', async (stage) => {
  const operator = await stage.operator('irina');
  const presence = async () => (await operator.tab.info('presence')).attributes['data-presence'];
  assert.equal(await presence(), 'available');
  assert.equal((await operator.tab.info('presence')).attributes['data-activity'], 'idle');
});
