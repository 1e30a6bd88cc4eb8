// What a person switches off does not leave the room, and comes back when switched on.
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** The other side's picture is gone: hidden, without frames, or no longer in the sender's colours. */
const seesNoLonger = (page, quadrants) =>
  until(
    `${page.person.name} does not see ${quadrants} any more`,
    async () => {
      const picture = await page.tab.evaluate(() => window.ckTest.picture('remote-video'));
      return !picture?.shown || picture.quadrants.every((colour, i) => colour !== quadrants[i]);
    },
    { describe: () => page.tab.evaluate(() => window.ckTest.picture('remote-video')) },
  );

for (const [who, other] of [['customer', 'operator'], ['operator', 'customer']]) {
  scenario(`${who} mutes: the ${other} hears nothing until it is unmuted`, async (stage) => {
    const call = await stage.callInProgress();
    await call[who].toggle('mic');
    await call[other].hearsNothing();
    // Only the sound stops.
    await call[other].keepsMoving();
    await call[other].sees(call[who].person.quadrants);
    await call[who].toggle('mic');
    await call[other].hears(call[who].person.tone);
  });

  scenario(`${who} switches the camera off: the ${other} sees nothing and still hears`, async (stage) => {
    const call = await stage.callInProgress();
    await call[who].toggle('camera');
    await seesNoLonger(call[other], call[who].person.quadrants);
    await call[other].hears(call[who].person.tone);
    await call[who].toggle('camera');
    await call[other].meets(call[who].person);
  });
}
