// Who may sit at the console, and when it rings there.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { holds } from './lib/wait.mjs';

scenario('a wrong password is refused in words and a right one then works', async (stage) => {
  const irina = await stage.signedOutOperator('irina');
  await irina.signIn('not the password');
  await irina.shows('status', /\S/);
  assert.equal((await irina.tab.state()).state, 'signed-out');
  await irina.tab.reload();
  await irina.startShift();
  await irina.presence('available');
});

scenario('operator on a break is not rung, and is rung when back', async (stage) => {
  const operator = await stage.operator('irina');
  await operator.choosePresence('away');
  await operator.reaches('away');
  const customer = await stage.customer('anna');
  await customer.queues();
  await customer.place(1);
  // An offer would be on the console within milliseconds; the queue's count shows that the call has arrived.
  await operator.shows('queue-waiting', /1/);
  await holds('no offer during the break', 500, async () => !(await operator.tab.info('offer'))?.shown);
  await operator.choosePresence('available');
  assert.equal((await operator.rings()).name, 'Anna');
});

scenario('operator stays signed in and on shift over a reload', async (stage) => {
  const operator = await stage.operator('irina');
  await operator.tab.reload();
  await operator.reaches('available', 'off-shift');
  const customer = await stage.customer('anna');
  await customer.call();
  // One click may be needed for the sound of the ring; the sign-in is kept.
  if ((await operator.tab.state()).state === 'off-shift') await operator.tab.click('start-shift');
  assert.equal((await operator.rings()).name, 'Anna');
});
