// Camera and microphone: opening them with the best that the person allows, and saying what is wrong when not.

import { CallkitError } from './errors.js';

/** What we ask the camera for: the largest layer of the layout; a camera that cannot gives what it has. */
const VIDEO = { width: { ideal: 960 }, height: { ideal: 540 }, frameRate: { ideal: 30, max: 30 } };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
/** Sound as it is, for tests that compare tones. */
const RAW_AUDIO = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/**
 * @typedef {object} Capture
 * @property {MediaStreamTrack | null} microphone
 * @property {MediaStreamTrack | null} camera
 * @property {CallkitError | null} cameraProblem why there is no camera
 *
 * @typedef {Pick<MediaDevices, 'getUserMedia'>} Devices
 */

/**
 * Opens microphone and camera with one question to the person. A missing or refused camera leaves an audio call;
 * a missing microphone is an error.
 *
 * @param {{ video: boolean, raw?: boolean, devices?: Devices }} options
 * @returns {Promise<Capture>}
 * @throws {CallkitError} `permission_denied`, `not_found`, `in_use`, `policy_blocked`, `capture_failed`
 */
export async function openCapture({ video, raw = false, devices = globalThis.navigator?.mediaDevices }) {
  if (!devices?.getUserMedia) throw new CallkitError('policy_blocked', { message: 'no capture on this origin' });
  const audio = raw ? RAW_AUDIO : AUDIO;
  /** @type {CallkitError | null} */
  let cameraProblem = null;
  if (video) {
    try {
      return split(await devices.getUserMedia({ audio, video: VIDEO }), null);
    } catch (error) {
      cameraProblem = captureError(error);
      // The person said no to the microphone too: asking again at once would be rude and useless.
      if (cameraProblem.code === 'permission_denied' && (await permission('microphone')) === 'denied') throw cameraProblem;
      if (cameraProblem.code === 'policy_blocked') throw cameraProblem;
    }
  }
  try {
    return split(await devices.getUserMedia({ audio }), cameraProblem);
  } catch (error) {
    throw captureError(error);
  }
}

/**
 * Opens the camera alone, for a call that started without.
 *
 * @param {{ devices?: Devices }} [options]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openCamera({ devices = globalThis.navigator?.mediaDevices } = {}) {
  if (!devices?.getUserMedia) throw new CallkitError('policy_blocked', { message: 'no capture on this origin' });
  try {
    const [track] = (await devices.getUserMedia({ video: VIDEO })).getVideoTracks();
    if (track) return track;
  } catch (error) {
    throw captureError(error);
  }
  throw new CallkitError('not_found');
}

/**
 * What the browser's exception means for the person.
 *
 * @param {unknown} error
 */
export function captureError(error) {
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  return new CallkitError(CODES[name] ?? 'capture_failed', { cause: error, retryable: true, message: String(error) });
}

/** Names of getUserMedia's exceptions (Media Capture and Streams, section 10.2). @type {Record<string, string>} */
const CODES = {
  NotAllowedError: 'permission_denied',
  NotFoundError: 'not_found',
  OverconstrainedError: 'not_found',
  NotReadableError: 'in_use',
  AbortError: 'in_use',
  SecurityError: 'policy_blocked',
  TypeError: 'policy_blocked',
  InvalidStateError: 'gesture_required',
};

/** @param {MediaStream} stream @param {CallkitError | null} cameraProblem @returns {Capture} */
function split(stream, cameraProblem) {
  const microphone = stream.getAudioTracks()[0] ?? null;
  const camera = stream.getVideoTracks()[0] ?? null;
  return { microphone, camera, cameraProblem };
}

/** @param {string} name @returns {Promise<PermissionState | 'unknown'>} */
async function permission(name) {
  try {
    return (await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) })).state;
  } catch {
    return 'unknown';
  }
}
