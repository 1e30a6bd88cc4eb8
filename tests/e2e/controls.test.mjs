// What a person switches off does not leave the room, and comes back when switched on.
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** The other side's picture is gone: the page does not show it, and the colours do not arrive either. */
const seesNoLonger = (page, quadrants) => {
  const look = () => page.tab.evaluate(() => ({ page: window.ckTest.picture('remote-video'), track: window.ckTest.watched() }));
  const differ = (seen) => seen !== null && seen.every((colour, i) => colour !== quadrants[i]);
  return until(
    `${page.person.name} does not get ${quadrants} any more`,
    async () => {
      const seen = await look();
      return differ(seen.track) && (!seen.page?.shown || differ(seen.page.quadrants));
    },
    { describe: look },
  );
};

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
    await until('the track is watched', () => call[other].tab.evaluate(() => window.ckTest.watch('remote-video')));
    await call[who].toggle('camera');
    await seesNoLonger(call[other], call[who].person.quadrants);
    await call[other].hears(call[who].person.tone);
    await call[who].toggle('camera');
    await call[other].meets(call[who].person);
  });
}
