// The people of the tests: what each one's camera shows and which tone the microphone gives, so that the other side
// can be asked whom it sees and hears. Chromium reads files made by ffmpeg, Firefox draws and plays in the page.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/**
 * @typedef {object} Person
 * @property {string} id
 * @property {string} name as typed by a customer, or shown for an operator
 * @property {[string, string, string, string]} quadrants colours: top left, top right, bottom left, bottom right
 * @property {number} tone hertz
 */

/** The colours used, with their values on a screen. */
export const COLOURS = Object.freeze({
  red: [255, 0, 0],
  lime: [0, 255, 0],
  blue: [0, 0, 255],
  yellow: [255, 255, 0],
  magenta: [255, 0, 255],
  cyan: [0, 255, 255],
  white: [255, 255, 255],
  black: [0, 0, 0],
});

/** @type {Readonly<Record<string, Person>>} */
export const PEOPLE = Object.freeze({
  anna: { id: 'anna', name: 'Anna', quadrants: ['red', 'lime', 'blue', 'yellow'], tone: 1000 },
  boris: { id: 'boris', name: 'Boris', quadrants: ['cyan', 'red', 'yellow', 'magenta'], tone: 1400 },
  irina: { id: 'irina', name: 'Irina', quadrants: ['magenta', 'cyan', 'lime', 'red'], tone: 600 },
  maria: { id: 'maria', name: 'Maria', quadrants: ['lime', 'magenta', 'cyan', 'blue'], tone: 2400 },
  nina: { id: 'nina', name: 'Nina', quadrants: ['blue', 'cyan', 'red', 'lime'], tone: 3000 },
  oleg: { id: 'oleg', name: 'Oleg', quadrants: ['yellow', 'blue', 'magenta', 'cyan'], tone: 1800 },
});

/** What a shared screen shows in the tests. No camera has it. */
export const SCREEN = Object.freeze({ title: 'CallkitSharedScreen', quadrants: ['blue', 'yellow', 'red', 'lime'] });

/** Size of the fake cameras: browsers send the top layer of three from about here on. */
const WIDTH = 960;
const HEIGHT = 540;

let folder;

function mediaFolder() {
  if (!folder) {
    folder = process.env.CALLKIT_E2E_MEDIA;
    if (folder) {
      mkdirSync(folder, { recursive: true });
    } else {
      folder = mkdtempSync(path.join(tmpdir(), 'callkit-media-'));
      const made = folder;
      process.on('exit', () => rmSync(made, { recursive: true, force: true }));
    }
  }
  return folder;
}

/** @param {string} file @param {string[]} args */
function ffmpeg(file, args) {
  if (existsSync(file)) return file;
  // Written beside and renamed: a file that exists is whole, also when two test files start together.
  const part = path.join(path.dirname(file), `part-${process.pid}-${path.basename(file)}`);
  execFileSync('ffmpeg', ['-v', 'error', '-y', ...args, part]);
  renameSync(part, file);
  return file;
}

/**
 * Files for Chromium's fake devices. Both loop.
 * @param {Person} person
 */
export function deviceFiles(person) {
  const [tl, tr, bl, br] = person.quadrants.map((c) => `color=${hex(c)}:s=${WIDTH / 2}x${HEIGHT / 2}:r=30`);
  const graph = `${tl}[a];${tr}[b];${bl}[c];${br}[d];[a][b]hstack[t];[c][d]hstack[u];[t][u]vstack`;
  return {
    video: ffmpeg(path.join(mediaFolder(), `${person.id}.y4m`), ['-f', 'lavfi', '-i', graph, '-frames:v', '8', '-pix_fmt', 'yuv420p']),
    audio: ffmpeg(path.join(mediaFolder(), `${person.id}.wav`), [
      '-f', 'lavfi', '-i', `sine=frequency=${person.tone}:sample_rate=48000:duration=10`, '-ac', '1', '-c:a', 'pcm_s16le']),
  };
}

/**
 * A fake camera that loops over one picture.
 * @param {string} name
 * @param {string} png path
 */
export function cameraFromPicture(name, png) {
  return ffmpeg(path.join(mediaFolder(), `${name}.y4m`), ['-loop', '1', '-i', png, '-frames:v', '8', '-r', '30',
    '-vf', `scale=${WIDTH}:${HEIGHT}`, '-pix_fmt', 'yuv420p']);
}

/** Where files made for a run may be put. */
export const scratch = () => mediaFolder();

/** @param {string} colour */
const hex = (colour) => `0x${COLOURS[colour].map((v) => v.toString(16).padStart(2, '0')).join('')}`;
