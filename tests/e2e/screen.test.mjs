// Either side shares a screen beside the camera; the other sees both, and the call is not negotiated again.
import assert from 'node:assert/strict';
import { SCREEN } from './lib/people.mjs';
import { scenario } from './lib/scenario.mjs';

for (const [who, other] of [['customer', 'operator'], ['operator', 'customer']]) {
  scenario(`${who} shares the screen: the ${other} sees it beside the camera`, async (stage) => {
    const call = await stage.callInProgress();
    const before = [await call.customer.mediaConnections(), await call.operator.mediaConnections()];
    await (await stage.browser(call[who].person.id)).openScreen(call[who].tab);
    await call[who].toggle('screen');
    await call[other].sees(SCREEN.quadrants, { video: 'screen-video' });
    await call[other].keepsMoving({ video: 'screen-video', frames: 5 });
    await call[other].sees(call[who].person.quadrants);
    await call[other].hears(call[who].person.tone);

    await call[who].toggle('screen');
    await call[other].hides('screen-video');
    await call[other].sees(call[who].person.quadrants);
    await call[other].keepsMoving();
    const after = [await call.customer.mediaConnections(), await call.operator.mediaConnections()];
    assert.deepEqual(after, before, 'the same connections carry it all');
  });
}

scenario('firefox operator shares the screen to a chromium customer', async (stage) => {
  const { customer, operator } = await stage.callInProgress({ operator: ['irina', 'firefox'] });
  await operator.toggle('screen');
  await customer.sees(SCREEN.quadrants, { video: 'screen-video' });
  await customer.sees(operator.person.quadrants);
});
